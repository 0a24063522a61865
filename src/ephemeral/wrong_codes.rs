//! How long the codes of an account or address are. A code is dead after a few wrong tries, but another one can be asked for: over days that would
//! be thousands of guesses. So codes grow where many were wrong. Guessing has a bound, and nobody is locked out.

use super::{Ephemeral, Limit, Result, Subject};
use crate::domain::{time::Timestamp, token::CodeLength};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Wrong codes for one account or address; the last of them makes its new codes long.
const WRONG: Limit = Limit { name: "wrong_codes", max: 20, window: DAY };
/// They stay so until a day has passed without a wrong one.
const LONG: Limit = Limit { name: "long_codes", max: 1, window: DAY };

fn who(subject: &[u8]) -> Subject {
    Subject::of(&[b"codes", subject])
}

/// How long a new code is; `subject` as in [`super::CodeKey`].
///
/// # Errors
/// The ephemeral store's.
pub async fn length(ephemeral: &dyn Ephemeral, subject: &[u8], now: Timestamp) -> Result<CodeLength> {
    let long = !ephemeral.peek(&LONG, &who(subject), now).await?.allowed;
    Ok(if long { CodeLength::Eight } else { CodeLength::Six })
}

/// Counts a wrong code.
///
/// # Errors
/// As [`length`].
pub async fn count(ephemeral: &dyn Ephemeral, subject: &[u8], now: Timestamp) -> Result<()> {
    let who = who(subject);
    if !ephemeral.peek(&LONG, &who, now).await?.allowed {
        // The day begins anew.
        ephemeral.give_back(&LONG, &who, now).await?;
        ephemeral.hit(&LONG, &who, now).await?;
        return Ok(());
    }
    let counted = ephemeral.hit(&WRONG, &who, now).await?;
    if !counted.allowed || counted.remaining == 0 {
        ephemeral.hit(&LONG, &who, now).await?;
    }
    Ok(())
}
