mod admin_deaths;
mod clocks;
mod deaths;
mod long {
    mod outage;

    /// As many keys as two tenants may have.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_recovery_ends_a_thousand_keys_and_invites() {
        crate::store::conformance::recoveries::many(super::make().await.0, 990).await;
    }
}
mod sets;
mod two_nodes;
mod upgrades;
mod withdrawals;

use super::*;
use crate::{
    domain::{rng::SystemRng, time::SystemClock},
    store::{
        commands::*,
        conformance::{fixture::*, store_conformance_suite},
        scylla::unit::Unit,
    },
};
use std::sync::LazyLock;
use tokio::sync::OnceCell;

/// The Cassandra of the tests, and a keyspace of this process.
pub(super) fn place() -> Place {
    let server = std::env::var("QEETID_TEST_CQL").expect("QEETID_TEST_CQL names a Cassandra as host:port; ./test starts one");
    let keyspace = format!("qeetid_{}", std::process::id());
    // The machine is busy with other tests.
    let timeout = Duration::from_secs(10);
    Place { nodes: vec![server], keyspace, datacenter: None, replication: 1, timeout, credentials: None, tls: None }
}

/// What lives longer than any test's own runtime.
static LASTING: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

/// A store of that place. Its schema and its connection are made once, by the first who asks: it takes longer than most tests.
pub(super) async fn opened(made: &OnceCell<ScyllaStore>, place: fn() -> Place) -> ScyllaStore {
    let make = async || {
        let made = LASTING.spawn(async move {
            ScyllaStore::migrate(&place(), Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap();
            ScyllaStore::open(&place(), Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap()
        });
        made.await.unwrap()
    };
    beside(made.get_or_init(make).await, Arc::new(SystemClock))
}

/// Another process, over the same connection.
pub(super) fn beside(one: &ScyllaStore, clock: Arc<dyn Clock>) -> ScyllaStore {
    ScyllaStore { engine: Engine::new(one.engine.cql.beside(), one.engine.times, clock, Arc::new(SystemRng)) }
}

async fn store() -> ScyllaStore {
    static MADE: OnceCell<ScyllaStore> = OnceCell::const_new();
    opened(&MADE, place).await
}

async fn make() -> (S, ()) {
    (Arc::new(store().await), ())
}

mod conformance {
    use super::*;
    store_conformance_suite!(make().await);
}

/// The call that the breaker lets through may be cancelled, and there may be none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_back_is_noticed_though_nobody_asks() {
    let raw = store().await;
    raw.engine.cql.unanswered(std::time::Instant::now() + Duration::from_secs(1));
    assert!(raw.engine.cql.is_failing());
    tokio::spawn(revive(raw.engine.weak(), place()));
    let noticed = async {
        while raw.engine.cql.is_failing() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noticed).await.expect("the store answers");
}

/// What a command wrote about somebody is in the journal no longer than it takes: an erased person is not in there for days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_is_empty_when_a_command_is_done() {
    let raw = store().await;
    let store: S = Arc::new(raw.clone());
    let p = newcomer(T);
    signed_up(&store, p.clone()).await;
    let last = raw.engine.cql.head(&Unit::user(p.user.id), true).await.unwrap().tx.unwrap();
    let (state, _, body) = raw.engine.cql.journal(last).await.unwrap().expect("a sign-up is a saga");
    assert_eq!((state.as_str(), body.as_str()), ("committed", ""));
    // A lock that comes late, of a command that is over, is taken off; what was written stays.
    let unit = Unit::email(&p.user.email.digest());
    let head = raw.engine.cql.head(&unit, true).await.unwrap();
    let late = change::Change::Lock { seen: Some(head.version.unwrap()), tx: last };
    assert!(matches!(raw.engine.cql.change(&unit, &late, &[]).await.unwrap(), change::Answer::Applied));
    let mut rival = newcomer(T);
    rival.user.email = p.user.email.clone();
    assert_eq!(store.create_user(&ctx(T), rival).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id));
    let head = raw.engine.cql.head(&unit, true).await.unwrap();
    assert_eq!(head.lock, None);
    assert_eq!(store.user_by_email(&p.user.email.digest()).await.unwrap().unwrap().id, p.user.id);
}

/// Statements of the commands that cost most, or come most often; each is sent once where nobody else writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commands_cost() {
    let raw = store().await;
    let (store, fail): (S, _) = (Arc::new(raw.clone()), raw.engine.cql.fail.clone());
    let mut costs = Vec::new();
    let p = newcomer(T);
    // Fails at a point that is never reached: so it only counts, two points a statement.
    let mut counted = |name: &'static str| costs.push((name, fail.disarm() / 2));
    let arm = || fail.arm(fail::How::LosesAnswer, i64::MAX);
    arm();
    signed_up(&store, p.clone()).await;
    counted("sign-up");
    arm();
    signed_in(&store, &p, 1, T).await;
    counted("sign-in");
    arm();
    assert_eq!(store.rotate_session(&ctx(T), rotate(&p.session, 0, 1)).await.unwrap(), Cas::Done(()));
    counted("refresh");
    arm();
    assert_eq!(
        store
            .confirm_email(&ctx(T), ConfirmEmail { user_id: p.user.id, epoch: 1, serial: 1, personal: None, audit: vec![] })
            .await
            .unwrap(),
        Cas::Done(())
    );
    counted("confirmation of an address");
    arm();
    let link = linked(&store, &p, 1, T).await;
    counted("reset link");
    arm();
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "x")).await.unwrap(), Cas::Done(_)));
    counted("reset");
    println!("statements: {costs:?}");
    let cost = |name| costs.iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(cost("refresh"), 2, "one read and one conditional write");
    assert!(cost("sign-in") <= 14 && cost("sign-up") <= 40, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_migrate_at_once() {
    let place = Place { keyspace: format!("qeetid_{}_ten", std::process::id()), ..place() };
    let open = async || ScyllaStore::open(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await;
    assert!(open().await.is_err(), "nothing is there yet");
    let ran = at_once(10, |_| {
        let place = place.clone();
        async move { ScyllaStore::migrate(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap() }
    })
    .await;
    assert_eq!(ran.iter().sum::<usize>(), migrate::MIGRATIONS.len(), "each step once: {ran:?}");
    open().await.unwrap_or_else(|e| panic!("{e}")).engine.ping().await.unwrap();
}
