//! Sessions: refresh, checking access tokens, listing, ending.

use super::{
    Services,
    api::{Caller, Principal, TokenPair},
    error::{Error, Result},
    idempotency,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    domain::{
        context::Actor,
        ids::SessionId,
        notice::NoticeKind,
        session::{RefreshVerdict, Session},
        token::RefreshToken,
        user::UserStatus,
    },
    store::{
        Certainty,
        commands::{Cas, Revocation, RevokeSessions, RotateSession, SessionView, Which},
    },
};

impl Services {
    /// Tokens of a session that was just opened. In the rerun of a request an earlier run may have opened it: then somebody has used it, or
    /// ended it, perhaps.
    ///
    /// # Errors
    /// `Unauthorized` if it is not as it was opened.
    pub(super) async fn pair_of_new(&self, session: &Session) -> Result<TokenPair> {
        if !idempotency::may_be_rerun() {
            return self.pair_of(session);
        }
        let view = self.store.session(session.user_id, session.id).await?.ok_or(Error::Unauthorized)?;
        let good = view.session.is_live(view.user_epoch, self.clock.now()) && view.session.generation == 0 && !view.user_deleted;
        if good { self.pair_of(&view.session) } else { Err(Error::Unauthorized) }
    }

    /// The tokens of a session as it stands.
    pub(super) fn pair_of(&self, session: &Session) -> Result<TokenPair> {
        let (access_token, expires_at) = self.keys.sign(session.user_id, session.tenant_id, session.id, session.credential_epoch)?;
        Ok(TokenPair {
            access_token,
            expires_at,
            refresh_token: RefreshToken::issue(&self.keyring, session.user_id, session.id, session.generation, &session.nonce),
            session_id: session.id,
            user_id: session.user_id,
            tenant_id: session.tenant_id,
        })
    }

    /// Turns a refresh token. The one just replaced gives the same new one again; an older one ends the session.
    ///
    /// # Errors
    /// `Unauthorized`, `SessionRevoked`, `TokenReused`.
    pub async fn refresh(&self, caller: &Caller, token: &str) -> Result<TokenPair> {
        let token = RefreshToken::parse(token).ok_or(Error::Unauthorized)?;
        // Each round reads anew what beat it to the write. Thirty-two at once need two: one turns, the others come again.
        for _ in 0..4 {
            let view = self.store.session(token.user_id(), token.session_id()).await?.ok_or(Error::Unauthorized)?;
            if !token.genuine(&self.keyring, &view.session.nonce) {
                return Err(Error::Unauthorized);
            }
            match self.judge(&view, token.generation(), caller) {
                RefreshVerdict::Turn { to } => match self.turn(&view, to, caller).await? {
                    Some(session) => return self.pair_of(&session),
                    None => continue,
                },
                RefreshVerdict::Again => return self.pair_of(&view.session),
                RefreshVerdict::Expired => return Err(Error::Unauthorized),
                RefreshVerdict::Revoked => return Err(Error::SessionRevoked),
                RefreshVerdict::Reused => {
                    self.end_stolen(caller, &view.session).await?;
                    return Err(Error::TokenReused);
                }
            }
        }
        Err(Error::Unavailable("a session changed four times under one refresh".into()))
    }

    fn judge(&self, view: &SessionView, generation: u64, caller: &Caller) -> RefreshVerdict {
        if view.user_deleted || view.user_status != UserStatus::Active {
            return RefreshVerdict::Revoked;
        }
        view.session.judge(generation, view.user_epoch, caller.network, self.clock.now())
    }

