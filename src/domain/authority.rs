//! Power over credentials: who may do what to whose account. One function ([`may`]) decides; the stores ask it with the rows that they
//! are about to write, so that it counts what is true at that moment.
//!
//! Organizations are free to make, so that an organization by itself has members, roles and invites, and no power over anybody's
//! credentials. It gets that power from the operator, over the accounts that belong to it alone ([`Place::managed`]), or by proving a domain,
//! over its members with addresses there ([`Place::domains`]).

use super::{
    contact::Email,
    ids::{ApiKeyId, RoleId, SessionId, TenantId, UserId},
    mail_domain::DomainName,
    permission::{Permission, PermissionSet, Role},
    tenant::{Tenant, TenantKind},
    user::User,
};
use serde::{Deserialize, Serialize};

/// What is done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Changes what the tenant keeps with its member, and nothing of the account.
    SetMetadata,
    /// Changes status, phone number or display name.
    Update,
    /// Sets the password.
    SetPassword,
    /// Makes a link that sets the password.
    MakeLink,
    /// Reads sessions, or all that is kept.
    Read,
    /// Ends all sessions.
    EndSessions,
    /// Puts the account into the recycle bin.
    Delete,
    /// Takes it out of the recycle bin.
    Restore,
    /// Erases it.
    Purge,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 9] = [
        Self::SetMetadata,
        Self::Update,
        Self::SetPassword,
        Self::MakeLink,
        Self::Read,
        Self::EndSessions,
        Self::Delete,
        Self::Restore,
        Self::Purge,
    ];
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The person, or the maker of the API key; `None`: a key of the operator's, or the command line.
    pub person: Option<UserId>,
    /// What they may do in the tenant at this moment.
    pub permissions: PermissionSet,
    /// They are an owner of the tenant, or the operator.
    pub owner: bool,
}

impl Actor {
    /// Whether they hold all of it. What every member may do counts as held: who may make members need not be one.
    fn holds(&self, other: PermissionSet) -> bool {
        let members = Role::system_permissions(RoleId::MEMBER).unwrap_or_default();
        // Whoever may do nothing is suspended, or their key is worth nothing any more.
        !self.permissions.is_empty() && self.permissions.union(members).covers(other)
    }
}

/// Whose account it is, as seen from the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Who.
    pub user: UserId,
    /// What they may do in the tenant.
    pub permissions: PermissionSet,
    /// They are an owner of the tenant.
    pub owner: bool,
    /// Their address.
    pub email: &'a Email,
    /// Where else they belong.
    pub elsewhere: Elsewhere,
    /// The account was made while the tenant had no power: it belongs to the person whose address it has.
    pub independent: bool,
}

/// To which other tenants an account belongs; deleted ones count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Elsewhere {
    /// To none.
    Nowhere,
    /// To its own personal tenant.
    Personal,
    /// To another organization.
    Organization,
}

impl Elsewhere {
    /// Of the kinds of the other tenants.
    pub fn of(others: impl IntoIterator<Item = TenantKind>) -> Self {
        others.into_iter().fold(Self::Nowhere, |found, kind| match (found, kind) {
            (Self::Organization, _) | (_, TenantKind::Organization) => Self::Organization,
            (_, TenantKind::Personal) => Self::Personal,
        })
    }
}

/// The tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Personal or organization.
    pub kind: TenantKind,
    /// The operator has given its admins power over the accounts that belong to it alone.
    pub managed: bool,
    /// The domains that it has proved.
    pub domains: Vec<DomainName>,
}

