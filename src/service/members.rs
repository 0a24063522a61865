//! The users of a tenant, as its admins read them.

use super::{
    Services,
    access::{Operator, Who},
    api::UserView,
    error::{Error, Result},
    page::{Listed, Page},
};
use crate::{
    domain::{
        authority::{self, Action},
        contact::Email,
        ids::{RoleId, TenantId, UserId},
        permission::PermissionSet,
        session::Session,
        time::Timestamp,
        user::{User, UserStatus},
    },
    store::admin::{Kept, Member, MemberFilter, MemberPosition},
};
use std::collections::HashMap;

/// Which users.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// With this address.
    pub email: Option<Email>,
    /// Whose address or name begins so, in whatever case.
    pub prefix: Option<String>,
    /// With this status.
    pub status: Option<UserStatus>,
}

/// All that is kept about a user, with the names of roles.
#[derive(Debug, Clone)]
pub struct Export {
    /// The account, as seen from the operator's tenant.
    pub view: UserView,
    /// The rest.
    pub kept: Kept,
    /// What each of the kept API keys may do now.
    pub effective: Vec<PermissionSet>,
    /// When it was put together.
    pub at: Timestamp,
}

/// Names of a tenant's roles.
pub(super) struct RoleNames(HashMap<RoleId, String>);

impl RoleNames {
    pub(super) fn of(&self, roles: &[RoleId]) -> Vec<String> {
        let custom = |id: &RoleId| self.0.get(id).cloned();
        roles.iter().filter_map(|id| id.system_name().map(str::to_owned).or_else(|| custom(id))).collect()
    }
}

/// An account as one of its tenants sees it: phone number and last sign-in are the person's own, and of those who have power over it.
fn shown(by: &Operator, member: Member) -> User {
    let oneself = matches!(&by.who, Who::Person(p) if p.user_id == member.user.id);
    if oneself || authority::may(&by.acting(), Action::Read, &member.target(), &by.place).is_ok() {
        return member.user;
    }
    User { phone: None, phone_verified_at: None, last_login_at: None, ..member.user }
}

impl Services {
    /// Names of a tenant's roles. The tenant's own ones are read only if one of `used` is none of the system's.
    pub(super) async fn role_names_in(&self, tenant: TenantId, used: impl IntoIterator<Item = &RoleId>) -> Result<RoleNames> {
        if used.into_iter().all(|id| id.system_name().is_some()) {
            return Ok(RoleNames(HashMap::new()));
        }
        Ok(RoleNames(self.store.roles(tenant).await?.into_iter().map(|r| (r.id, r.name)).collect()))
    }

    pub(super) async fn view_of(&self, by: &Operator, member: Member) -> Result<UserView> {
        let names = self.role_names_in(by.tenant_id, &member.roles).await?;
        Ok(UserView { roles: names.of(&member.roles), user: shown(by, member), tenant_id: by.tenant_id })
    }

    /// A member who is not in the recycle bin.
    async fn member(&self, by: &Operator, user: UserId) -> Result<Member> {
        self.store.member(by.tenant_id, user).await?.filter(|m| m.user.deleted_at.is_none()).ok_or(Error::NotFound)
    }

