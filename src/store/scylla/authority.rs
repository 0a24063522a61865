//! Who acts, by what their rows say at the moment of the command.

use super::{
    access,
    accounts::{ACCOUNT, Account, ONE},
    api_keys::{self, KeyRow},
    cql::Cql,
    sessions::{Row, SESSION},
    tenants::{MEMBER, Member, TENANT},
    tx::{Planned, Tx, parse},
    unit::{Unit, name},
    withdrawal::{self, WITHDRAWN, Withdrawal},
};
use crate::{
    domain::{
        api_key::Origin,
        authority::{Acting, Authority, By, Denied, Permitted, is_proved},
        ids::{RoleId, SessionId, TenantId, UserId},
        permission::{Permission, PermissionSet},
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    store::Result,
};

/// When a person made something last that ends with their credentials.
pub(super) const MADE: &str = "made";

/// Somebody in one tenant, as their rows are.
#[derive(Default)]
pub(super) struct Person {
    account: Option<Account>,
    member: Option<Member>,
    session: Option<Row>,
    withdrawn: Vec<Withdrawal>,
}

async fn peek(cql: &Cql, user: UserId, tenant: TenantId, session: Option<SessionId>) -> Result<Person> {
    let mut names = vec![name(ACCOUNT, ONE), name(MEMBER, tenant.as_bytes()), name(WITHDRAWN, ONE)];
    names.extend(session.map(|id| name(SESSION, id.as_bytes())));
    let mut person = Person::default();
    for row in cql.rows(&Unit::user(user), &names, false).await? {
        match row.name.kind.as_str() {
            ACCOUNT => person.account = Some(parse::<Account>(&row.body)?).filter(|a| !a.purging),
            MEMBER => person.member = Some(parse(&row.body)?),
            WITHDRAWN => person.withdrawn = parse(&row.body)?,
            _ => person.session = Some(parse(&row.body)?),
        }
    }
    Ok(person)
}

impl Person {
    /// As a member; `None`: they are none, or their account is deleted.
    async fn acting(&self, cql: &Cql, tenant: &Tenant) -> Result<Option<Acting>> {
        let (Some(account), Some(member)) = (&self.account, &self.member) else { return Ok(None) };
        if account.user.deleted_at.is_some() || tenant.deleted_at.is_some() {
            return Ok(None);
        }
        let allowed = access::allowed_by(cql, tenant.id, &member.roles).await?;
        Ok(Some(Acting::member(&account.user, &member.roles, allowed, tenant)))
    }
    /// The session, ended or not, was made (or kept) under the account's present credentials.
    fn same_credentials(&self) -> bool {
        let (Some(account), Some(row)) = (&self.account, &self.session) else { return false };
        row.clone().shown(&account.endings).credential_epoch == account.user.credential_epoch
    }
    /// The session has not ended, and was made (or kept) under the account's present credentials.
    fn is_signed_in(&self) -> bool {
        let (Some(account), Some(row)) = (&self.account, &self.session) else { return false };
        let session = row.clone().shown(&account.endings);
        account.user.may_sign_in() && session.revoked_at.is_none() && session.credential_epoch == account.user.credential_epoch
    }
}

async fn live(cql: &Cql, id: TenantId) -> Result<Option<Tenant>> {
    Ok(cql.peek::<Tenant>(&Unit::tenant(id), TENANT, ONE).await?.filter(|t| t.deleted_at.is_none()))
}

/// Whoever acts; if they can't any more, why. What is read is no condition of the commit: whoever loses a permission while a command of
/// theirs runs may have been before or after it.
pub(super) async fn acting(cql: &Cql, now: Timestamp, by: By) -> Result<Permitted<Acting>> {
    let Some(tenant) = live(cql, by.tenant_id).await? else { return Ok(Err(Denied::NoPermission)) };
    let found = match by.authority {
        Authority::Operator => Some(Acting::operator()),
        Authority::Person { user, session } => {
            let person = peek(cql, user, by.tenant_id, Some(session)).await?;
            if person.is_signed_in() { person.acting(cql, &tenant).await? } else { None }
        }
        Authority::Key(id) => match api_keys::live_key(cql, now, by.tenant_id, id).await? {
            Some(row) => through(cql, &row, &tenant).await?,
            None => None,
        },
    };
    Ok(found.ok_or(Denied::NoPermission))
}

/// The same, with the permission that it takes.
pub(super) async fn permitted(tx: &Tx<'_>, by: By, permission: Permission) -> Planned<Permitted<Acting>> {
    Ok(acting(tx.cql(), tx.now, by).await?.and_then(|acting| acting.needs(permission).map(|()| acting)))
}

/// The same, as a condition of the commit: whoever loses what it takes while the command runs, loses it before it or after it.
pub(super) async fn permitted_surely(tx: &mut Tx<'_>, by: By, permission: Permission) -> Planned<Permitted<Acting>> {
    Ok(acting_surely(tx, by).await?.and_then(|acting| acting.needs(permission).map(|()| acting)))
}

/// The same, whatever it takes.
pub(super) async fn acting_surely(tx: &mut Tx<'_>, by: By) -> Planned<Permitted<Acting>> {
    let person = match by.authority {
        Authority::Person { user, .. } => Some(user),
        Authority::Key(id) => {
            // The key's own row is of the tenant.
            tx.touch(&Unit::tenant(by.tenant_id)).await?;
            api_keys::live_key(tx.cql(), tx.now, by.tenant_id, id).await?.and_then(|row| row.key.user_id)
        }
        Authority::Operator => None,
    };
    if let Some(person) = person {
        tx.touch(&Unit::user(person)).await?;
    }
    Ok(acting(tx.cql(), tx.now, by).await?)
}

/// They make something that is ended with their credentials: it must not be made beside that. A recovery that has looked for such things
/// before finds that the account was written since.
pub(super) fn makes(tx: &mut Tx<'_>, acting: &Acting) -> Planned<()> {
    let now = tx.now;
    match acting.actor.person {
        Some(person) => tx.put(&Unit::user(person), MADE, ONE, &now),
        None => Ok(()),
    }
}

/// Whoever did something before, as they are now: their session may have ended since, but not their credentials.
pub(super) async fn later(cql: &Cql, now: Timestamp, by: By) -> Result<Option<Acting>> {
    let Authority::Person { user, session } = by.authority else { return acting(cql, now, by).await.map(std::result::Result::ok) };
    let Some(tenant) = live(cql, by.tenant_id).await? else { return Ok(None) };
    let person = peek(cql, user, by.tenant_id, Some(session)).await?;
    if person.same_credentials() { person.acting(cql, &tenant).await } else { Ok(None) }
}

/// Whoever offered something to others then, when their unit had that version, as a member of the tenant by their rows of now; `None`: they
/// are none any more, or have taken it back.
pub(super) async fn who_offered(cql: &Cql, user: UserId, tenant: TenantId, at: Timestamp, version: i64) -> Result<Option<Acting>> {
    let Some(tenant) = live(cql, tenant).await? else { return Ok(None) };
    let person = peek(cql, user, tenant.id, None).await?;
    if person.withdrawn.iter().any(|w| w.covers(at, version)) {
        return Ok(None);
    }
    person.acting(cql, &tenant).await
}

/// Whoever uses a key; `None`: its maker is gone, and nobody has taken it over, or they have taken it back.
pub(super) async fn through(cql: &Cql, row: &KeyRow, tenant: &Tenant) -> Result<Option<Acting>> {
    let key = &row.key;
    if key.origin == Origin::Operator {
        return Ok(Some(Acting::operators_key(key.scopes)));
    }
    let (None, Some(maker)) = (key.stopped_at, key.user_id) else { return Ok(None) };
    let maker = peek(cql, maker, tenant.id, None).await?;
    if withdrawal::key_taken_back(&maker.withdrawn, row, tenant.kind == TenantKind::Personal).is_some() {
        return Ok(None);
    }
    Ok(maker.acting(cql, tenant).await?.map(|m| m.through(key.scopes)))
}

/// Whether somebody has a proved address, as a tenant counts it.
pub(super) async fn has_proved(cql: &Cql, user: UserId, tenant: TenantId) -> Result<bool> {
    let account: Option<Account> = cql.peek(&Unit::user(user), ACCOUNT, ONE).await?;
    let (Some(account), Some(tenant)) = (account, live(cql, tenant).await?) else { return Ok(false) };
    Ok(is_proved(&account.user, &tenant))
}

/// What a role allows, if whoever acts may give (or take) it; `None`: there is no such role.
pub(super) async fn givable(
    cql: &Cql,
    acting: &Acting,
    tenant: TenantId,
    role: RoleId,
    taker: Option<UserId>,
) -> Result<Option<Permitted<PermissionSet>>> {
    Ok(access::allows(cql, tenant, role).await?.map(|allows| acting.may_give(role, allows, taker).map(|()| allows)))
}