impl Place {
    /// Of a tenant.
    pub fn of(tenant: &Tenant) -> Self {
        Self { kind: tenant.kind, managed: tenant.managed, domains: tenant.proved_domains().cloned().collect() }
    }
    /// An organization without power over anybody's credentials.
    pub fn powerless() -> Self {
        Self { kind: TenantKind::Organization, managed: false, domains: Vec::new() }
    }
    /// Whether it has proved the domain of an address: exactly that, and not one above it.
    pub fn has_proved(&self, email: &Email) -> bool {
        self.kind == TenantKind::Organization && self.domains.iter().any(|domain| domain.as_str() == email.domain())
    }
    /// Whether its admins may take in accounts with credentials, whatever their addresses: a whole file of them.
    ///
    /// # Errors
    /// Why not.
    pub fn may_import(&self) -> Result<(), Denied> {
        match self {
            Self { kind: TenantKind::Personal, .. } => Err(Denied::PersonalTenant),
            Self { managed: false, .. } => Err(Denied::NotManaged),
            Self { managed: true, .. } => Ok(()),
        }
    }
    /// Whether its admins may make an account with credentials: a password, a hash, a phone number, or the assertion that the address is right.
    ///
    /// # Errors
    /// Why not.
    pub fn may_make_credentials(&self, email: &Email) -> Result<(), Denied> {
        if self.has_proved(email) { Ok(()) } else { self.may_import() }
    }
    /// Whether a new account with that address is its person's own, see [`User::independent`].
    pub fn makes_independent(&self, email: &Email) -> bool {
        self.may_make_credentials(email).is_err()
    }
    /// Whether an account that belongs nowhere else goes when the tenant is deleted: it has power over it.
    pub fn takes_along(&self, user: &User) -> bool {
        self.has_proved(&user.email) || (self.managed && !user.independent)
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// Nobody administers their own account.
    Oneself,
    /// A personal tenant has no admins, only its person.
    PersonalTenant,
    /// The organization has no power over credentials.
    NotManaged,
    /// The account was made while the organization had no power, and belongs to its person.
    Independent,
    /// The account belongs to another tenant, too.
    ElsewhereToo,
    /// The account's owner may do more in the tenant than whoever acts.
    HoldsMore,
    /// Whoever acts no longer has the permission, or no longer belongs to the tenant, or signed in before their credentials changed.
    NoPermission,
    /// Whoever acts has not proved their e-mail address.
    GiverUnproved,
    /// Whoever is given the role has not proved their e-mail address.
    TakerUnproved,
    /// Only an owner gives or takes the role of an owner.
    NotOwner,
    /// Only an owner in person, and not an API key.
    InPerson,
    /// Whoever made the API key still acts with it, or the key that made it is there.
    KeyHasMaker,
}

impl Denied {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Oneself => {
                "This is your own account, or that of the person who made the API key: use the routes under /v1/me and /v1/auth."
            }
            Self::PersonalTenant => "A personal tenant has no power over accounts: use the routes under /v1/me and /v1/auth.",
            Self::NotManaged => {
                "This organization has no power over credentials of this account. It gets it over members with addresses of a domain that it proves (/v1/tenants/{tenantID}/domains), or from the operator (qeetid tenant manage); without it, invite people and give roles."
            }
            Self::Independent => "This account was made while the organization had no power over credentials: it belongs to its person.",
            Self::ElsewhereToo => "This account belongs to another tenant, too.",
            Self::HoldsMore => "This user may do more than you.",
            Self::NoPermission => "You may not do this.",
            Self::GiverUnproved => "Prove your e-mail address first: only then may you invite people and give roles.",
            Self::TakerUnproved => "Only a user with a proved e-mail address can have this role.",
            Self::InPerson => "Only an owner may do this, with their own access token.",
            Self::KeyHasMaker => {
                "The person who made this key still acts with it, or the key that made it is there: take a key over when its maker has gone, and those that it made with it."
            }
            Self::NotOwner => "Only an owner gives or takes the role of an owner, and nobody gives themselves a role.",
        }
    }
}

/// Whether `actor` may do `action` to `target` in `tenant`. The permission that the route needs is looked at elsewhere; this is about
/// the account.
///
/// # Errors
/// Why not.
pub fn may(actor: &Actor, action: Action, target: &Target<'_>, tenant: &Place) -> Result<(), Denied> {
    let more = !actor.holds(target.permissions) || (target.owner && !actor.owner);
    let covered = || if more { Err(Denied::HoldsMore) } else { Ok(()) };
    let oneself = actor.person == Some(target.user);
    if action == Action::SetMetadata {
        // It is the tenant's own, about its member.
        return if oneself { Ok(()) } else { covered() };
    }
    if oneself {
        return Err(Denied::Oneself);
    }
    if tenant.has_proved(target.email) {
        // Whoever holds the domain could have its mail redirected: their personal tenant doesn't protect them from it.
        if target.elsewhere == Elsewhere::Organization {
            return Err(Denied::ElsewhereToo);
        }
        return covered();
    }
    tenant.may_import()?;
    if target.independent {
        return Err(Denied::Independent);
    }
    if target.elsewhere != Elsewhere::Nowhere {
        return Err(Denied::ElsewhereToo);
    }
    covered()
}

