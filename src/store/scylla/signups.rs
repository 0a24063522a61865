//! Sign-ups that wait for their code: rows of the claim of their address, so that who gets the address finds them all.

use super::{
    accounts::ONE,
    effects::Effect,
    engine::Engine,
    tx::{Outcome, Plan, Planned, Tx, parse},
    unit::{Bytes, List, Name, Unit},
    upkeep::{self, What},
};
use crate::{
    domain::{contact::ContactDigest, ids::PendingSignupId, outbox::Job},
    store::{Result, commands::PendingSignup},
};
use async_trait::async_trait;

pub(super) const WAITING: &str = "pending";

/// One that waits.
pub(super) async fn waiting(tx: &mut Tx<'_>, claim: &Unit, id: PendingSignupId) -> Planned<Option<PendingSignup>> {
    tx.get(claim, WAITING, id.as_bytes()).await
}

/// All that wait for the address are void.
pub(super) async fn forget(tx: &mut Tx<'_>, claim: &Unit) -> Planned<()> {
    for (key, _) in tx.scan::<PendingSignup>(claim, WAITING).await? {
        remove(tx, claim, &key);
    }
    Ok(())
}

fn remove(tx: &mut Tx<'_>, claim: &Unit, id: &Bytes) {
    tx.del(claim, WAITING, &id.0);
    tx.effect(Effect::Del { list: List::SignupIds, bucket: id.clone(), key: ONE.into(), at: 0 });
}

/// Removes those whose time is over; says how many.
pub(super) async fn sweep(tx: &mut Tx<'_>, claim: &Unit) -> Planned<u64> {
    let mut swept = 0;
    for (key, signup) in tx.scan::<PendingSignup>(claim, WAITING).await? {
        if signup.expires_at <= tx.now {
            remove(tx, claim, &key);
            swept += 1;
        }
    }
    Ok(swept)
}

/// Whether any wait for the address.
pub(super) async fn some_wait(tx: &mut Tx<'_>, claim: &Unit) -> Planned<bool> {
    Ok(!tx.scan::<PendingSignup>(claim, WAITING).await?.is_empty())
}

/// What leads to a sign-up that waits.
pub(super) fn lists(signup: &PendingSignup) -> Result<[Effect; 2]> {
    let digest = signup.email.digest();
    let (bucket, body) = (signup.id.as_bytes().into(), super::tx::json(&Bytes::from(digest.as_bytes()))?);
    let by_id = Effect::Put { list: List::SignupIds, bucket, key: ONE.into(), body, ttl: 0, noted: false };
    Ok([by_id, upkeep::look_at(&What::Claim(digest), signup.expires_at)?])
}

/// Writes a sign-up that waits, and its job.
pub(super) struct Begin {
    pub(super) signup: PendingSignup,
    pub(super) job: Job,
}

#[async_trait]
impl Plan for Begin {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        tx.put(&Unit::email(&self.signup.email.digest()), WAITING, self.signup.id.as_bytes(), &self.signup)?;
        tx.effects.extend(lists(&self.signup)?);
        tx.job(&self.job)
    }
}

struct CountTry {
    claim: Unit,
    id: PendingSignupId,
}

impl Outcome for Option<u32> {}

#[async_trait]
impl Plan for CountTry {
    type Out = Option<u32>;
    fn first(&self) -> Vec<Name> {
        vec![super::unit::name(WAITING, self.id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Option<u32>> {
        let Some(mut signup) = waiting(tx, &self.claim, self.id).await? else { return Ok(None) };
        signup.tries = signup.tries.saturating_add(1);
        tx.put(&self.claim, WAITING, self.id.as_bytes(), &signup)?;
        Ok(Some(signup.tries))
    }
}

impl Engine {
    /// The claim in which a sign-up waits, or waited.
    async fn claim_of(&self, id: PendingSignupId) -> Result<Option<Unit>> {
        let Some(body) = self.cql.entry(List::SignupIds, id.as_bytes(), ONE).await? else { return Ok(None) };
        let digest: Bytes = parse(&body)?;
        Ok(digest.0.as_slice().try_into().ok().map(|bytes| Unit::email(&ContactDigest::from_bytes(bytes))))
    }

    pub(super) async fn pending_signup(&self, id: PendingSignupId) -> Result<Option<PendingSignup>> {
        let Some(claim) = self.claim_of(id).await? else { return Ok(None) };
        self.cql.peek(&claim, WAITING, id.as_bytes()).await
    }

    pub(super) async fn count_signup_try(&self, id: PendingSignupId) -> Result<Option<u32>> {
        let Some(claim) = self.claim_of(id).await? else { return Ok(None) };
        self.change(self.now(), claim.clone(), CountTry { claim, id }).await
    }
}
