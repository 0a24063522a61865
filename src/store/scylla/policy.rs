//! The auth policy of a tenant: a part of its row.

use super::{
    ScyllaStore,
    accounts::{ONE, ones},
    authority,
    tenants::TENANT,
    tx::{Plan, Planned, Tx},
    unit::{Name, Unit},
};
use crate::{
    domain::{authority::Permitted, context::Ctx, ids::TenantId, permission::Permission, tenant::Tenant},
    store::{
        Result,
        commands::Cas,
        policy::{PolicyStore, SetPolicy},
    },
};
use async_trait::async_trait;

#[async_trait]
impl PolicyStore for ScyllaStore {
    async fn set_policy(&self, ctx: &Ctx, cmd: SetPolicy) -> Result<Permitted<Cas<()>>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
}

/// A tenant that is there and not deleted, as a condition of the commit.
pub(super) async fn live(tx: &mut Tx<'_>, id: TenantId) -> Planned<Option<Tenant>> {
    Ok(tx.get::<Tenant>(&Unit::tenant(id), TENANT, ONE).await?.filter(|t| t.deleted_at.is_none()))
}

/// Writes a tenant, with its version raised.
pub(super) fn put_tenant(tx: &mut Tx<'_>, mut tenant: Tenant) -> Planned<()> {
    tenant.version += 1;
    tenant.updated_at = tx.now;
    tx.put(&Unit::tenant(tenant.id), TENANT, ONE, &tenant)
}

#[async_trait]
impl Plan for SetPolicy {
    type Out = Permitted<Cas<()>>;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<Cas<()>>> {
        let Some(tenant) = live(tx, self.tenant_id).await?.filter(|t| t.version == self.expect_version) else {
            return Ok(Ok(Cas::Stale));
        };
        if let Err(why) = authority::permitted(tx, self.by, Permission::PolicyWrite).await? {
            return Ok(Err(why));
        }
        put_tenant(tx, Tenant { policy: self.policy.clone(), ..tenant })?;
        tx.audit(&self.audit)?;
        Ok(Ok(Cas::Done(())))
    }
}
