//! Passwords: changed, hashed anew, reset.

use super::{
    accounts::{ACCOUNT, account, count_kind, ones, put_account},
    api_keys,
    email_change::sweep_at,
    invites, sessions, tenants,
    tx::{Plan, Planned, Tx},
    unit::{Name, Unit, name},
    upkeep::{self, What},
};
use crate::store::commands::*;
use async_trait::async_trait;

pub(super) const RESET: &str = "reset";

fn put_link(tx: &mut Tx<'_>, link: &ResetLink) -> Planned<()> {
    tx.put(&Unit::user(link.user_id), RESET, link.id.as_bytes(), link)?;
    let at = sweep_at(link.used_at.unwrap_or(link.expires_at));
    tx.effect(upkeep::look_at(&What::User(link.user_id), at)?);
    Ok(())
}

#[async_trait]
impl Plan for ChangePassword {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let Some(mut account) = account(tx, self.user_id).await? else { return Ok(Cas::Stale) };
        if account.user.credential_epoch != self.expect_epoch || account.user.deleted_at.is_some() {
            return Ok(Cas::Stale);
        }
        account.user.password_hash = Some(self.new_hash.clone());
        account.password_epoch = Some(self.expect_epoch + 1);
        account.user.updated_at = tx.now;
        count_kind(tx, &self.new_hash);
        sessions::raise_epoch(tx, account, self.keep).await?;
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for Rehash {
    type Out = bool;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let Some(mut account) = account(tx, self.user_id).await? else { return Ok(false) };
        if account.user.password_hash.as_ref() != Some(&self.expect_hash) {
            return Ok(false);
        }
        account.user.password_hash = Some(self.new_hash.clone());
        count_kind(tx, &self.new_hash);
        put_account(tx, account).await?;
        Ok(true)
    }
}

#[async_trait]
impl Plan for ResetLink {
    type Out = bool;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let account = account(tx, self.user_id).await?;
        let good = account.is_some_and(|a| a.user.may_sign_in() && a.user.credential_epoch == self.epoch);
        if good {
            put_link(tx, self)?;
        }
        Ok(good)
    }
}

#[async_trait]
impl Plan for CompleteReset {
    type Out = Cas<ResetOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT]).into_iter().chain([name(RESET, self.link_id.as_bytes())]).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<ResetOutcome>> {
        let link: Option<ResetLink> = tx.get(&Unit::user(self.user_id), RESET, self.link_id.as_bytes()).await?;
        let (Some(link), Some(mut account)) = (link, account(tx, self.user_id).await?) else { return Ok(Cas::Stale) };
        let u = &mut account.user;
        if link.used_at.is_some() || tx.now >= link.expires_at || link.epoch != u.credential_epoch || !u.may_sign_in() {
            return Ok(Cas::Stale);
        }
        u.password_hash = Some(self.new_hash.clone());
        account.password_epoch = Some(link.epoch + 1);
        u.updated_at = tx.now;
        put_link(tx, &ResetLink { used_at: Some(tx.now), ..link })?;
        count_kind(tx, &self.new_hash);
        let first_proof = u.email_verified_at.is_none();
        if first_proof {
            u.email_verified_at = Some(tx.now);
            (u.phone, u.phone_verified_at) = (None, None);
            tenants::demote_other_owners(tx, self.user_id).await?;
            api_keys::revoke_keys_of_maker(tx, self.user_id).await?;
            invites::revoke_of_inviter(tx, self.user_id).await?;
        }
        let revoked = sessions::raise_epoch(tx, account, None).await?;
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(ResetOutcome { revoked, first_proof }))
    }
}
