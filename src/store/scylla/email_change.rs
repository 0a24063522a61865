//! Changes of the e-mail address: begun, confirmed, undone.

use super::{
    accounts::{ACCOUNT, Account, HOLDER, ONE, account, ones},
    passwords, sessions, tenants,
    tx::{Plan, Planned, Tx},
    unit::{Name, Unit, name},
    upkeep::{self, What},
    withdrawal::{self, Since, WITHDRAWN},
};
use crate::{
    domain::{contact::Email, ids::UserId, outbox::Job, time::Timestamp},
    store::commands::*,
};
use async_trait::async_trait;
use std::time::Duration;

pub(super) const PENDING: &str = "email_change";
pub(super) const UNDO: &str = "undo";

/// Links are kept a day after their end, so that a used one can be told from one that never was.
pub(super) fn sweep_at(end: Timestamp) -> Timestamp {
    end.plus(Duration::from_secs(86_400))
}

/// The account can't move back to an address any more: anybody may have that.
pub(super) async fn release(tx: &mut Tx<'_>, user: UserId, link: &UndoLink, now_has: &Email) -> Planned<()> {
    let claim = Unit::email(&link.old_email.digest());
    let others = tx.scan::<UndoLink>(&Unit::user(user), UNDO).await?;
    let kept = others.iter().any(|(_, l)| l.id != link.id && l.used_at.is_none() && l.reserves() && l.old_email == link.old_email);
    if !kept && link.old_email != *now_has && tx.get::<UserId>(&claim, HOLDER, ONE).await? == Some(user) {
        tx.del(&claim, HOLDER, ONE);
    }
    Ok(())
}

/// The pending change ends.
pub(super) fn drop_pending(tx: &mut Tx<'_>, user: UserId) {
    tx.del(&Unit::user(user), PENDING, ONE);
}

fn put_undo(tx: &mut Tx<'_>, link: &UndoLink) -> Planned<()> {
    tx.put(&Unit::user(link.user_id), UNDO, link.id.as_bytes(), link)?;
    let at = sweep_at(link.used_at.unwrap_or(link.expires_at));
    tx.effect(upkeep::look_at(&What::User(link.user_id), at)?);
    Ok(())
}

/// Undo links of changes from an epoch on can't be used any more.
pub(super) async fn use_up(tx: &mut Tx<'_>, user: UserId, from: u64, now_has: &Email) -> Planned<()> {
    let links = tx.scan::<UndoLink>(&Unit::user(user), UNDO).await?.into_iter().map(|(_, link)| link);
    let ends: Vec<UndoLink> = links.filter(|l| l.epoch >= from && l.used_at.is_none()).collect();
    for link in &ends {
        put_undo(tx, &UndoLink { used_at: Some(tx.now), ..link.clone() })?;
    }
    for link in &ends {
        release(tx, user, link, now_has).await?;
    }
    Ok(())
}

/// Writes a pending change, and its job.
pub(super) struct Begin {
    pub(super) change: PendingEmailChange,
    pub(super) job: Job,
}

#[async_trait]
impl Plan for Begin {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let (change, id) = (&self.change, self.change.user_id);
        if account(tx, id).await?.is_none_or(|a| a.user.credential_epoch != change.epoch) {
            return Ok(Cas::Stale);
        }
        tx.put(&Unit::user(id), PENDING, ONE, change)?;
        tx.effect(upkeep::look_at(&What::User(id), change.expires_at)?);
        tx.job(&self.job)?;
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for ConfirmEmailChange {
    type Out = Cas<EmailChangeOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT, PENDING])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<EmailChangeOutcome>> {
        let pending: Option<PendingEmailChange> = tx.get(&Unit::user(self.user_id), PENDING, ONE).await?;
        let (Some(mut account), Some(change)) = (account(tx, self.user_id).await?, pending) else { return Ok(Cas::Stale) };
        let u = account.user.clone();
        let in_force = u.credential_epoch == self.epoch && change.epoch == self.epoch && tx.now < change.expires_at;
        if !in_force || change.serial != self.serial || self.serial <= u.code_serials.email_change {
            return Ok(Cas::Stale);
        }
        let keep = reserves(account.user.email_verified_at, account.user.email_asserted_at);
        if !move_to(tx, &mut account, &change.new_email, keep).await? {
            return Ok(Cas::Done(EmailChangeOutcome::Taken));
        }
        if u.email_verified_at.is_none() {
            // The first proof: whoever made the account may have been somebody else.
            withdrawal::withdraw(tx, self.user_id, Since::Never).await?;
        }
        account.user.code_serials.email_change = self.serial;
        let link = UndoLink {
            id: self.undo.id,
            user_id: u.id,
            nonce: self.undo.nonce,
            epoch: u.credential_epoch,
            old_email: u.email,
            old_verified_at: u.email_verified_at,
            created_at: tx.now,
            expires_at: self.undo.expires_at,
            used_at: None,
        };
        put_undo(tx, &link)?;
        sessions::raise_epoch(tx, account, self.keep).await?;
        tx.job(&self.job)?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(EmailChangeOutcome::Changed))
    }
}

