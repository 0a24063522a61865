//! What is done with the recycle bin and with deleted tenants when their time is over.

use super::{Services, duty::OnDuty, error::Result};
use crate::{
    domain::{
        audit::AuditEvent,
        context::{Actor, Ctx},
        ids::{AuditId, CommandId},
    },
    store::commands::Cas,
};

/// Users purged in one go; then others get their turn.
const USERS: u32 = 100;
/// Steps towards the end of deleted tenants in one go.
const STEPS: u32 = 400;

impl Services {
    /// Purges users whose time in the recycle bin is over, and goes on with deleted tenants, for as long as the duty is this process's.
    /// Safe to run on several nodes at once, and to be cut off anywhere.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn empty_bins(&self, duty: &OnDuty) -> Result<()> {
        for _ in 0..STEPS {
            if duty.fence().await?.is_none() {
                return Ok(());
            }
            let step = self.store.end_tenants(self.clock.now(), &self.newcomers()).await?;
            if !step.more {
                break;
            }
        }
        loop {
            let overdue = self.store.overdue_users(self.clock.now(), USERS).await?;
            let mut purged = 0;
            for user in &overdue {
                if duty.fence().await?.is_none() {
                    return Ok(());
                }
                let now = self.clock.now();
                let ctx = Ctx {
                    command: CommandId::new(&*self.clock, &*self.rng),
                    now,
                    actor: Actor::System,
                    network: None,
                    seed: None,
                    request_id: None,
                };
                let id = AuditId::new(&*self.clock, &*self.rng);
                let receipt =
                    AuditEvent { user_id: Some(user.user_id), ..AuditEvent::new(id, user.home_tenant, "user.purged", Actor::System, now) };
                // `Stale`: restored, or purged by somebody else, while we looked.
                purged += u64::from(self.store.purge_overdue(&ctx, user.user_id, vec![receipt]).await? == Cas::Done(()));
            }
            if purged > 0 {
                tracing::info!(purged, "users left the recycle bin for good");
            }
            if overdue.len() < USERS as usize || purged == 0 {
                break;
            }
        }
        self.store.scrub().await?;
        Ok(())
    }
}
