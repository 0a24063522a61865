//! The time of a request. While the store hangs everybody is answered within two seconds, however many commands a request takes and
//! whatever it waits behind.
//!
//! The time belongs to the task that serves the request, and goes along with what it asks of actors. A backend that waits asks when it
//! [`ends`]: what belongs to a request that has had its time is given up as soon as the store answers nobody. As long as it answers,
//! each command has the time that it always has: a request may be old because it waited for a hash, or in a row.

use std::time::{Duration, Instant};

/// What is left of two seconds is for noticing, and for the answer.
const TIME: Duration = Duration::from_millis(1200);

tokio::task_local! {
    static ENDS: Instant;
}

/// Serves a request that began then.
pub async fn of_request<F: Future>(begun: Instant, serving: F) -> F::Output {
    ENDS.scope(begun + TIME, serving).await
}

/// Does a part of it elsewhere: with the time that it had left, if it was a request's.
pub(crate) async fn until<F: Future>(ends: Option<Instant>, part: F) -> F::Output {
    match ends {
        Some(ends) => ENDS.scope(ends, part).await,
        None => part.await,
    }
}

/// When the time ends of the request that this task works for; `None`: it works for none.
pub(crate) fn ends() -> Option<Instant> {
    ENDS.try_with(|ends| *ends).ok()
}

/// Whether that has been.
pub(crate) fn is_over() -> bool {
    ends().is_some_and(|ends| Instant::now() >= ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_has_one_time_wherever_it_is_worked_for() {
        assert!(ends().is_none() && !is_over());
        let begun = Instant::now();
        let inside = of_request(begun, async { ends() }).await;
        assert_eq!(inside, Some(begun + TIME));
        assert_eq!(tokio::spawn(until(inside, async { ends() })).await.unwrap(), inside);
        assert_eq!(until(None, async { ends() }).await, None);
        assert!(of_request(begun.checked_sub(TIME).unwrap(), async { is_over() }).await);
    }
}
