//! Leases. Each case has a duty of its own, because cases may share a store; the lease of audit events has its cases with those.

use super::fixture::*;
use crate::store::leases::Duty;

pub(crate) async fn a_lease_has_one_holder(store: S) {
    let (a, b) = (nonce(), nonce());
    let lease = async |holder, at: u64| store.lease(Duty::Bins, holder, T.plus(secs(at)), secs(10)).await.unwrap();
    let first = lease(a, 0).await.expect("free");
    assert_eq!(lease(b, 9).await, None);
    assert_eq!(lease(a, 9).await, Some(first), "kept, and longer");
    assert_eq!(lease(b, 18).await, None);
    let second = lease(b, 19).await.expect("it has ended");
    assert!(second > first);
    assert_eq!(lease(a, 28).await, None, "a former holder that wakes up late");
    let third = lease(b, 40).await.expect("free");
    assert!(third > second, "nobody knows what happened in between");
    // Given back by another, it stays; by its holder, the next one has it at once.
    store.end_lease(Duty::Bins, a, T.plus(secs(41))).await.unwrap();
    assert_eq!(lease(a, 41).await, None);
    for _ in 0..2 {
        store.end_lease(Duty::Bins, b, T.plus(secs(41))).await.unwrap();
    }
    assert!(lease(a, 41).await.expect("free") > third, "another fence: {third}");
    store.end_lease(Duty::Bins, b, T.plus(secs(41))).await.unwrap();
    assert_eq!(lease(b, 42).await, None, "an answer that came late, of one who has nothing");
}

pub(crate) async fn one_lease_16_at_once(store: S) {
    let mut fences = Vec::new();
    for round in 0..3 {
        let got = at_once(16, |_| {
            let store = store.clone();
            // A store may say that others kept writing; who asks again next time has lost nothing.
            async move { store.lease(Duty::Sweep, nonce(), T.plus(secs(round * 10)), secs(10)).await.ok().flatten() }
        })
        .await;
        let got: Vec<u64> = got.into_iter().flatten().collect();
        assert_eq!(got.len(), 1, "{got:?}");
        fences.extend(got);
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}
