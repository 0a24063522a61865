//! Passwords: changed, hashed anew, reset.

use super::{
    access,
    accounts::{ACCOUNT, Account, ONE, account, count_kind, ones, out_of_bin, put_account},
    authority,
    email_change::sweep_at,
    sessions, tenants,
    tx::{Plan, Planned, Tx},
    unit::{Name, Unit, name},
    upkeep::{self, What},
    withdrawal::{self, Since, WITHDRAWN},
};
use crate::{
    domain::{
        authority::{Action, By, Elsewhere, Place, Target, may},
        ids::RoleId,
        permission::Permission,
        tenant::Tenant,
        user::User,
    },
    store::commands::*,
};
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
        account.user.must_change = false;
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
        ones(&[ACCOUNT, WITHDRAWN]).into_iter().chain([name(RESET, self.link_id.as_bytes())]).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<ResetOutcome>> {
        let link: Option<ResetLink> = tx.get(&Unit::user(self.user_id), RESET, self.link_id.as_bytes()).await?;
        let (Some(link), Some(mut account)) = (link, account(tx, self.user_id).await?) else { return Ok(Cas::Stale) };
        let u = &account.user;
        if link.used_at.is_some() || tx.now >= link.expires_at || link.epoch != u.credential_epoch || !u.may_sign_in() {
            return Ok(Cas::Stale);
        }
        if let Some(by) = link.made_by
            && !may_still_link(tx, by, u).await?
        {
            return Ok(Cas::Stale);
        }
        let proves = link.made_by.is_none();
        let first_proof = proves && u.email_verified_at.is_none();
        if first_proof {
            tenants::first_proof(tx, &mut account, self.personal.as_deref()).await?;
        }
        let u = &mut account.user;
        u.must_change = false;
        u.password_hash = Some(self.new_hash.clone());
        account.password_epoch = Some(link.epoch + 1);
        u.updated_at = tx.now;
        put_link(tx, &ResetLink { used_at: Some(tx.now), ..link })?;
        count_kind(tx, &self.new_hash);
        if first_proof {
            u.email_verified_at = Some(tx.now);
            (u.phone, u.phone_verified_at) = (None, None);
            withdrawal::withdraw(tx, self.user_id, Since::Ever).await?;
        } else if proves {
            withdrawal::withdraw(tx, self.user_id, self.end_keys_since.map_or(Since::Never, Since::At)).await?;
        }
        if let Some(network) = self.network.filter(|_| proves) {
            sessions::know(tx, self.user_id, network).await?;
        }
        let revoked = sessions::raise_epoch(tx, account, None).await?;
        self.jobs.iter().try_for_each(|job| tx.job(job))?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(ResetOutcome { revoked, first_proof }))
    }
}

/// Whether the admin who made a link may still set the password of the account.
async fn may_still_link(tx: &mut Tx<'_>, by: By, user: &User) -> Planned<bool> {
    let Some(acting) = authority::later(tx.cql(), tx.now, by).await? else { return Ok(false) };
    let Some(target) = target(tx, by, user).await? else { return Ok(false) };
    let Some(tenant) = tx.peek::<Tenant>(&Unit::tenant(by.tenant_id), tenants::TENANT, ONE).await? else { return Ok(false) };
    let may = may(&acting.actor, Action::MakeLink, &target, &Place::of(&tenant));
    Ok(acting.needs(Permission::UserWrite).and(may).is_ok())
}

/// A member of a tenant, to whoever decides what may be done to them; `None`: they are none.
pub(super) async fn target<'u>(tx: &mut Tx<'_>, by: By, user: &'u User) -> Planned<Option<Target<'u>>> {
    let Some(member) = tenants::member(tx, user.id, by.tenant_id).await? else { return Ok(None) };
    let all = tenants::members_of(tx, user.id).await?;
    let elsewhere = Elsewhere::of(all.iter().filter(|(other, _)| *other != by.tenant_id).map(|(_, member)| member.kind));
    let permissions = access::allowed_by(tx.cql(), by.tenant_id, &member.roles).await?;
    let owner = member.roles.contains(&RoleId::OWNER);
    Ok(Some(Target { user: user.id, permissions, owner, email: &user.email, elsewhere, independent: user.independent }))
}

#[async_trait]
impl Plan for SecureAccount {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT, WITHDRAWN])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let good = |a: &Account| a.user.deleted_at.is_none() && a.user.not_me_at.is_none_or(|at| at < self.made_at);
        let Some(mut account) = account(tx, self.user_id).await?.filter(good) else { return Ok(Cas::Stale) };
        lose_password(tx, &mut account);
        withdrawal::withdraw(tx, self.user_id, Since::At(self.made_at)).await?;
        sessions::raise_epoch(tx, account, None).await?;
        tx.job(&self.job)?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}

/// The password goes: the next one is set by a mailed link. Links of security mails that were written before are dead. The caller raises the
/// epoch.
pub(super) fn lose_password(tx: &Tx<'_>, account: &mut Account) {
    let u = &mut account.user;
    (u.password_hash, u.must_change, u.not_me_at, u.updated_at) = (None, false, Some(tx.now), tx.now);
    account.password_epoch = None;
}

#[async_trait]
impl Plan for RestoreAccount {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let good = |a: &Account| a.user.deleted_at.is_some() && a.user.credential_epoch == self.epoch;
        let Some(mut account) = account(tx, self.user_id).await?.filter(good) else { return Ok(Cas::Stale) };
        // Without a tenant nobody could sign in.
        if !tenants::belongs_somewhere(tx, self.user_id).await? {
            tenants::give_personal(tx, &mut account, &self.personal).await?;
        }
        out_of_bin(tx, account).await?;
        tx.job(&self.job)?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}
