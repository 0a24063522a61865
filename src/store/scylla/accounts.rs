//! Accounts: made, looked up, changed, deleted.

use super::{
    api_keys,
    effects::Effect,
    engine::Engine,
    member_lists,
    sessions::{self, KNOWN},
    signups, tenants,
    tx::{Outcome, Plan, Planned, Tx},
    unit::{List, Name, Unit, name},
    upkeep::{self, What},
};
use crate::{
    domain::{
        authority::Permitted, contact::ContactDigest, hash::PasswordHash, ids::UserId, network::Network, time::Timestamp, user::User,
    },
    store::{Result, commands::*},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The key of rows of which a unit has one.
pub(super) const ONE: &[u8] = b"-";
/// The account.
pub(super) const ACCOUNT: &str = "account";
/// Who has what a claim is for.
pub(super) const HOLDER: &str = "holder";
const CENSUS: &[u8] = b"kinds";

/// The account's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) user: User,
    /// The epoch under which the password was set.
    pub(super) password_epoch: Option<u64>,
    /// How sessions ended that have no mark of their own, oldest first.
    pub(super) endings: Vec<sessions::Ending>,
    /// How many sign-ins it has had.
    #[serde(default)]
    pub(super) opened: u32,
    /// It is on its way out for good: for all but those who see to that it is gone.
    #[serde(default)]
    pub(super) purging: bool,
}

impl Outcome for CreateUserOutcome {}
impl Outcome for u64 {}
impl Outcome for bool {
    fn recorded(&self) -> bool {
        *self
    }
}
impl<T: Serialize + serde::de::DeserializeOwned + Send + 'static> Outcome for Cas<T> {
    fn recorded(&self) -> bool {
        matches!(self, Cas::Done(_))
    }
}

// Nothing was written, and it may be decided anew.
impl<T: Outcome> Outcome for Permitted<T> {
    fn recorded(&self) -> bool {
        self.as_ref().is_ok_and(T::recorded)
    }
}

/// Names of rows of which a unit has one.
pub(super) fn ones(kinds: &[&str]) -> Vec<Name> {
    kinds.iter().map(|kind| name(kind, ONE)).collect()
}

/// The account, as a condition of the commit.
pub(super) async fn account(tx: &mut Tx<'_>, id: UserId) -> Planned<Option<Account>> {
    Ok(tx.get::<Account>(&Unit::user(id), ACCOUNT, ONE).await?.filter(|a| !a.purging))
}
/// Writes the account, with its version raised; the lists of its tenants follow.
pub(super) async fn put_account(tx: &mut Tx<'_>, mut account: Account) -> Planned<()> {
    account.user.version += 1;
    let unit = Unit::user(account.user.id);
    if let Some(before) = tx.was::<Account>(&unit, ACCOUNT, ONE)? {
        member_lists::follow(tx, &before.user, &account.user).await?;
    }
    tx.put(&unit, ACCOUNT, ONE, &account)
}

/// Notes a kind of hash that is about to be stored.
pub(super) fn count_kind(tx: &mut Tx<'_>, hash: &PasswordHash) {
    tx.effect(put_kind(&hash.census()));
}
/// Notes a kind of hash.
pub(super) fn put_kind(kind: &str) -> Effect {
    let (bucket, key) = (CENSUS.into(), kind.as_bytes().into());
    Effect::Put { list: List::HashCensus, bucket, key, body: String::new(), ttl: 0, noted: false }
}

/// Writes a new account with its claim. The claim must be free.
pub(super) fn insert(tx: &mut Tx<'_>, user: &User) -> Planned<()> {
    if let Some(hash) = &user.password_hash {
        count_kind(tx, hash);
    }
    let unit = Unit::user(user.id);
    tx.is_new(&unit);
    let password_epoch = user.password_hash.is_some().then_some(user.credential_epoch);
    tx.put(&unit, ACCOUNT, ONE, &Account { user: user.clone(), password_epoch, endings: Vec::new(), opened: 0, purging: false })?;
    tx.put(&Unit::email(&user.email.digest()), HOLDER, ONE, &user.id)
}

