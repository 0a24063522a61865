//! Reset links, made by the worker: whether an address has an account is looked up only after the answer to the request.

use super::OutboxDeps;
use crate::{
    domain::secret::SecretText,
    domain::{
        context::{Actor, Ctx},
        ids::{CommandId, JobId, LinkId},
        keyring::Label,
        time::Timestamp,
        token::ResetToken,
        user::User,
    },
    store::{self, commands::ResetLink},
};
use std::time::Duration;

/// How long a reset link works that somebody asked for, or that takes the place of a password that was removed.
pub(super) const RESET_TTL: Duration = Duration::from_secs(3600);

/// A link that works, and until when.
pub(super) struct Link {
    pub token: SecretText,
    pub expires_at: Timestamp,
}

/// The reset link of a job: made at the first attempt, for the time of `ttl`, and the same one at every later attempt. `None`: it was
/// used, it has had its time, or the account has changed since it was read.
pub(super) async fn link_for(deps: &OutboxDeps, job: JobId, user: &User, ttl: Duration, now: Timestamp) -> store::Result<Option<Link>> {
    // Of the epoch too: after a change of password a retry makes a new link, and can't find the old one used.
    let derive = |what: &[u8]| -> [u8; 32] {
        let parts: [&[u8]; 4] = [b"of an outbox job", what, job.as_bytes(), &user.credential_epoch.to_be_bytes()];
        deps.keyring.mac(deps.keyring.current(), Label::ResetLink, &parts).expect("the keyring's own key")
    };
    let id = LinkId::from_bytes(id_bytes(job, &derive(b"id")));
    let link = match deps.store.reset_link(user.id, id).await? {
        Some(link) => link,
        None => {
            let link = ResetLink {
                made_by: None,
                id,
                user_id: user.id,
                nonce: first_16(&derive(b"nonce")),
                epoch: user.credential_epoch,
                created_at: now,
                expires_at: now.plus(ttl),
                used_at: None,
            };
            let command = CommandId::from_bytes(id_bytes(job, &derive(b"command")));
            let ctx = Ctx { command, now, actor: Actor::System, network: None, seed: None, request_id: None };
            if !deps.store.create_reset_link(&ctx, link.clone()).await? {
                return Ok(None);
            }
            link
        }
    };
    if link.used_at.is_some() || link.expires_at <= now || link.epoch != user.credential_epoch {
        return Ok(None);
    }
    let token = ResetToken::issue(&deps.keyring, user.id, link.id, link.epoch, &link.nonce);
    Ok(Some(Link { token, expires_at: link.expires_at }))
}

fn first_16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[..16]);
    out
}

/// A UUID v7 of the job's time (RFC 9562): stores keep neighbours in time together.
fn id_bytes(job: JobId, derived: &[u8; 32]) -> [u8; 16] {
    let mut id = first_16(derived);
    id[..6].copy_from_slice(&job.as_bytes()[..6]);
    id[6] = 0x70 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    id
}