/// Gives the account the address, proved; the caller raises the epoch. If somebody else has it, only the pending change ends. `keep`: the
/// one of before stays taken, for as long as the account can move back.
async fn move_to(tx: &mut Tx<'_>, account: &mut Account, email: &Email, keep: bool) -> Planned<bool> {
    let u = &mut account.user;
    let (new, old) = (Unit::email(&email.digest()), Unit::email(&u.email.digest()));
    if tx.get::<UserId>(&new, HOLDER, ONE).await?.is_some_and(|holder| holder != u.id) {
        drop_pending(tx, u.id);
        return Ok(false);
    }
    if new != old {
        if !keep {
            tx.touch(&old).await?;
            tx.del(&old, HOLDER, ONE);
        }
        tx.put(&new, HOLDER, ONE, &u.id)?;
    }
    u.email = email.clone();
    (u.email_verified_at, u.email_asserted_at, u.updated_at) = (Some(tx.now), None, tx.now);
    Ok(true)
}

#[async_trait]
impl Plan for UndoEmailChange {
    type Out = Cas<EmailChangeOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT, WITHDRAWN]).into_iter().chain([name(UNDO, self.link_id.as_bytes())]).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<EmailChangeOutcome>> {
        let link: Option<UndoLink> = tx.get(&Unit::user(self.user_id), UNDO, self.link_id.as_bytes()).await?;
        let (Some(mut account), Some(link)) = (account(tx, self.user_id).await?, link) else { return Ok(Cas::Stale) };
        if link.used_at.is_some() || tx.now >= link.expires_at {
            return Ok(Cas::Stale);
        }
        if !move_to(tx, &mut account, &link.old_email, false).await? {
            return Ok(Cas::Done(EmailChangeOutcome::Taken));
        }
        // Whoever made the change may know the password, also that of before: it goes in any case, and with it the phone number. Not-me
        // links of mails to the other address are dead.
        passwords::lose_password(tx, &mut account);
        (account.user.phone, account.user.phone_verified_at) = (None, None);
        if account.user.deleted_at.is_some() {
            (account.user.deleted_at, account.user.purge_after) = (None, None);
            let may_act = account.user.may_sign_in();
            tenants::act_as_owner(tx, self.user_id, may_act).await?;
        }
        // Without a tenant nobody could sign in.
        if !tenants::belongs_somewhere(tx, self.user_id).await? {
            tenants::give_personal(tx, &mut account, &self.personal).await?;
        }
        // Nobody had proved that mailbox: whoever made the account may be a stranger. It is unproved again; who has the mailbox proves it
        // by a reset, which ends the rest of what the stranger made.
        if link.old_verified_at.is_none() {
            account.user.email_verified_at = None;
        }
        withdrawal::withdraw(tx, self.user_id, Since::At(link.created_at)).await?;
        // This link, and those of later changes: they lead to addresses that the owner never had.
        use_up(tx, self.user_id, link.epoch, &link.old_email).await?;
        sessions::raise_epoch(tx, account, None).await?;
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(EmailChangeOutcome::Changed))
    }
}
