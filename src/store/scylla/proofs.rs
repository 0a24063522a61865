//! Codes that were right: the address or the number is proved, and the code's serial is used up.

use super::{
    accounts::{ACCOUNT, account, ones, put_account},
    tenants,
    tx::{Plan, Planned, Tx},
    unit::Name,
    withdrawal::{self, Since, WITHDRAWN},
};
use crate::store::commands::*;
use async_trait::async_trait;

#[async_trait]
impl Plan for ConfirmEmail {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT, WITHDRAWN])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let usable =
            account(tx, self.user_id).await?.filter(|a| a.user.credential_epoch == self.epoch && self.serial > a.user.code_serials.email);
        let Some(mut account) = usable else { return Ok(Cas::Stale) };
        if account.user.email_verified_at.is_none() {
            tenants::first_proof(tx, &mut account, self.personal.as_deref()).await?;
            withdrawal::withdraw(tx, self.user_id, Since::Never).await?;
        }
        account.user.email_verified_at.get_or_insert(tx.now);
        account.user.code_serials.email = self.serial;
        account.user.updated_at = tx.now;
        put_account(tx, account).await?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for ConfirmPhone {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let usable =
            account(tx, self.user_id).await?.filter(|a| a.user.credential_epoch == self.epoch && self.serial > a.user.code_serials.phone);
        let Some(mut account) = usable else { return Ok(Cas::Stale) };
        account.user.phone = Some(self.phone.clone());
        account.user.phone_verified_at = Some(tx.now);
        account.user.code_serials.phone = self.serial;
        account.user.updated_at = tx.now;
        put_account(tx, account).await?;
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}
