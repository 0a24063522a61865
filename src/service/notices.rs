//! Security notices: what is written for the outbox. Whether a mail goes out is decided there, so that what is written is the same for addresses with and
//! without an account.

use super::{Services, api::Caller};
use crate::domain::{
    contact::ContactDigest,
    context::Actor,
    network::Network,
    notice::{NoticeKind, agent_family, coarse},
    outbox::{Job, Message},
    session::Session,
    user::User,
};

/// Whether a sign-in is from a place (an IPv4 /16, an IPv6 /32) and with a kind of program that none of the account's other sessions had. An account's first sign-in is not: an
/// import would mail everybody.
fn is_new(session: &Session, others: &[Session]) -> bool {
    let place_of = |s: &Session| s.ip.parse().ok().map(|ip| coarse(Network::of(ip)));
    let (here, family) = (place_of(session), agent_family(session.user_agent.as_deref()));
    let others: Vec<&Session> = others.iter().filter(|s| s.id != session.id).collect();
    !others.is_empty() && others.iter().all(|s| place_of(s) != here && agent_family(s.user_agent.as_deref()) != family)
}

impl Services {
    /// A notice of what the caller does.
    pub(super) fn notice_about(&self, caller: &Caller, contact: ContactDigest, what: NoticeKind) -> Job {
        self.job(Message::Notice { contact, what, network: Some(caller.network), agent: Some(agent_family(caller.user_agent.as_deref())) })
    }

    /// After a sign-in from a network that the account does not know: has its owner told, in the background, if it is new in every way.
    pub(super) fn note_sign_in(&self, caller: &Caller, user: &User, session: &Session) {
        let (store, wake, session) = (self.store.clone(), self.wake_outbox.clone(), session.clone());
        let job = self.notice_about(caller, user.email.digest(), NoticeKind::NewSignIn);
        let ctx = self.ctx_of_this_run(self.ctx(caller, Actor::System));
        self.background.spawn(async move {
            let told = match store.sessions(session.user_id).await {
                Ok(sessions) if is_new(&session, &sessions) => store.enqueue(&ctx, job).await,
                Ok(_) => return,
                Err(e) => Err(e),
            };
            match told {
                Ok(()) => wake(),
                Err(e) => tracing::warn!(error = %e, "a sign-in from a new place could not be told to its owner"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::{SessionId, TenantId, UserId},
        time::Timestamp,
    };

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";
    const CURL: &str = "curl/8.10";

    fn session(n: u8, ip: &str, agent: &str) -> Session {
        let at = Timestamp::from_millis(0);
        Session {
            id: SessionId::from_bytes([n; 16]),
            user_id: UserId::from_bytes([0; 16]),
            tenant_id: TenantId::from_bytes([0; 16]),
            nonce: [0; 16],
            generation: 0,
            credential_epoch: 1,
            ip: ip.into(),
            user_agent: Some(agent.into()),
            created_at: at,
            signed_in_at: None,
            last_seen_at: at,
            turned_at: at,
            turned_by: Network::V4([0; 4]),
            expires_at: at,
            idle_days: 30,
            revoked_at: None,
        }
    }

    #[test]
    fn a_sign_in_is_new_if_neither_place_nor_program_was_there_before() {
        let new = session(1, "203.0.113.7", FIREFOX);
        assert!(!is_new(&new, &[]) && !is_new(&new, std::slice::from_ref(&new)), "the first one");
        let elsewhere = session(2, "198.51.100.1", CURL);
        assert!(is_new(&new, &[new.clone(), elsewhere.clone()]));
        for same in [session(3, "203.0.0.1", CURL), session(4, "2001:db8::1", FIREFOX)] {
            assert!(!is_new(&new, &[elsewhere.clone(), same]));
        }
    }
}