/// What a command gives; or why whoever asked may not, and nothing was written.
pub type Permitted<T> = Result<T, Denied>;

/// In whose name a command is done: the store looks up what they may do as it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authority {
    /// A signed-in person.
    Person {
        /// Who.
        user: UserId,
        /// By which session: whoever signed in before a reset does nothing after it.
        session: SessionId,
    },
    /// A server with an API key.
    Key(ApiKeyId),
    /// The operator, at the command line.
    Operator,
}

/// Who acts, and in which tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// Where.
    pub tenant_id: TenantId,
    /// Who.
    pub authority: Authority,
}

impl By {
    /// The operator, in a tenant.
    pub const fn operator(tenant_id: TenantId) -> Self {
        Self { tenant_id, authority: Authority::Operator }
    }
}

/// Who acts, by what their rows say at the moment of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acting {
    /// Who, and what they may do.
    pub actor: Actor,
    /// Their address is proved; in a managed tenant it is enough that an admin says that it is right.
    pub proved: bool,
}

impl Acting {
    /// The operator, who may do everything.
    pub fn operator() -> Self {
        Self { actor: Actor { person: None, permissions: PermissionSet::all(), owner: true }, proved: true }
    }
    /// An API key of the operator's.
    pub fn operators_key(scopes: PermissionSet) -> Self {
        Self { actor: Actor { person: None, permissions: scopes, owner: true }, ..Self::operator() }
    }
    /// A member of a tenant, with their roles and what these allow.
    pub fn member(user: &User, roles: &[RoleId], allowed: PermissionSet, tenant: &Tenant) -> Self {
        // Whoever is suspended may do nothing.
        let permissions = if user.may_sign_in() { allowed } else { PermissionSet::default() };
        let owner = roles.contains(&RoleId::OWNER) && user.may_sign_in();
        Self { actor: Actor { person: Some(user.id), permissions, owner }, proved: is_proved(user, tenant) }
    }
    /// The same, through an API key.
    pub fn through(self, scopes: PermissionSet) -> Self {
        Self { actor: Actor { permissions: self.actor.permissions.and(scopes), ..self.actor }, ..self }
    }
    /// Whether they may do what a route needs.
    ///
    /// # Errors
    /// `NoPermission`.
    pub fn needs(&self, permission: Permission) -> Result<(), Denied> {
        if self.actor.permissions.has(permission) { Ok(()) } else { Err(Denied::NoPermission) }
    }
    /// Whether they hold all that they give away: to a role, or an API key.
    ///
    /// # Errors
    /// `NoPermission`.
    pub fn covers(&self, allows: PermissionSet) -> Permitted<()> {
        if self.actor.permissions.covers(allows) { Ok(()) } else { Err(Denied::NoPermission) }
    }
    /// Whether they may delete the tenant: an owner in person, or the operator.
    ///
    /// # Errors
    /// `NoPermission`, `InPerson`.
    pub fn may_delete_tenant(&self, by: By) -> Permitted<()> {
        self.needs(Permission::TenantWrite)?;
        if self.actor.owner && !matches!(by.authority, Authority::Key(_)) { Ok(()) } else { Err(Denied::InPerson) }
    }
    /// Whether they may give (or take) a role that allows `allows`: nobody gives more than they hold, nobody gives themselves anything,
    /// and only an owner makes an owner. Inviting is giving, too.
    ///
    /// # Errors
    /// Why not.
    pub fn may_give(&self, role: RoleId, allows: PermissionSet, taker: Option<UserId>) -> Result<(), Denied> {
        if !self.proved {
            return Err(Denied::GiverUnproved);
        }
        if (role == RoleId::OWNER && !self.actor.owner) || (taker.is_some() && taker == self.actor.person) {
            return Err(Denied::NotOwner);
        }
        if self.actor.holds(allows) { Ok(()) } else { Err(Denied::NoPermission) }
    }
}