    /// One user of the operator's tenant.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn user(&self, by: &Operator, user: UserId) -> Result<UserView> {
        let member = self.member(by, user).await?;
        self.view_of(by, member).await
    }

    /// A page of the tenant's users: by the order of their making, or of the terms that a prefix found.
    ///
    /// # Errors
    /// `InvalidCursor`, `Validation`.
    pub async fn users(&self, by: &Operator, filter: UserFilter, page: &Page) -> Result<Listed<UserView>> {
        let prefix = filter.prefix.map(|p| p.trim().to_lowercase()).filter(|p| !p.is_empty());
        if prefix.as_ref().is_some_and(|p| p.chars().count() > 254) {
            return Err(Error::field("q", "is longer than 254 characters"));
        }
        let status = filter.status.map_or("", UserStatus::name);
        let scope: [&[u8]; 4] = [b"users", by.tenant_id.as_bytes(), status.as_bytes(), prefix.as_deref().unwrap_or_default().as_bytes()];
        let after = self.position(&scope, page)?.map(from_position).transpose()?;
        if let Some(email) = filter.email {
            let found = self.member_with(by, &email, prefix.as_deref(), filter.status).await?;
            return Ok(Listed { items: found.into_iter().collect(), next: None });
        }
        let which = MemberFilter { tenant_id: by.tenant_id, prefix: prefix.clone(), status: filter.status };
        let found = self.store.members(which, after, page.limit).await?;
        let names = self.role_names_in(by.tenant_id, found.members.iter().flat_map(|m| &m.roles)).await?;
        let view = |m: Member| UserView { roles: names.of(&m.roles), user: shown(by, m), tenant_id: by.tenant_id };
        let next = found.next.map(|p| self.cursor(&scope, &to_position(&p))).transpose()?;
        Ok(Listed { items: found.members.into_iter().map(view).collect(), next })
    }

    async fn member_with(
        &self,
        by: &Operator,
        email: &Email,
        prefix: Option<&str>,
        status: Option<UserStatus>,
    ) -> Result<Option<UserView>> {
        let Some(user) = self.store.user_by_email(&email.digest()).await? else { return Ok(None) };
        let Some(member) = self.store.member(by.tenant_id, user.id).await?.filter(|m| m.user.deleted_at.is_none()) else {
            return Ok(None);
        };
        let name = member.user.display_name.as_deref().map(str::to_lowercase).unwrap_or_default();
        let begins = prefix.is_none_or(|p| email.as_str().starts_with(p) || name.starts_with(p));
        let wanted = begins && status.is_none_or(|s| s == member.user.status);
        if wanted { self.view_of(by, member).await.map(Some) } else { Ok(None) }
    }

    /// A page of the recycle bin, the latest deletion first.
    ///
    /// # Errors
    /// `InvalidCursor`.
    pub async fn deleted_users(&self, by: &Operator, page: &Page) -> Result<Listed<User>> {
        let scope: [&[u8]; 2] = [b"deleted", by.tenant_id.as_bytes()];
        let after = self.position(&scope, page)?.map(|p| {
            let (at, id) = p.split_first_chunk::<8>().ok_or(Error::InvalidCursor)?;
            let id: [u8; 16] = id.try_into().map_err(|_| Error::InvalidCursor)?;
            Ok::<_, Error>((Timestamp::from_millis(i64::from_be_bytes(*at)), UserId::from_bytes(id)))
        });
        let users = self.store.deleted_members(by.tenant_id, after.transpose()?, page.limit + 1).await?;
        self.listed(&scope, page, users, |u| [&u.deleted_at.unwrap_or(u.updated_at).millis().to_be_bytes()[..], u.id.as_bytes()].concat())
    }

    /// A user's sessions, newest first.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` outside the fence: they may be of other tenants.
    pub async fn sessions_of(&self, by: &Operator, user: UserId) -> Result<Vec<Session>> {
        self.allowed(by, user, Action::Read).await?;
        Ok(self.store.sessions(user).await?)
    }

    /// All that is kept about a user, also one in the recycle bin.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` outside the fence.
    pub async fn export_user(&self, by: &Operator, user: UserId) -> Result<Export> {
        self.signed_in_lately(by).await?;
        let member = self.allowed(by, user, Action::Read).await?;
        let _one = self.heavy_of(by)?;
        let view = self.view_of(by, member).await?;
        self.export_of(view).await
    }

    /// All that is kept about a user.
    pub(super) async fn export_of(&self, view: UserView) -> Result<Export> {
        let kept = self.store.kept_about(view.user.id).await?.ok_or(Error::NotFound)?;
        let mut effective = Vec::with_capacity(kept.api_keys.len());
        for key in &kept.api_keys {
            effective.push(self.effective_scopes(key).await?);
        }
        Ok(Export { view, kept, effective, at: self.clock.now() })
    }
}

fn to_position(p: &MemberPosition) -> Vec<u8> {
    [&p.user_id.as_bytes()[..], p.term.as_bytes()].concat()
}

fn from_position(position: Vec<u8>) -> Result<MemberPosition> {
    let (id, term) = position.split_first_chunk::<16>().ok_or(Error::InvalidCursor)?;
    let term = String::from_utf8(term.to_vec()).map_err(|_| Error::InvalidCursor)?;
    Ok(MemberPosition { term, user_id: UserId::from_bytes(*id) })
}