    /// One compare-and-set; `None` if somebody else was first or the outcome is unknown: read again.
    async fn turn(&self, view: &SessionView, to: u64, caller: &Caller) -> Result<Option<Session>> {
        let ctx = self.ctx(caller, Actor::User(view.session.user_id));
        let ip = caller.ip.to_string();
        let cmd = RotateSession {
            user_id: view.session.user_id,
            session_id: view.session.id,
            expect: view.session.generation,
            to,
            epoch: view.user_epoch,
            ip,
            network: caller.network,
        };
        match self.store.rotate_session(&ctx, cmd).await {
            Ok(Cas::Done(())) => Ok(Some(Session { generation: to, ..view.session.clone() })),
            Ok(Cas::Stale) => Ok(None),
            Err(e) if e.certainty == Certainty::Maybe => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn end_stolen(&self, caller: &Caller, session: &Session) -> Result<()> {
        let audit = self.audit(caller, Actor::Anonymous, session.tenant_id, session.user_id, "session.token_reused");
        let audit = audit.about_resource("session", session.id.as_bytes());
        tracing::warn!(request_id = %caller.request_id, session = %session.id, "an old refresh token came back; the session ends");
        metrics::counter!("qeetid_refresh_reuse_total").increment(1);
        self.end_sessions(caller, session.user_id, Which::One(session.id), vec![audit]).await?;
        // The session has ended in any case.
        let Ok(Some(user)) = self.store.user(session.user_id).await else { return Ok(()) };
        let job = self.notice_about(caller, user.email.digest(), NoticeKind::TokenReused);
        if let Err(e) = self.send(&self.ctx(caller, Actor::Anonymous), job).await {
            tracing::warn!(error = %e, "the owner of a session could not be told that a token of it was used twice");
        }
        Ok(())
    }

    pub(super) async fn end_sessions(
        &self,
        caller: &Caller,
        user_id: crate::domain::ids::UserId,
        which: Which,
        audit: Vec<crate::domain::audit::AuditEvent>,
    ) -> Result<u64> {
        let here = match &which {
            Which::One(id) => vec![Revocation::Session(*id)],
            Which::AllBut(_) | Which::All => {
                let keep = if let Which::AllBut(id) = which { Some(id) } else { None };
                let sessions = self.store.sessions(user_id).await?;
                sessions.iter().map(|s| s.id).filter(|id| Some(*id) != keep).map(Revocation::Session).collect()
            }
        };
        let cmd = RevokeSessions { user_id, which, audit };
        let ctx = self.ctx(caller, Actor::User(user_id));
        match self.ask_user(caller, user_id, UserCommand::Revoke(Box::new((ctx, cmd)))).await? {
            UserReply::Revoked(n) => {
                self.keys.revoke(here);
                Ok(n)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Whom a bearer token stands for.
    ///
    /// # Errors
    /// `Unauthorized`, whatever is wrong with it; `RateLimited` past 600 requests of the person in a minute, counted by this node;
    /// `Unavailable` while it can't be known what was revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        self.keys.up_to_date().await?;
        let claims = self.keys.check(token).ok_or(Error::Unauthorized)?;
        self.limits.person_request(claims.user_id, self.clock.now())?;
        Ok(Principal { user_id: claims.user_id, tenant_id: claims.tenant_id, session_id: claims.sid, epoch: claims.epoch })
    }

    /// Ends the caller's session.
    pub async fn logout(&self, caller: &Caller, who: &Principal) -> Result<()> {
        let audit = self.audit(caller, Actor::User(who.user_id), who.tenant_id, who.user_id, "session.ended");
        let audit = audit.about_resource("session", who.session_id.as_bytes());
        self.end_sessions(caller, who.user_id, Which::One(who.session_id), vec![audit]).await.map(|_| ())
    }

    /// The caller's sessions, newest first.
    pub async fn sessions(&self, who: &Principal) -> Result<Vec<Session>> {
        Ok(self.store.sessions(who.user_id).await?)
    }

    /// Ends one of the caller's sessions; somebody else's id does nothing.
    pub async fn revoke_session(&self, caller: &Caller, who: &Principal, session: SessionId) -> Result<()> {
        if self.store.session(who.user_id, session).await?.is_none() {
            return Ok(());
        }
        let audit = self.audit(caller, Actor::User(who.user_id), who.tenant_id, who.user_id, "session.ended");
        let audit = audit.about_resource("session", session.as_bytes());
        self.end_sessions(caller, who.user_id, Which::One(session), vec![audit]).await.map(|_| ())
    }

    /// Ends all of the caller's sessions but this one; says how many.
    pub async fn revoke_other_sessions(&self, caller: &Caller, who: &Principal) -> Result<u64> {
        let audit = self.audit(caller, Actor::User(who.user_id), who.tenant_id, who.user_id, "session.others_ended");
        self.end_sessions(caller, who.user_id, Which::AllBut(who.session_id), vec![audit]).await
    }
}

pub(super) fn unexpected(reply: &UserReply) -> Error {
    match reply {
        UserReply::Store(e) => e.clone().into(),
        UserReply::Ephemeral(e) => Error::Unavailable(e.to_string()),
        UserReply::Stale => Error::Conflict("the account has changed meanwhile"),
        UserReply::LastOwner => Error::Conflict("the last owner of an organization can't go"),
        UserReply::EmailTaken => Error::EmailTaken,
        UserReply::CodeInvalid => Error::CodeInvalid,
        UserReply::CodeExpired => Error::CodeExpired,
        other => Error::Internal(format!("an actor answered {other:?}")),
    }
}
