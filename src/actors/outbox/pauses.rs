//! When to try again.

use crate::domain::{
    outbox::{Job, Message},
    rng::{self, Rng},
    time::Timestamp,
};
use std::time::Duration;

/// A message that couldn't be delivered for this long is parked.
pub(super) const GIVE_UP: Duration = Duration::from_secs(24 * 3600);

const PAUSES: [u64; 5] = [5, 30, 120, 600, 3600];

/// When to try next after attempt number `job.attempts` failed; `None`: no more.
///
/// 5 s, 30 s, 2 min, 10 min, then every hour, each 20 % more or less. What is worth nothing after 10 minutes is tried every
/// minute, and a reset link every 5 minutes.
pub(super) fn next_try(job: &Job, now: Timestamp, rng: &dyn Rng) -> Option<Timestamp> {
    let longest = match job.message {
        Message::EmailCode { .. } | Message::EmailChangeCode { .. } | Message::PhoneCode { .. } | Message::SignupRequested { .. } => 60,
        Message::ResetRequested { .. } | Message::Secured { .. } => 300,
        Message::AccountExists { .. }
        | Message::EmailChanged { .. }
        | Message::PasswordChanged { .. }
        | Message::Invite { .. }
        | Message::AccountMade { .. }
        | Message::ApiKeyMade { .. }
        | Message::ApiKeyStopped { .. }
        | Message::ApiKeyEnded { .. }
        | Message::AccountDeleted { .. }
        | Message::Notice { .. } => 3600,
    };
    let step = usize::try_from(job.attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    let seconds = PAUSES[step].min(longest);
    let percent = 80 + u64::from(u16::from_le_bytes(rng::bytes(rng)) % 41);
    let at = now.plus(Duration::from_millis(seconds * 10 * percent));
    (at < job.created_at.plus(GIVE_UP)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::{JobId, UserId},
        outbox::SecuredBy,
        rng::SeededRng,
    };

    fn job(message: Message, attempts: u32) -> Job {
        Job { id: JobId::from_bytes([1; 16]), message, created_at: Timestamp::from_millis(0), attempts }
    }

    #[test]
    fn pauses_grow_to_what_the_message_is_worth() {
        let rng = SeededRng::new(1);
        let user_id = UserId::from_bytes([2; 16]);
        let now = Timestamp::from_millis(1_000_000);
        let pause = |m: &Message, n| next_try(&job(m.clone(), n), now, &rng).unwrap().since(now).as_millis() as u64;
        let notice = Message::PasswordChanged { user_id };
        for (n, seconds) in [(0, 5), (1, 5), (2, 30), (3, 120), (4, 600), (5, 3600), (50, 3600), (u32::MAX, 3600)] {
            let millis = pause(&notice, n);
            assert!((seconds * 800..=seconds * 1200).contains(&millis), "attempt {n}: {millis} ms");
        }
        assert!(pause(&Message::EmailCode { user_id, serial: 1 }, 9) <= 72_000);
        assert!(pause(&Message::Secured { user_id, why: SecuredBy::NotMe }, 9) <= 360_000, "its link is worth an hour");
        let many: std::collections::HashSet<u64> = (0..50).map(|_| pause(&notice, 5)).collect();
        assert!(many.len() > 10, "jittered");
    }

    #[test]
    fn it_ends_after_a_day() {
        let notice = Message::PasswordChanged { user_id: UserId::from_bytes([2; 16]) };
        let late = Timestamp::from_millis(0).plus(GIVE_UP - Duration::from_secs(60));
        assert_eq!(next_try(&job(notice, 9), late, &SeededRng::new(1)), None);
    }
}
