//! What changes in rows of before when a step of the schema has run. It may be cut off anywhere, and is done again then.

use super::{
    Place, Result, ScyllaStore, StoreError,
    api_keys::{self, KEY},
    engine::Engine,
    tenants::TENANT,
    tx::{Plan, Planned, Tx, parse},
    unit::Unit,
};
use crate::{
    domain::{
        api_key::{ApiKey, Origin},
        audit::ActorKind,
        ids::{ApiKeyId, AuditId, TenantId},
        rng::Rng,
        tenant::{Tenant, TenantKind},
        time::{Clock, Timestamp},
    },
    store::{
        admin::{ManageTenant, without_power},
        audit::AuditStore,
    },
};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Events that are read at once.
const PAGE: u32 = 200;
/// So much later than the time that it tells, an event may have got its id: commands of before took both times by themselves.
const LATER: Duration = Duration::from_secs(600);

impl Engine {
    /// Rows of one kind of all tenants' units.
    async fn of_tenants(&self, kind: &str, mut take: impl FnMut(TenantId, String) + Send) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| StoreError::certainly_not(e.to_string());
        let session = self.cql.session();
        let cql = format!("SELECT part, body FROM {}.tenants WHERE kind = ? ALLOW FILTERING", self.cql.keyspace());
        let mut statement = session.prepare(cql).await.map_err(|e| failed(&e))?;
        statement.set_page_size(1000);
        statement.set_request_timeout(Some(Duration::from_secs(30)));
        let pager = session.execute_iter(statement, (kind,)).await.map_err(|e| failed(&e))?;
        let mut rows = pager.rows_stream::<(Vec<u8>, String)>().map_err(|e| failed(&e))?;
        while let Some((part, body)) = rows.try_next().await.map_err(|e| failed(&e))? {
            if let Ok(id) = part.as_slice().try_into() {
                take(TenantId::from_bytes(id), body);
            }
        }
        Ok(())
    }

    /// Live organizations by id. Reads the tables of all tenants: for the operator's command, and not for a request.
    pub(super) async fn organizations(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<Tenant>> {
        let (mut found, mut bad) = (BTreeMap::new(), None);
        self.of_tenants(TENANT, |id, body| match parse::<Tenant>(&body) {
            Ok(t) if t.kind == TenantKind::Organization && t.deleted_at.is_none() && after.is_none_or(|a| id > a) => {
                found.insert(id, t);
                if found.len() > limit as usize {
                    found.pop_last();
                }
            }
            Ok(_) => {}
            Err(e) => bad = Some(e),
        })
        .await?;
        bad.map_or(Ok(found.into_values().collect()), Err)
    }
}

/// The operator made a key: a key of before without a maker.
struct IsOperators {
    tenant: TenantId,
    key: ApiKeyId,
    /// Else its maker is gone, and it ends.
    is: bool,
}

#[async_trait]
impl Plan for IsOperators {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = Unit::tenant(self.tenant);
        let key: Option<ApiKey> = tx.get(&unit, KEY, self.key.as_bytes()).await?;
        let Some(key) = key.filter(of_before) else { return Ok(()) };
        if self.is {
            return tx.put(&unit, KEY, self.key.as_bytes(), &ApiKey { origin: Origin::Operator, ..key });
        }
        api_keys::revoke(tx, key)
    }
}

/// A key of the version before: its maker is nobody, and nothing says where it comes from.
fn of_before(key: &ApiKey) -> bool {
    key.user_id.is_none() && key.origin == Origin::User && key.stopped_at.is_none() && key.revoked_at.is_none()
}

/// Whether the operator's command did it, by the event that it wrote at that time.
async fn by_the_operator(store: &ScyllaStore, tenant: TenantId, event: &str, at: Timestamp) -> Result<bool> {
    let first = AuditId::of(at, &[0; 10]);
    let mut before = AuditId::of(at.plus(LATER), &[0; 10]);
    loop {
        let events = store.audit_events(tenant, Some(before), PAGE).await?;
        if events.iter().any(|(e, _)| e.event == event && e.actor == ActorKind::System && e.at == at) {
            return Ok(true);
        }
        match events.last() {
            Some((e, _)) if e.id >= first => before = e.id,
            _ => return Ok(false),
        }
    }
}

/// Who has power over credentials: tenants that the operator made are managed, keys without a maker are the operator's or end.
pub(super) async fn authority(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<()> {
    let store = ScyllaStore::at(place, clock, rng).await?;
    let engine = &store.engine;
    let now = engine.now();
    let (mut without, mut ended) = (0, 0);
    for tenant in engine.organizations(None, u32::MAX).await?.into_iter().filter(|t| !t.managed) {
        if !by_the_operator(&store, tenant.id, "tenant.created", tenant.created_at).await? {
            without += 1;
        } else {
            let cmd = ManageTenant { tenant_id: tenant.id, managed: true, audit: Vec::new() };
            engine.change(now, Unit::tenant(tenant.id), cmd).await?;
        }
    }
    let (mut keys, mut bad) = (Vec::new(), None);
    engine
        .of_tenants(KEY, |id, body| match parse::<ApiKey>(&body) {
            Ok(key) if of_before(&key) => keys.push((id, key.id, key.created_at)),
            Ok(_) => {}
            Err(e) => bad = Some(e),
        })
        .await?;
    if let Some(e) = bad {
        return Err(e);
    }
    for (tenant, key, created_at) in keys {
        let is = by_the_operator(&store, tenant, "api_key.created", created_at).await?;
        ended += u64::from(!is);
        engine.change(now, Unit::tenant(tenant), IsOperators { tenant, key, is }).await?;
    }
    without_power(without, ended);
    Ok(())
}
