//! A small installation, copied by processes that die at some statements (at each of them in `long`), or lose an answer.

use super::{
    super::{
        Place,
        fail::{Fail, How},
        tests::place,
    },
    *,
};
use crate::{
    domain::{rng::SystemRng, time::SystemClock},
    sqlite::File,
    store::{
        Store,
        commands::*,
        conformance::fixture::*,
        leases::Duty,
        sqlite::{SqliteStore, copy::SqliteSource},
    },
};
use std::ops::ControlFlow;

/// A file with a little of all that comes without much ado.
async fn made(dir: &std::path::Path) -> SqliteSource {
    let path = dir.join("qeetid.db");
    let store = SqliteStore::open(File::open(&path, 1).unwrap()).await.unwrap();
    let s: S = Arc::new(store);
    let mut p = newcomer(T);
    p.audit = vec![event(p.tenant.id, Some(p.user.id), "user.signed_up")];
    let p = signed_up(&s, p).await;
    signed_in(&s, &p, 1, T).await;
    linked(&s, &p, 1, T).await;
    begun(&s, email_change(&p, 1, 5, T)).await;
    let mover = person(&s).await;
    prove(&s, mover.user.id).await;
    moved(&s, &mover, 1, T).await;
    let gone = person(&s).await;
    assert!(matches!(s.delete_user(&ctx(T), delete(&gone, 1)).await.unwrap(), Cas::Done(_)));
    s.create_tenant(&ctx(T), organization(&p, T)).await.unwrap();
    let fence = s.lease(Duty::Audit, [1; 16], T, secs(60)).await.unwrap().unwrap();
    assert_eq!(s.link_audit(fence, 10).await.unwrap(), Cas::Done(1));
    s.write_audit(&ctx(T), vec![event(p.tenant.id, None, "unlinked")]).await.unwrap();
    drop(s);
    SqliteSource::open(&path).unwrap()
}

fn all(source: &SqliteSource) -> (Vec<(Phase, Item)>, Tally) {
    let (mut items, mut tally) = (Vec::new(), Tally::default());
    for phase in Phase::ALL {
        source
            .each(phase, &[], &mut |_, item| {
                expect(item.clone(), &mut tally).unwrap();
                items.push((phase, item));
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    (items, tally)
}

async fn fresh(name: &str) -> Place {
    let place = Place { keyspace: format!("qeetid_{}_{name}", std::process::id()), ..place() };
    ScyllaStore::migrate(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap();
    place
}

async fn target(place: &Place, source: &str, patience: Duration) -> Result<ScyllaTarget> {
    Opened::open(place, Arc::new(SystemClock), Arc::new(SystemRng)).await?.begin(source, patience).await
}

fn failing(target: &ScyllaTarget) -> Arc<Fail> {
    target.engine.cql.fail.clone()
}

async fn write(target: &mut ScyllaTarget, items: &[(Phase, Item)]) -> Result<()> {
    for (phase, item) in items {
        target.write(*phase, vec![item.clone()], vec![1]).await?;
    }
    Ok(())
}

/// Into a keyspace of its own, by processes that die at each `step`-th point.
async fn a_copy_dies(keyspace: &str, step: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (items, wanted) = all(&made(dir.path()).await);
    let place = fresh(keyspace).await;
    for at in (0..).step_by(step) {
        // Each begins at the first thing: what is there already is met again.
        let mut target = target(&place, &wanted.whole(), Duration::ZERO).await.unwrap();
        let fail = failing(&target);
        fail.arm(How::Dies, at);
        let done = write(&mut target, &items).await;
        let passed = fail.disarm();
        if done.is_ok() {
            assert!(passed > 70, "only {passed} points");
            println!("copy: dead at each {step}th of {passed} points");
            break;
        }
        assert!(passed > 0);
        assert!(ScyllaStore::open(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.is_err(), "nobody serves half a copy");
    }
    let mut target = target(&place, &wanted.whole(), Duration::from_secs(20)).await.unwrap();
    let (found, missing) = target.tally(&[], &|_| ()).await.unwrap();
    assert_eq!((found.sums().collect::<Vec<_>>(), missing), (wanted.sums().collect(), 0));
    target.end(&[]).await.unwrap();
    target.finish().await.unwrap();
    let store = ScyllaStore::open(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), vec![]);
    // An address to which somebody can still move back is nobody else's.
    let reserved = items.iter().flat_map(|(_, item)| match item {
        Item::User(user) => user.reserved.clone(),
        _ => vec![],
    });
    let reserved: Vec<_> = reserved.collect();
    assert_eq!(reserved.len(), 1);
    for email in reserved {
        let mut p = newcomer(T);
        p.user.email = email;
        assert!(matches!(store.create_user(&ctx(T), p).await.unwrap(), CreateUserOutcome::EmailTaken(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_dies_at_some_statements_and_goes_on() {
    a_copy_dies("copy", 31).await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_dies_at_each_statement_and_goes_on() {
        a_copy_dies("copyeach", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_found_out_and_strangers_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (items, wanted) = all(&made(dir.path()).await);
    let place = fresh("copylost").await;
    let mut target = target(&place, &wanted.whole(), Duration::from_secs(20)).await.unwrap();
    for (n, (phase, item)) in items.iter().enumerate() {
        // A point of each thing, another one each time.
        failing(&target).arm(How::LosesAnswer, i64::try_from(n).unwrap() % 6);
        target.write(*phase, vec![item.clone()], vec![1]).await.unwrap();
        failing(&target).disarm();
    }
    let (found, _) = target.tally(&[], &|_| ()).await.unwrap();
    assert_eq!(found.sums().collect::<Vec<_>>(), wanted.sums().collect::<Vec<_>>());
    // The same account with another name, as somebody who serves the keyspace would leave it.
    let changed = items.iter().find_map(|(phase, item)| match item {
        Item::User(user) => {
            let mut user = user.clone();
            user.user.display_name = Some("changed".into());
            Some((*phase, Item::User(user)))
        }
        _ => None,
    });
    let (phase, item) = changed.unwrap();
    let refused = target.write(phase, vec![item], vec![1]).await.unwrap_err();
    assert!(refused.detail.contains("something else is there"), "{refused}");
    let other = super::tests::target(&place, "another", Duration::ZERO).await.err().unwrap();
    assert!(other.detail.contains("another source"), "{other}");
}
