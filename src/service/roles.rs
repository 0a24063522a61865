//! Roles of a tenant: listed, made, given, taken.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    tenant,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        ids::{RoleId, TenantId, UserId},
        permission::{PermissionSet, Role},
    },
    store::{
        access::{ChangeRole, ChangeRoleOutcome, CreateRole, CreateRoleOutcome},
        commands::Revocation,
    },
};

impl Services {
    /// The system roles, then the tenant's own by name.
    pub async fn roles(&self, by: &Operator) -> Result<Vec<Role>> {
        let own = self.store.roles(by.tenant_id).await?;
        Ok(Role::system().into_iter().chain(own).collect())
    }

    /// Makes a role of permissions that the maker holds.
    ///
    /// # Errors
    /// `Forbidden` for more than he holds, `Conflict` for a taken name.
    pub async fn create_role(
        &self,
        caller: &Caller,
        by: &Operator,
        name: String,
        description: Option<String>,
        permissions: PermissionSet,
    ) -> Result<Role> {
        self.signed_in_lately(by).await?;
        by.may_give(permissions)?;
        let role = Role {
            id: RoleId::new(&*self.clock, &*self.rng),
            tenant_id: Some(by.tenant_id),
            name,
            description,
            permissions,
            created_at: Some(self.clock.now()),
        };
        let audit = self.audit_of(caller, by, None, "role.created").about_resource("role", role.id.as_bytes());
        let cmd = CreateRole { role: role.clone(), by: by.by(), audit: vec![audit] };
        let command = TenantCommand::CreateRole(Box::new((self.ctx_of(caller, by), cmd)));
        match self.ask_tenant(caller, by.tenant_id, command).await? {
            TenantReply::RoleMade(Ok(CreateRoleOutcome::Created)) => Ok(role),
            TenantReply::RoleMade(Ok(CreateRoleOutcome::NameTaken)) => Err(Error::Conflict("the name is taken")),
            TenantReply::RoleMade(Err(why)) => Err(why.into()),
            TenantReply::RoleMade(Ok(CreateRoleOutcome::TooMany)) => Err(Error::Conflict("the tenant has as many roles as it may")),
            other => Err(tenant::unexpected(&other)),
        }
    }

    /// What a role of the operator's tenant allows, checked against what he holds himself.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(super) async fn givable_role(&self, by: &Operator, role: RoleId) -> Result<PermissionSet> {
        let allows = match Role::system_permissions(role) {
            Some(system) => system,
            None => self.store.roles(by.tenant_id).await?.into_iter().find(|r| r.id == role).ok_or(Error::NotFound)?.permissions,
        };
        by.may_give(allows)?;
        Ok(allows)
    }

    /// Gives a member a role, or (`give` false) takes it. Taking the last one ends the membership.
    ///
    /// # Errors
    /// `NotFound` for another tenant, no member or no role; `Forbidden` for a role that allows more than the operator holds;
    /// `Conflict` for the last owner, and for the last role of somebody who belongs nowhere else.
    pub async fn change_role(
        &self,
        caller: &Caller,
        by: &Operator,
        user_id: UserId,
        tenant_id: TenantId,
        role_id: RoleId,
        give: bool,
    ) -> Result<()> {
        by.in_tenant(tenant_id)?;
        self.signed_in_lately(by).await?;
        if by.is_personal() {
            return Err(Error::Conflict("a personal tenant has one member, its owner"));
        }
        self.givable_role(by, role_id).await?;
        let event = if give { "role.given" } else { "role.taken" };
        let audit = self.audit_of(caller, by, Some(user_id), event).about_resource("role", role_id.as_bytes());
        let personal = (!give).then(|| Box::new(self.personal_tenant()));
        let cmd = ChangeRole { user_id, tenant_id, role_id, by: by.by(), personal, audit: vec![audit] };
        let scoped = self.store.sessions(user_id).await?.into_iter().filter(|s| s.tenant_id == tenant_id).map(|s| s.id);
        let command = TenantCommand::ChangeRole(give, Box::new((self.ctx_of(caller, by), cmd)));
        match self.ask_tenant(caller, tenant_id, command).await? {
            TenantReply::Role(ChangeRoleOutcome::Done) => Ok(()),
            TenantReply::Role(ChangeRoleOutcome::Removed) => {
                self.keys.revoke(scoped.map(Revocation::Session));
                // Keys of theirs may stand still now, which the owners are told.
                Ok(())
            }
            TenantReply::Role(ChangeRoleOutcome::NotMember | ChangeRoleOutcome::NoRole) => Err(Error::NotFound),
            TenantReply::Role(ChangeRoleOutcome::Denied(why)) => Err(why.into()),
            TenantReply::Role(ChangeRoleOutcome::LastOwner) => Err(Error::Conflict("the last owner keeps the role")),
            TenantReply::Role(ChangeRoleOutcome::OnlyTenant) => {
                Err(Error::Conflict("the user belongs nowhere else: delete the user instead"))
            }
            other => Err(super::tenant::unexpected(&other)),
        }
    }
}
