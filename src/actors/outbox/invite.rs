//! Invites: the token is derived as the mail goes out, and nothing is sent that is dead by then.

use super::OutboxDeps;
use crate::{
    domain::{
        contact::Email,
        ids::{InviteId, TenantId},
        secret::SecretText,
        tenant::looks_like_link,
        time::Timestamp,
        token::MailedInvite,
    },
    store,
};

/// An invite that can be accepted.
pub(super) struct Open {
    pub to: Email,
    pub token: SecretText,
    pub expires_at: Timestamp,
    /// Only for an address that its account has proved: to others, mail carries no words of whoever caused it.
    pub tenant_name: Option<String>,
}

/// The invite of a job, if it is still open and of this serial, and its tenant is live.
pub(super) async fn open(deps: &OutboxDeps, tenant_id: TenantId, id: InviteId, serial: u64, now: Timestamp) -> store::Result<Option<Open>> {
    let Some(invite) = deps.store.invite(tenant_id, id).await?.filter(|i| i.is_open(now) && i.serial == serial) else {
        return Ok(None);
    };
    let Some(tenant) = deps.store.tenant(tenant_id).await?.filter(|t| t.deleted_at.is_none()) else { return Ok(None) };
    let holder = deps.store.user_by_email(&invite.email.digest()).await?;
    let proved = holder.is_some_and(|u| u.may_sign_in() && u.email_verified_at.is_some());
    Ok(Some(Open {
        token: MailedInvite::issue(&deps.keyring, tenant_id, id, serial, &invite.nonce),
        to: invite.email,
        expires_at: invite.expires_at,
        tenant_name: proved.then_some(tenant.name).filter(|name| !looks_like_link(name)),
    }))
}