#[async_trait]
impl Plan for CreateUser {
    type Out = CreateUserOutcome;
    fn first(&self) -> Vec<Name> {
        ones(&[HOLDER])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateUserOutcome> {
        let claim = Unit::email(&self.user.email.digest());
        if let Some(id) = self.consumes
            && signups::waiting(tx, &claim, id).await?.is_none()
        {
            return Ok(CreateUserOutcome::PendingGone);
        }
        if let Some(owner) = tx.get::<UserId>(&claim, HOLDER, ONE).await? {
            return Ok(CreateUserOutcome::EmailTaken(owner));
        }
        insert(tx, &self.user)?;
        // A personal tenant's slug is made of its random id.
        tenants::insert(tx, &self.tenant).await?;
        tenants::join(tx, &self.membership, self.tenant.kind).await?;
        sessions::insert(tx, &self.session)?;
        sessions::know(tx, self.user.id, self.network).await?;
        signups::forget(tx, &claim).await?;
        // What is recorded there is looked at again when a rerun can no longer come.
        tx.effect(upkeep::look_at(&What::Claim(self.user.email.digest()), tx.now.plus(Duration::from_secs(86_400)))?);
        tx.audit(&self.audit)?;
        Ok(CreateUserOutcome::Created)
    }
}

#[async_trait]
impl Plan for UpdateProfile {
    type Out = Cas<u64>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<u64>> {
        let Some(mut account) = account(tx, self.user_id).await? else { return Ok(Cas::Stale) };
        if account.user.version != self.expect_version {
            return Ok(Cas::Stale);
        }
        account.user.display_name = self.display_name.clone();
        account.user.locale = self.locale.clone();
        account.user.updated_at = tx.now;
        let version = account.user.version + 1;
        put_account(tx, account).await?;
        Ok(Cas::Done(version))
    }
}

#[async_trait]
impl Plan for DeleteUser {
    type Out = Cas<DeleteOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<DeleteOutcome>> {
        let Some(account) = account(tx, self.user_id).await? else { return Ok(Cas::Stale) };
        if account.user.credential_epoch != self.expect_epoch || account.user.deleted_at.is_some() {
            return Ok(Cas::Stale);
        }
        if tenants::holds_up_an_organization(tx, self.user_id).await? {
            return Ok(Cas::Done(DeleteOutcome::LastOwner));
        }
        into_bin(tx, account, self.purge_after).await?;
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(DeleteOutcome::Deleted))
    }
}

/// Puts a user into the recycle bin, with all that follows; how many live sessions ended.
pub(super) async fn into_bin(tx: &mut Tx<'_>, mut account: Account, purge_after: Timestamp) -> Planned<u64> {
    let id = account.user.id;
    account.user.deleted_at = Some(tx.now);
    account.user.purge_after = Some(purge_after);
    account.user.updated_at = tx.now;
    api_keys::stop_keys_of_maker(tx, id, None).await?;
    tenants::act_as_owner(tx, id, false).await?;
    sessions::raise_epoch(tx, account, None).await
}

/// Takes a user out of the recycle bin, with the memberships and the status of before and without the password: whoever deleted the
/// account may have known it.
pub(super) async fn out_of_bin(tx: &mut Tx<'_>, mut account: Account) -> Planned<u64> {
    let u = &mut account.user;
    (u.deleted_at, u.purge_after, u.password_hash, u.must_change, u.updated_at) = (None, None, None, false, tx.now);
    account.password_epoch = None;
    let (id, may_act) = (account.user.id, account.user.may_sign_in());
    tenants::act_as_owner(tx, id, may_act).await?;
    sessions::raise_epoch(tx, account, None).await
}

impl Engine {
    pub(super) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let account: Option<Account> = self.cql.peek(&Unit::user(id), ACCOUNT, ONE).await?;
        Ok(account.filter(|a| !a.purging).map(|a| a.user))
    }

    pub(super) async fn user_by_email(&self, digest: &ContactDigest) -> Result<Option<User>> {
        let Some(id) = self.cql.peek::<UserId>(&Unit::email(digest), HOLDER, ONE).await? else { return Ok(None) };
        Ok(self.user(id).await?.filter(|u| u.email.digest() == *digest))
    }

    /// For an unknown address the same two reads: nobody shall tell them by the time.
    pub(super) async fn login_lookup(&self, digest: &ContactDigest, network: Network) -> Result<LoginLookup> {
        let holder = self.cql.peek::<UserId>(&Unit::email(digest), HOLDER, ONE).await?;
        let mut decoy = [0; 16];
        decoy.copy_from_slice(&digest.as_bytes()[..16]);
        let unit = Unit::user(holder.unwrap_or(UserId::from_bytes(decoy)));
        let (mut user, mut known_network) = (None, false);
        for row in self.cql.rows(&unit, &ones(&[ACCOUNT, KNOWN]), false).await? {
            if row.name.kind == ACCOUNT {
                user = Some(super::tx::parse::<Account>(&row.body)?).filter(|a| !a.purging).map(|a| a.user);
            } else {
                known_network = super::tx::parse::<sessions::Known>(&row.body)?.iter().any(|(n, _)| *n == network);
            }
        }
        // The account may have moved on to another address between the two reads.
        let user = user.filter(|u| u.email.digest() == *digest);
        Ok(LoginLookup { known_network: known_network && user.is_some(), user })
    }

    pub(super) async fn hash_census(&self) -> Result<Vec<String>> {
        let all = self.cql.entries(List::HashCensus, CENSUS, &[], &[0xff; 65], 1000, false).await?;
        Ok(all.into_iter().filter_map(|(key, _)| String::from_utf8(key.0).ok()).collect())
    }
}
