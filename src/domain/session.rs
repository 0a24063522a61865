//! Sessions, and what a refresh token of some generation means for one.

use super::{
    ids::{SessionId, TenantId, UserId},
    network::Network,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A refresh token that was just replaced stays good this long for everybody: two tabs that refresh at once.
pub const GRACE: Duration = Duration::from_secs(10);
/// … and this long for the network that turned it: an answer that was lost.
pub const GRACE_SAME_NETWORK: Duration = Duration::from_secs(120);
/// Days after which a session that isn't refreshed is over, where no policy says otherwise.
pub const IDLE_DAYS: u32 = 30;

/// Live sessions of an account: a sign-in that finds more ends those that were used longest ago.
pub const LIVE_AT_MOST: usize = 100;
/// A session that wasn't seen for this long has no access token left: they live for 15 minutes, and a sign-in with an `Idempotency-Key` that
/// is sent again within a day is given new ones.
pub const TOKENS_OVER: Duration = Duration::from_secs(25 * 3600);

/// One sign-in. The refresh token is derived from it ([`crate::domain::token::RefreshToken`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id; `sid` in access tokens.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The tenant that its tokens are scoped to.
    pub tenant_id: TenantId,
    /// Random part of the refresh token's HMAC.
    pub nonce: [u8; 16],
    /// How often the refresh token turned; a token carries the generation it may turn.
    pub generation: u64,
    /// The account's epoch it was made under; it dies when the account's is raised.
    pub credential_epoch: u64,
    /// Address of the last sign-in or refresh.
    pub ip: String,
    /// At most 512 characters of the User-Agent header of the sign-in.
    pub user_agent: Option<String>,
    /// When the password (or a mailed link) was given.
    pub created_at: Timestamp,
    /// When the password was given again; `None`: not since `created_at`.
    #[serde(default)]
    pub signed_in_at: Option<Timestamp>,
    /// The last refresh.
    pub last_seen_at: Timestamp,
    /// When the token turned last; `created_at` before the first time.
    pub turned_at: Timestamp,
    /// The network that turned it last.
    pub turned_by: Network,
    /// The absolute end (`session_ttl_days`).
    pub expires_at: Timestamp,
    /// It is over once it hasn't been refreshed for so many days (`session_idle_days`).
    #[serde(default = "idle_days")]
    pub idle_days: u32,
    /// When it was ended by hand, by a reset, or for theft.
    pub revoked_at: Option<Timestamp>,
}

/// Of a session that an older version wrote.
fn idle_days() -> u32 {
    IDLE_DAYS
}

/// Days as a time.
pub fn idle(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

impl Session {
    fn is_idle(&self, now: Timestamp) -> bool {
        now.since(self.last_seen_at) >= idle(self.idle_days)
    }
    /// Whether an access token of it may be good still, so that its end must be told to all nodes.
    pub fn may_have_a_token(&self, now: Timestamp) -> bool {
        now.since(self.last_seen_at) < TOKENS_OVER
    }
    /// Whether it can be refreshed under that epoch, as far as it says itself.
    pub fn is_live(&self, epoch: u64, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.credential_epoch == epoch && now < self.expires_at && !self.is_idle(now)
    }
}

/// What a genuine refresh token of some generation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshVerdict {
    /// Turn from the row's generation to `to`.
    Turn {
        /// The new generation.
        to: u64,
    },
    /// The token was just replaced: answer with the one that replaced it.
    Again,
    /// An old token came back: somebody has a copy. The session must end.
    Reused,
    /// Idle or absolute time is over.
    Expired,
    /// Ended, or made under an epoch that has passed.
    Revoked,
}

impl Session {
    /// Decides what a genuine token of `generation`, coming from `network`, gets. `epoch` is the account's.
    pub fn judge(&self, generation: u64, epoch: u64, network: Network, now: Timestamp) -> RefreshVerdict {
        if self.revoked_at.is_some() || self.credential_epoch != epoch {
            return RefreshVerdict::Revoked;
        }
        if now >= self.expires_at || self.is_idle(now) {
            return RefreshVerdict::Expired;
        }
        // A generation ahead of the row is genuine too (its HMAC says so): the store was restored from a backup.
        if generation >= self.generation {
            return RefreshVerdict::Turn { to: generation + 1 };
        }
        let age = now.since(self.turned_at);
        let in_grace = age <= GRACE || (age <= GRACE_SAME_NETWORK && network == self.turned_by);
        if generation + 1 == self.generation && in_grace { RefreshVerdict::Again } else { RefreshVerdict::Reused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Network = Network::V4([192, 0, 2, 1]);
    const AWAY: Network = Network::V4([198, 51, 100, 1]);
    const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn session() -> Session {
        Session {
            id: SessionId::from_bytes([1; 16]),
            user_id: UserId::from_bytes([2; 16]),
            tenant_id: TenantId::from_bytes([3; 16]),
            nonce: [0; 16],
            generation: 5,
            credential_epoch: 1,
            ip: "192.0.2.1".into(),
            user_agent: None,
            created_at: T,
            signed_in_at: None,
            last_seen_at: T,
            turned_at: T,
            turned_by: HOME,
            expires_at: T.plus(Duration::from_secs(90 * 86400)),
            idle_days: IDLE_DAYS,
            revoked_at: None,
        }
    }

    #[test]
    fn generations() {
        let s = session();
        let after = |secs| T.plus(Duration::from_secs(secs));
        use RefreshVerdict::*;
        assert_eq!(s.judge(5, 1, AWAY, T), Turn { to: 6 });
        assert_eq!(s.judge(4, 1, AWAY, after(10)), Again);
        assert_eq!(s.judge(4, 1, AWAY, after(11)), Reused);
        assert_eq!(s.judge(4, 1, HOME, after(120)), Again);
        assert_eq!(s.judge(4, 1, HOME, after(121)), Reused);
        assert_eq!(s.judge(3, 1, HOME, T), Reused);
        assert_eq!(s.judge(9, 1, HOME, T), Turn { to: 10 });
        // The other node's clock is ahead of ours: the age is zero, not negative.
        assert_eq!(s.judge(4, 1, AWAY, T.minus(Duration::from_secs(60))), Again);
    }

    #[test]
    fn ends() {
        use RefreshVerdict::*;
        assert_eq!(session().judge(5, 2, HOME, T), Revoked);
        assert_eq!(Session { revoked_at: Some(T), ..session() }.judge(5, 1, HOME, T), Revoked);
        assert_eq!(session().judge(5, 1, HOME, T.plus(idle(IDLE_DAYS))), Expired);
        assert_eq!(Session { expires_at: T, ..session() }.judge(5, 1, HOME, T), Expired);
    }
}
