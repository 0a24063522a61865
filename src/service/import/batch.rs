//! Accounts out of rows: passwords are hashed and weak hashes wrapped (in the pool's last class), the rest is as it came.

use super::{NewUser, Refusal, Secret};
use crate::{
    credentials::{
        formats::foreign::Imported,
        policy,
        pool::{Class, Flow, Pool, PoolError},
    },
    domain::{
        hash::PasswordHash,
        ids::{RoleId, TenantId, UserId},
        policy::{AuthPolicy, BreachCheck},
        rng::Rng,
        secret::Password,
        time::Clock,
        user::{CodeSerials, User, UserStatus},
    },
    gateway::breach::{BreachRange, Breached},
    store::imports::ImportUser,
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};

/// How long a row waits for a place in the pool's queue before it is tried again, and how often.
const PAUSE: Duration = Duration::from_millis(100);
const TRIES: u32 = 600;

/// Makes accounts for one tenant.
#[derive(Clone)]
pub struct Importer {
    /// Where hashing happens.
    pub pool: Pool,
    /// Which passwords were in breaches.
    pub breach: Arc<dyn BreachRange>,
    /// For ids, and when the accounts are made.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub rng: Arc<dyn Rng>,
    /// Whose members they become.
    pub tenant: TenantId,
    /// What passwords in clear must obey.
    pub policy: AuthPolicy,
    /// Names of the tenant, which passwords must not be made of.
    pub names: Vec<String>,
    /// The role of rows that name none.
    pub role: RoleId,
    /// The source's word that an address is proved is taken for a proof: only the server's own operator may say so.
    pub trusted: bool,
    /// Whose work it is for the pool.
    pub flow: Flow,
}

impl Importer {
    /// Makes accounts of the rows, in their order; each is refused on its own.
    ///
    /// # Errors
    /// The pool has stopped, or has had no place for a minute.
    pub async fn prepare(&self, rows: Vec<(u64, NewUser)>) -> Result<Vec<Result<(u64, ImportUser), Refusal>>, PoolError> {
        // Twice as many as threads: while one's result is fetched the thread has the next.
        let at_once = 2 * self.pool.stats().threads.max(1);
        let made: Vec<_> = stream::iter(rows.into_iter().map(|(line, row)| self.one(line, row))).buffered(at_once).collect().await;
        made.into_iter().collect()
    }

    async fn one(&self, line: u64, mut row: NewUser) -> Result<Result<(u64, ImportUser), Refusal>, PoolError> {
        let secret = std::mem::replace(&mut row.secret, Secret::None);
        match self.hash(secret, &row).await? {
            Ok(hash) => Ok(Ok((line, self.account(row, hash)))),
            Err(message) => Ok(Err(Refusal { line, email: Some(row.email.as_str().to_owned()), message })),
        }
    }

    async fn hash(&self, secret: Secret, row: &NewUser) -> Result<Result<Option<PasswordHash>, String>, PoolError> {
        let mut tries = 0;
        loop {
            let made = match &secret {
                Secret::None => return Ok(Ok(None)),
                Secret::Hash(Imported::Kept(hash)) => return Ok(Ok(Some(hash.clone()))),
                Secret::Hash(Imported::Weak(weak)) => self.pool.wrap(weak.clone(), self.flow, Class::Background).await,
                Secret::Password(password) => match self.refusal(password, row).await {
                    Ok(None) => self.pool.hash(password.clone(), self.flow, Class::Background).await,
                    Ok(Some(why)) => return Ok(Err(why)),
                    Err(busy) => Err(busy),
                },
            };
            match made {
                Err(PoolError::Overloaded { .. }) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                made => return made.map(|hash| Ok(Some(hash))),
            }
        }
    }

    /// Why a password in clear is not taken.
    async fn refusal(&self, password: &Password, row: &NewUser) -> Result<Option<String>, PoolError> {
        let names = self.policy.password_context_words.iter().chain(&self.names).map(String::as_str).chain(row.display_name.as_deref());
        let owner = policy::Owner::new(&row.email, names);
        if let Err(weak) = policy::check(&self.pool, password, &self.policy, &owner, self.flow, Class::Background).await? {
            return Ok(Some(weak.detail));
        }
        let asked = self.policy.breached_password_check == BreachCheck::On;
        let breached = asked && self.breach.look_up(password.as_typed()).await == Breached::Yes;
        Ok(breached.then(|| "The password is known from a data breach.".to_owned()))
    }

    fn account(&self, row: NewUser, password_hash: Option<PasswordHash>) -> ImportUser {
        let now = self.clock.now();
        let said = row.email_verified.then_some(now);
        let user = User {
            id: UserId::new(&*self.clock, &*self.rng),
            home_tenant: self.tenant,
            last_tenant: Some(self.tenant),
            email: row.email,
            email_verified_at: said.filter(|_| self.trusted),
            email_asserted_at: said.filter(|_| !self.trusted),
            phone: row.phone,
            phone_verified_at: None,
            display_name: row.display_name,
            locale: row.locale,
            status: if row.suspended { UserStatus::Suspended } else { UserStatus::Active },
            metadata: row.metadata,
            password_hash,
            credential_epoch: 1,
            version: 1,
            code_serials: CodeSerials::default(),
            last_login_at: None,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            independent: false,
            must_change: false,
            not_me_at: None,
            purge_after: None,
        };
        ImportUser { user, role: row.role.unwrap_or(self.role), job: None, audit: Vec::new() }
    }
}
