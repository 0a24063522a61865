//! The tenants a person belongs to.

use super::{
    Services,
    api::{Caller, Principal, TokenPair},
    error::{Error, Result},
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        context::Actor,
        ids::{RoleId, TenantId},
        rng,
        session::Session,
        tenant::{Tenant, TenantKind, valid_slug},
        user::Membership,
    },
    store::commands::{Cas, CreateSession, CreateTenant, CreateTenantOutcome, LeaveOutcome, LeaveTenant, Revocation},
};

/// A person belongs to at most this many tenants that he made himself or was let into; past it he can't make another.
const MAX_TENANTS: usize = 100;

impl Services {
    /// The caller's tenants with the names of his roles there, the oldest membership first.
    pub async fn tenants(&self, who: &Principal) -> Result<Vec<(Tenant, Membership, Vec<String>)>> {
        let mut named = Vec::new();
        for (tenant, membership) in self.store.memberships(who.user_id).await? {
            let roles = self.role_names_in(tenant.id, &membership.roles).await?.of(&membership.roles);
            named.push((tenant, membership, roles));
        }
        Ok(named)
    }

    /// Makes an organization owned by the caller. Without a slug, one is made from the name.
    ///
    /// # Errors
    /// `Validation` for a bad slug, `Conflict` for a taken one; `Forbidden` where the operator makes organizations.
    pub async fn create_tenant(&self, caller: &Caller, who: &Principal, name: String, slug: Option<String>) -> Result<Tenant> {
        if !self.rules.open_organizations {
            return Err(Error::Forbidden);
        }
        if slug.as_deref().is_some_and(|s| !valid_slug(s)) {
            return Err(Error::field("slug", "must be 3 to 63 of a-z, 0-9 and -, with no - at an end"));
        }
        self.account(who).await?;
        let now = self.clock.now();
        let id = TenantId::new(&*self.clock, &*self.rng);
        let memberships = self.store.memberships(who.user_id).await?;
        // One with this id was made by an earlier run of the same request.
        if memberships.len() >= MAX_TENANTS && memberships.iter().all(|(tenant, _)| tenant.id != id) {
            return Err(Error::Conflict("too many tenants"));
        }
        let tenant = Tenant {
            id,
            slug: slug.unwrap_or_else(|| slug_from(&name, &rng::bytes(&*self.rng))),
            name,
            kind: TenantKind::Organization,
            managed: false,
            domains: Vec::new(),
            metadata: serde_json::Map::new(),
            policy: self.rules.policy.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        let membership = Membership { user_id: who.user_id, tenant_id: id, roles: vec![RoleId::OWNER], joined_at: now };
        let audit = vec![self.audit(caller, Actor::User(who.user_id), id, who.user_id, "tenant.created")];
        let ctx = self.ctx(caller, Actor::User(who.user_id));
        let cmd = CreateTenant { tenant: tenant.clone(), membership, audit };
        match self.ask_tenant(caller, id, TenantCommand::Create(Box::new((ctx, cmd)))).await? {
            TenantReply::Created(CreateTenantOutcome::Created) => Ok(tenant),
            TenantReply::Created(CreateTenantOutcome::SlugTaken) => Err(Error::Conflict("the slug is taken")),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a session scoped to another of the caller's tenants. It counts as signed in when this one did, and ends when a session of
    /// that sign-in ends there: however often one switches, `session_ttl_days` is the absolute end.
    ///
    /// # Errors
    /// `Forbidden` if the caller is no member or there is no such tenant; `ReauthenticationRequired` if the sign-in is older than
    /// sessions get there.
    pub async fn switch_tenant(&self, caller: &Caller, who: &Principal, tenant_id: TenantId) -> Result<TokenPair> {
        let user = self.account(who).await?;
        self.store.membership(who.user_id, tenant_id).await?.ok_or(Error::Forbidden)?;
        let tenant = self.scope(tenant_id).await?;
        let view = self.store.session(who.user_id, who.session_id).await?.ok_or(Error::Unauthorized)?;
        if view.session.revoked_at.is_some() || view.session.credential_epoch != user.credential_epoch {
            return Err(Error::Unauthorized);
        }
        let created_at = view.session.created_at;
        let expires_at = created_at.plus(tenant.policy.session_ttl());
        if expires_at <= self.clock.now() {
            return Err(Error::ReauthenticationRequired);
        }
        let session =
            Session { created_at, expires_at, signed_in_at: view.session.signed_in_at, ..self.new_session(caller, &user, &tenant) };
        let audit = self.audit(caller, Actor::User(user.id), tenant_id, user.id, "session.started");
        let audit = vec![audit.about_resource("session", session.id.as_bytes())];
        let cmd = CreateSession { session: session.clone(), network: caller.network, is_login: false, audit };
        let ctx = self.ctx(caller, Actor::User(user.id));
        match crate::actors::entity::settled(|| self.store.create_session(&ctx, cmd.clone())).await? {
            Cas::Done(()) => self.pair_of_new(&session).await,
            Cas::Stale => Err(Error::Unauthorized),
        }
    }

    /// Ends the caller's membership; his sessions scoped to the tenant end too.
    ///
    /// # Errors
    /// `NotFound` if he is no member, `Conflict` for the last owner, and for who belongs nowhere else.
    pub async fn leave_tenant(&self, caller: &Caller, who: &Principal, tenant_id: TenantId) -> Result<()> {
        // Before they wait among its members.
        self.store.membership(who.user_id, tenant_id).await?.ok_or(Error::NotFound)?;
        let scoped: Vec<_> = self.store.sessions(who.user_id).await?.into_iter().filter(|s| s.tenant_id == tenant_id).collect();
        let audit = vec![self.audit(caller, Actor::User(who.user_id), tenant_id, who.user_id, "member.left")];
        let ctx = self.ctx(caller, Actor::User(who.user_id));
        let cmd = LeaveTenant { user_id: who.user_id, tenant_id, personal: Box::new(self.personal_tenant()), audit };
        match self.ask_tenant(caller, tenant_id, TenantCommand::Leave(Box::new((ctx, cmd)))).await? {
            TenantReply::Left(LeaveOutcome::Left) => {
                self.keys.revoke(scoped.into_iter().map(|s| Revocation::Session(s.id)));
                // Keys of theirs may stand still now, which the owners are told.
                Ok(())
            }
            TenantReply::Left(LeaveOutcome::NotMember) => Err(Error::NotFound),
            TenantReply::Left(LeaveOutcome::LastOwner) => Err(Error::Conflict("the last owner can't leave")),
            TenantReply::Left(LeaveOutcome::OnlyTenant) => {
                Err(Error::Conflict("you belong to no other tenant: delete the account instead"))
            }
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn unexpected(reply: &TenantReply) -> Error {
    match reply {
        TenantReply::Store(e) => e.clone().into(),
        other => Error::Internal(format!("a tenant answered {other:?}")),
    }
}

/// A slug from a name: its ASCII letters and digits, and six random characters so that it is free.
pub fn slug_from(name: &str, random: &[u8; 6]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let words = name.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("-");
    let stem: String = words.chars().take(40).collect();
    let tail: String = random.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect();
    let stem = stem.trim_matches('-');
    if stem.is_empty() { format!("t-{tail}") } else { format!("{stem}-{tail}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slug_comes_from_the_name() {
        assert_eq!(slug_from("Acme & Söhne GmbH", &[0; 6]), "acme-s-hne-gmbh-aaaaaa");
        assert_eq!(slug_from("日本", &[1; 6]), "t-bbbbbb");
    }

    proptest! {
        #[test]
        fn every_name_gives_a_valid_slug(name in ".{0,300}", random: [u8; 6]) {
            prop_assert!(valid_slug(&slug_from(&name, &random)));
        }
    }
}
