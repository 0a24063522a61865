//! What may be done in a tenant: permission keys, sets of them, and the roles made of them.

use super::{
    ids::{RoleId, TenantId},
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $about:literal;)*) => {
        /// One thing that may be done in a tenant.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[$doc])* #[doc = $about] $name,)*
        }

        impl Permission {
            /// All of them, in the order of their keys.
            pub const ALL: &[Permission] = &[$(Permission::$name),*];

            /// Stable key, `noun.verb`: what roles and API keys are made of.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }
            /// What it allows, in words.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => $about),* }
            }
        }
    };
}

permissions! {
    ApiKeyRead = "api_key.read", "List the tenant's API keys.";
    ApiKeyWrite = "api_key.write", "Make and revoke API keys, with no more scopes than one has.";
    AuditRead = "audit.read", "Read the tenant's audit events.";
    InviteRead = "invite.read", "List the tenant's invites.";
    InviteWrite = "invite.write", "Invite people, send an invite again, revoke one.";
    PolicyRead = "policy.read", "Read the auth policy.";
    PolicyWrite = "policy.write", "Change the auth policy.";
    RoleRead = "role.read", "List roles and permissions.";
    RoleWrite = "role.write", "Make roles, and give or take them, with no more permissions than one has.";
    TenantRead = "tenant.read", "Read the tenant.";
    TenantWrite = "tenant.write", "Change the tenant.";
    UserRead = "user.read", "Read and search users, their sessions and the recycle bin.";
    UserWrite = "user.write", "Create, change, suspend, delete, restore and purge users; import them.";
}

impl Permission {
    /// The reverse of [`Permission::key`].
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.key() == key)
    }
}

/// A set of permissions; a list of keys on the wire and in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// Every permission there is.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }
    /// Is it in the set?
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }
    /// Is nothing in it?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Is all of `other` in the set?
    pub const fn covers(self, other: PermissionSet) -> bool {
        other.0 & !self.0 == 0
    }
    /// What is in both.
    pub const fn and(self, other: PermissionSet) -> Self {
        Self(self.0 & other.0)
    }
    /// Both together.
    pub const fn union(self, other: PermissionSet) -> Self {
        Self(self.0 | other.0)
    }
    /// The members, in the order of their keys.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |p| self.has(*p))
    }
    /// Their keys.
    pub fn keys(self) -> Vec<&'static str> {
        self.iter().map(Permission::key).collect()
    }
    /// From keys.
    ///
    /// # Errors
    /// The first key that is none.
    pub fn from_keys<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self, String> {
        keys.into_iter().map(|k| Permission::from_key(k.as_ref()).ok_or_else(|| k.as_ref().to_owned())).collect()
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |set, p| set | 1 << p as u32))
    }
}

impl Serialize for PermissionSet {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.keys().serialize(s)
    }
}

// A key that this version doesn't know (a row of a newer one) grants nothing here.
impl<'de> Deserialize<'de> for PermissionSet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let keys = Vec::<String>::deserialize(d)?;
        Ok(keys.iter().filter_map(|k| Permission::from_key(k)).collect())
    }
}

/// A role of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its id; the system roles have fixed ones.
    pub id: RoleId,
    /// The tenant whose it is; `None` for system roles, which every tenant has.
    pub tenant_id: Option<TenantId>,
    /// 1 to 64 characters, unique in the tenant.
    pub name: String,
    /// At most 500 characters.
    pub description: Option<String>,
    /// What it allows.
    pub permissions: PermissionSet,
    /// When it was made; `None` for system roles.
    pub created_at: Option<Timestamp>,
}

impl Role {
    /// The roles that every tenant has: owner, admin, member.
    pub fn system() -> [Role; 3] {
        use Permission::{PolicyWrite, TenantRead, TenantWrite};
        let admin = PermissionSet::all().iter().filter(|p| !matches!(p, TenantWrite | PolicyWrite)).collect();
        let role = |id: RoleId, about: &str, permissions| Role {
            id,
            tenant_id: None,
            name: id.system_name().unwrap_or_default().to_owned(),
            description: Some(about.to_owned()),
            permissions,
            created_at: None,
        };
        [
            role(RoleId::OWNER, "May do everything, and alone may delete the tenant.", PermissionSet::all()),
            role(RoleId::ADMIN, "Manages users, invites, roles and API keys.", admin),
            role(RoleId::MEMBER, "Belongs to the tenant.", [TenantRead].into_iter().collect()),
        ]
    }

    /// What a system role allows; `None` for a custom one.
    pub fn system_permissions(id: RoleId) -> Option<PermissionSet> {
        Self::system().into_iter().find(|r| r.id == id).map(|r| r.permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_sorted_and_survive() {
        let keys = PermissionSet::all().keys();
        assert!(keys.windows(2).all(|w| w[0] < w[1]), "{keys:?}");
        assert_eq!(PermissionSet::from_keys(&keys), Ok(PermissionSet::all()));
        assert_eq!(PermissionSet::from_keys(["user.read", "user.fly"]), Err("user.fly".into()));
        let read: PermissionSet = serde_json::from_str(r#"["user.read", "of.a.newer.version"]"#).unwrap();
        assert_eq!(read.keys(), ["user.read"]);
    }

    #[test]
    fn an_admin_is_covered_by_an_owner_and_not_the_reverse() {
        let [owner, admin, member] = Role::system().map(|r| r.permissions);
        assert!(owner.covers(admin) && admin.covers(member));
        assert!(!admin.covers(owner) && !member.covers(admin));
    }
}
