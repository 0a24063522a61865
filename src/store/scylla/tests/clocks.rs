//! Nodes whose clocks are ahead of the others', or were; and what goes by itself in the end. In a keyspace of their own: windows of
//! revocations that a clock far ahead has sealed would be in everybody's way.

use super::{deaths::Later, *};
use crate::{
    domain::{contact::Email, ids::JobId, time::Timestamp, user::User},
    store::scylla::{
        outbox::STATE,
        revocations,
        unit::{Family, List},
    },
};

fn place() -> Place {
    Place { keyspace: format!("qeetid_{}_clocks", std::process::id()), ..super::place() }
}

async fn store() -> ScyllaStore {
    static MADE: OnceCell<ScyllaStore> = OnceCell::const_new();
    opened(&MADE, place).await
}

/// Another node, whose clock is so far ahead.
fn ahead(of: &ScyllaStore, by: u64) -> ScyllaStore {
    beside(of, Arc::new(Later::by(by)))
}

async fn revoked(by: &ScyllaStore) -> Revocation {
    let what = Revocation::Session(session_id());
    revocations::append(&by.engine, &[(by.engine.now(), what.clone())]).await.unwrap();
    what
}

/// The cells of one column of a row, asked for in CQL.
async fn cells(of: &ScyllaStore, cql: &str, part: &[u8]) -> Vec<Option<i32>> {
    let rows = of.engine.cql.session().query_unpaged(cql.replace("KS", of.engine.cql.keyspace()), (part,)).await.unwrap();
    rows.into_rows_result().unwrap().rows::<(Option<i32>,)>().unwrap().map(|row| row.unwrap().0).collect()
}

/// One after the other: each has sealed windows that the next one must get over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_ahead_or_were_set_back_lose_no_revocation() {
    let right = store().await;
    let (_, mut cursor) = revocations::since(&right.engine, 0).await.unwrap();
    // A writer is one or two windows ahead.
    for by in [500, 1100] {
        let what = revoked(&ahead(&right, by)).await;
        let (found, next) = revocations::since(&right.engine, cursor).await.unwrap();
        assert!(found.contains(&what), "{by} seconds ahead");
        cursor = next;
    }
    // This node was an hour ahead, and reads; then others revoke, and its clock is set back.
    let wrong = ahead(&right, 3600);
    revoked(&wrong).await;
    let (_, far) = revocations::since(&wrong.engine, cursor).await.unwrap();
    let missed = revoked(&beside(&right, Arc::new(SystemClock))).await;
    let (found, next) = revocations::since(&right.engine, far).await.unwrap();
    assert!(found.contains(&missed), "what others revoked meanwhile");
    let later = revoked(&right).await;
    let (found, next) = revocations::since(&right.engine, next).await.unwrap();
    assert!(found.contains(&later), "and what they revoke now");
    // It goes on by its own tail, with its clock set right.
    let clock = Arc::new(Later::by(3600));
    let corrected = beside(&right, clock.clone());
    revoked(&corrected).await;
    clock.set(0);
    let (_, before) = revocations::since(&right.engine, next).await.unwrap();
    let after = revoked(&corrected).await;
    let (found, end) = revocations::since(&right.engine, before).await.unwrap();
    assert!(found.contains(&after), "what a node revokes once its clock was set back");
    // Who has read all is given nothing, not all of it once more.
    assert_eq!(revocations::since(&right.engine, end).await.unwrap().0, []);
}

/// A mail that was written by a node whose clock is ahead is taken away by one whose clock is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_clock_ahead_wrote_is_removed_by_one_that_is_right() {
    let right = store().await;
    let (one, other): (S, S) = (Arc::new(ahead(&right, 120)), Arc::new(right.clone()));
    let (at, _alone) = era(&other, 31).await;
    let p = person(&one).await;
    let job = job(at, p.user.id);
    one.enqueue(&ctx(at), job.clone()).await.unwrap();
    let body = async || right.engine.cql.entry(List::JobBodies, job.id.as_bytes(), b"-").await.unwrap();
    assert!(body().await.is_some());
    assert!(other.lease_jobs(at, secs(60), 1000).await.unwrap().iter().any(|j| j.id == job.id));
    other.finish_job(job.id).await.unwrap();
    assert_eq!(body().await, None);
    assert!(!other.lease_jobs(at.plus(secs(3600)), secs(60), 1000).await.unwrap().iter().any(|j| j.id == job.id));
}