/// Whether an address counts as proved in a tenant: a code or a mailed token proved it, or, in a managed tenant, an admin says that it is
/// right.
pub fn is_proved(user: &User, tenant: &Tenant) -> bool {
    user.email_verified_at.is_some() || (tenant.managed && user.email_asserted_at.is_some())
}

/// Whether only somebody with a proved address may have a role: who can give roles could let others in.
pub fn needs_proof(role: RoleId, allows: PermissionSet) -> bool {
    role == RoleId::OWNER || allows.has(Permission::RoleWrite)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: UserId = UserId::from_bytes([1; 16]);
    const USER: UserId = UserId::from_bytes([2; 16]);

    fn at(domain: &str) -> Email {
        format!("somebody@{domain}").parse().unwrap()
    }
    fn proved(domain: &str) -> Vec<DomainName> {
        vec![domain.parse().unwrap()]
    }
    fn roles() -> [PermissionSet; 3] {
        Role::system().map(|role| role.permissions)
    }

    /// Every action, in every combination of what it depends on, against the rule in words.
    #[test]
    fn the_rule_in_every_combination() {
        let [owner, admin, member] = roles();
        for action in Action::ALL {
            for person in [None, Some(ADMIN), Some(USER)] {
                for holds in [owner, admin, member] {
                    for permissions in [owner, admin, member] {
                        for flags in 0..192u8 {
                            let bits = [1, 2, 4, 8, 16, 32].map(|bit| flags & bit != 0);
                            let [domain, independent, managed, personal, acts_as_owner, is_owner] = bits;
                            let elsewhere = [Elsewhere::Nowhere, Elsewhere::Personal, Elsewhere::Organization][usize::from(flags / 64)];
                            let kind = if personal { TenantKind::Personal } else { TenantKind::Organization };
                            let actor = Actor { person, permissions: holds, owner: acts_as_owner };
                            let email = &at("example.org");
                            let target = Target { user: USER, permissions, owner: is_owner, email, elsewhere, independent };
                            let place = Place { kind, managed, domains: proved(if domain { "example.org" } else { "example.net" }) };
                            let found = may(&actor, action, &target, &place).is_ok();
                            let (oneself, covers) = (person == Some(USER), holds.covers(permissions) && (acts_as_owner || !is_owner));
                            let by_operator = managed && elsewhere == Elsewhere::Nowhere && !independent;
                            let by_domain = domain && elsewhere != Elsewhere::Organization;
                            let expected = match action {
                                Action::SetMetadata => oneself || covers,
                                _ if domain => !oneself && !personal && by_domain && covers,
                                _ => !oneself && !personal && by_operator && covers,
                            };
                            assert_eq!(found, expected, "{action:?} {actor:?} {target:?} {place:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn credentials_are_made_in_managed_organizations_and_for_proved_domains_alone() {
        let place = |kind, managed| Place { kind, managed, domains: proved("example.org") };
        for (email, others) in
            [("example.org", Ok(())), ("sub.example.org", Err(Denied::NotManaged)), ("example.com", Err(Denied::NotManaged))]
        {
            assert_eq!(place(TenantKind::Organization, true).may_make_credentials(&at(email)), Ok(()));
            assert_eq!(place(TenantKind::Organization, false).may_make_credentials(&at(email)), others, "{email}");
            assert_eq!(place(TenantKind::Personal, true).may_make_credentials(&at(email)), Err(Denied::PersonalTenant));
        }
        // A file of accounts is of all domains.
        assert_eq!(place(TenantKind::Organization, false).may_import(), Err(Denied::NotManaged));
    }

    #[test]
    fn where_somebody_belongs_elsewhere() {
        use TenantKind::{Organization, Personal};
        assert_eq!(Elsewhere::of([]), Elsewhere::Nowhere);
        assert_eq!(Elsewhere::of([Personal]), Elsewhere::Personal);
        assert_eq!([Elsewhere::of([Personal, Organization]), Elsewhere::of([Organization, Personal])], [Elsewhere::Organization; 2]);
    }
}