/// Partitions of jobs, entries of the journal and what commands left to do don't pile up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_goes_by_itself() {
    let raw = store().await;
    let store: S = Arc::new(raw.clone());
    let (at, _alone) = era(&store, 32).await;
    let p = person(&store).await;
    let job = job(at, p.user.id);
    let changed = ChangePassword { job: Some(job.clone()), ..change_password(&p, 1, "new", None) };
    assert_eq!(store.change_password(&ctx(at), changed).await.unwrap(), Cas::Done(()));
    let user = Unit::user(p.user.id);
    let head = raw.engine.cql.head(&user, true).await.unwrap();
    let ttl = async |column: &str, family: Family, part: &[u8]| {
        let cql = format!("SELECT TTL({column}) FROM KS.{} WHERE part = ? LIMIT 1", family.table());
        cells(&raw, &cql, part).await.into_iter().next().flatten()
    };
    assert!(ttl("todo", Family::Users, &user.key.0).await.is_some_and(|ttl| ttl > 600_000 && ttl <= 604_800));
    assert_eq!((ttl("version", Family::Users, &user.key.0).await, head.lock), (None, None), "the unit stays");
    let leased: Vec<JobId> = store.lease_jobs(at, secs(60), 1000).await.unwrap().into_iter().map(|job| job.id).collect();
    assert!(leased.contains(&job.id));
    store.finish_job(job.id).await.unwrap();
    let unit = Unit::job(job.id);
    assert!(raw.engine.cql.peek::<serde_json::Value>(&unit, STATE, b"-").await.unwrap().is_some());
    for column in ["version", "tx"] {
        assert!(ttl(column, Family::Jobs, &unit.key.0).await.is_some_and(|ttl| ttl > 11 * 86_400 && ttl <= 12 * 86_400), "{column}");
    }
    // Every sign-up is a saga.
    let rows =
        raw.engine.cql.session().query_unpaged(format!("SELECT TTL(state), body FROM {}.journal", raw.engine.cql.keyspace()), ()).await;
    let rows = rows.unwrap().into_rows_result().unwrap();
    let over: Vec<(Option<i32>, Option<String>)> = rows.rows().unwrap().map(|row| row.unwrap()).collect();
    let empty = |body: &Option<String>| body.as_deref().unwrap_or_default().is_empty();
    assert!(!over.is_empty());
    assert!(over.iter().all(|(ttl, body)| ttl.is_some() == empty(body)), "only what is over expires");
}

/// Whoever types addresses into the sign-up leaves nothing behind, and what somebody needs stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_nobody_needs_is_forgotten() {
    let raw = store().await;
    let store: S = Arc::new(raw.clone());
    let (at, _alone) = era(&store, 33).await;
    let (nobodys, taken) = (waiting(address(), at), newcomer(at));
    for pending in [nobodys.clone(), waiting(taken.user.email.clone(), at)] {
        store.begin_signup(&ctx(at), pending.clone(), job(at, user_id())).await.unwrap();
    }
    let taken = signed_up(&store, taken).await;
    let head = async |email: &Email| raw.engine.cql.head(&Unit::email(&email.digest()), true).await.unwrap();
    let sweep = async |now: Timestamp| while store.sweep(now).await.unwrap().more {};
    sweep(at.plus(secs(601))).await;
    assert!(head(&nobodys.email).await.version.is_some(), "the outcome of the command is there");
    sweep(at.plus(days(1)).plus(secs(3600))).await;
    assert!(head(&nobodys.email).await.version.is_some(), "nobody looks sooner");
    sweep(at.plus(days(1)).plus(secs(2 * 3600))).await;
    assert_eq!(head(&nobodys.email).await.version, None);
    assert!(head(&taken.user.email).await.version.is_some());
    assert_eq!(store.user_by_email(&taken.user.email.digest()).await.unwrap().map(|u| u.id), Some(taken.user.id));
    // It is as if it had never been there.
    let own = newcomer(at);
    let again = CreateUser { user: User { email: nobodys.email, ..own.user.clone() }, ..own };
    assert_eq!(store.create_user(&ctx(at), again).await.unwrap(), CreateUserOutcome::Created);
}

/// With copies in several data centres each could count a majority of its own.
#[test]
fn a_split_keyspace_is_told_from_others() {
    use scylla::cluster::metadata::Strategy;
    let topology = |centres: &[(&str, usize)]| Strategy::NetworkTopologyStrategy {
        datacenter_repfactors: centres.iter().map(|(name, copies)| ((*name).to_owned(), *copies)).collect(),
    };
    let of = |strategy: &Strategy, nodes: &[&str]| crate::store::scylla::centres(strategy, nodes.iter().copied()).len();
    assert_eq!(of(&topology(&[("a", 3)]), &["a", "b"]), 1);
    assert_eq!(of(&topology(&[("a", 3), ("b", 0)]), &["a", "b"]), 1);
    assert_eq!(of(&topology(&[("a", 3), ("b", 3)]), &["a"]), 2);
    let simple = Strategy::SimpleStrategy { replication_factor: 3 };
    assert_eq!((of(&simple, &["a", "a"]), of(&simple, &["a", "b"])), (1, 2));
}

/// Entries that a node wrote whose clock is ahead have a later time than the erasure. They are erased all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_gets_what_a_clock_ahead_wrote() {
    let right = store().await;
    let (one, other): (S, S) = (Arc::new(ahead(&right, 120)), Arc::new(right.clone()));
    let p = person(&one).await;
    let told = event(p.tenant.id, Some(p.user.id), "user.told");
    one.write_audit(&ctx(T), vec![told]).await.unwrap();
    assert_eq!(other.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    let over: Timestamp = T.plus(days(31));
    assert_eq!(other.purge_overdue(&ctx(over), p.user.id, vec![]).await.unwrap(), Cas::Done(()));
    let left = right.engine.cql.entries(List::AuditAbout, p.user.id.as_bytes(), &[], &[0xff; 64], 10, false).await.unwrap();
    assert!(left.is_empty(), "what leads to them is gone");
    let events = other.audit_events(p.tenant.id, None, 10).await.unwrap();
    assert!(events.iter().all(|(e, _)| e.user_id.is_none()), "{events:?}");
}
