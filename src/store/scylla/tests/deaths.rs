//! Processes that die, and answers that are lost, before and after each statement of a command: at a few of them here, at all in the
//! modules that are called `long`. Those with jobs live in years of their own, one after another, so that nobody else takes these.

use super::*;
use crate::{
    domain::{contact::Email, ids::UserId, time::Timestamp},
    store::{
        Store,
        commands::*,
        scylla::{
            accounts::{HOLDER, ONE},
            fail::{How, Points},
            unit::Unit,
        },
    },
};
use std::future::Future;

/// The engine's time, moved on by hand past the deadlines of the dead.
pub(super) struct Later(std::sync::atomic::AtomicI64);
impl Later {
    pub(super) fn by(seconds: u64) -> Self {
        Self(seconds.cast_signed().into())
    }
    pub(super) fn set(&self, seconds: i64) {
        self.0.store(seconds, std::sync::atomic::Ordering::SeqCst);
    }
}
impl Clock for Later {
    fn now(&self) -> Timestamp {
        let ahead = self.0.load(std::sync::atomic::Ordering::SeqCst);
        SystemClock.now().plus(Duration::from_secs(ahead.unsigned_abs()))
    }
}

pub(super) const WAYS: &[How] = &[How::Dies, How::LosesAnswer, How::Late, How::LateAfterSweep, How::LateTwice, How::LateSoon];
/// Those of them in which a conditional statement arrives late.
const LATE: &[How] = &[How::Late, How::LateAfterSweep, How::LateTwice, How::LateSoon];
/// Before how many of the next statements of its sender one arrives: after it has looked what became of it, and in the middle of what it does then.
const DELAYS: std::ops::RangeInclusive<i64> = 1..=6;

/// At how many of its points a command fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// At each, in each way.
    All,
    /// At [`FEW`], the first and the last ones among them, in one way after the other.
    Few,
}
const FEW: i64 = 8;

/// Who comes after the dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heir {
    /// Settles what is left, as each node does every minute.
    Sweeps,
    /// Only meets it.
    Meets,
}

/// A keyspace of their own: clocks that are a minute ahead would hide what others write in that minute.
fn place() -> Place {
    Place { keyspace: format!("qeetid_{}_deaths", std::process::id()), ..super::place() }
}

pub(super) async fn store() -> ScyllaStore {
    static MADE: tokio::sync::OnceCell<ScyllaStore> = tokio::sync::OnceCell::const_new();
    opened(&MADE, place).await
}

/// Somebody else, a minute later.
pub(super) async fn heir(of: &ScyllaStore, kind: Heir) -> Arc<ScyllaStore> {
    let clock = Arc::new(Later(0.into()));
    let store = beside(of, clock.clone());
    clock.0.store(60, std::sync::atomic::Ordering::SeqCst);
    if kind == Heir::Sweeps {
        store.engine.settle_leftovers(Duration::from_secs(15)).await.unwrap();
    }
    Arc::new(store)
}

/// Runs `command` on a store that fails at one point of it, and on one that does not fail; after each run, `check` is asked what an
/// heir sees.
async fn at_points<T, P, C, D>(
    (ways, reach): (&[How], Reach),
    kind: Heir,
    prepare: impl AsyncFn(S) -> T,
    command: impl Fn(S, T) -> C,
    check: impl Fn(Arc<ScyllaStore>, T, Option<P>) -> D,
) where
    T: Clone,
    P: PartialEq + std::fmt::Debug,
    C: Future<Output = Result<P>>,
    D: Future<Output = ()>,
{
    at_points_of((ways, Points::All, reach), kind, prepare, command, async |heir, prepared, out| check(heir, prepared, out).await).await;
}

/// The same, where only some statements have points.
pub(super) async fn at_points_of<T, P, C>(
    (ways, points, reach): (&[How], Points, Reach),
    kind: Heir,
    prepare: impl AsyncFn(S) -> T,
    command: impl Fn(S, T) -> C,
    check: impl AsyncFn(Arc<ScyllaStore>, T, Option<P>),
) where
    T: Clone,
    P: PartialEq + std::fmt::Debug,
    C: Future<Output = Result<P>>,
{
    let first = store().await;
    let sound: S = Arc::new(first.clone());
    // Gives how many points it passed: more than `n` if it failed.
    let fails_at = async |how: How, n: i64, delay: i64| -> i64 {
        let prepared = prepare(sound.clone()).await;
        let store = beside(&first, Arc::new(SystemClock));
        let fail = store.engine.cql.fail.clone();
        fail.arm_at(how, points, n);
        fail.delay(delay);
        let engine = store.engine.clone();
        let out = command(Arc::new(store), prepared.clone()).await;
        let passed = fail.disarm();
        if matches!(how, How::Late | How::LateTwice) {
            engine.cql.arrives().await;
        }
        let heir = heir(&first, kind).await;
        if matches!(how, How::LateAfterSweep | How::LateTwice) {
            engine.cql.arrives().await;
        }
        // Both know the command's id: the heir's caller runs it again.
        check(heir, prepared, out.ok()).await;
        passed
    };
    match reach {
        Reach::All => {
            for how in ways {
                let mut n = 0;
                while fails_at(*how, n, 1).await > n {
                    if *how == How::LateSoon {
                        for delay in DELAYS.skip(1) {
                            fails_at(*how, n, delay).await;
                        }
                    }
                    n += 1;
                }
                assert!(n > 1 || (n > 0 && LATE.contains(how)), "only {n} points");
                println!("failed at each of {n} points, {how:?}, {kind:?}");
            }
        }
        Reach::Few => {
            let mut all = fails_at(ways[0], i64::MAX, 0).await;
            for (one, how) in (0..FEW).zip(ways.iter().filter(|how| !LATE.contains(how)).cycle()) {
                loop {
                    let n = one * (all - 1) / (FEW - 1);
                    let passed = fails_at(*how, n, 0).await;
                    if passed > n {
                        break;
                    }
                    // It has fewer than were counted: somebody was in the way of the first run.
                    all = passed;
                }
            }
            assert!(all > 5, "only {all} points");
            println!("failed at {FEW} of {all} points, {ways:?}, {kind:?}");
            // Of conditional statements there are few.
            let mut delays = DELAYS.cycle();
            for (n, how) in (0..).zip(ways.iter().filter(|how| LATE.contains(how)).cycle()) {
                let mut passed = fails_at(*how, n, 0).await;
                if ways.contains(&How::LateSoon) {
                    for delay in delays.by_ref().take(3) {
                        passed = fails_at(How::LateSoon, n, delay).await;
                    }
                }
                if passed <= n {
                    break;
                }
            }
        }
    }
}

/// What a sign-up is: all of it, or nothing, whatever was answered.
async fn all_or_nothing(store: &Arc<ScyllaStore>, p: &CreateUser, acknowledged: bool) -> bool {
    let (user, tenant) = (store.user(p.user.id).await.unwrap(), store.tenant(p.tenant.id).await.unwrap());
    let by_email = store.user_by_email(&p.user.email.digest()).await.unwrap();
    assert_eq!(user.is_some(), tenant.is_some(), "no user without a tenant, no tenant without its user");
    let holder = by_email.map(|u| u.id);
    assert!(user.is_none() || holder == Some(p.user.id), "no user without his address");
    let claimed: Option<UserId> = store.engine.cql.peek(&Unit::email(&p.user.email.digest()), HOLDER, ONE).await.unwrap();
    assert_eq!(claimed, holder, "no claimed address without its user");
    assert_eq!(store.sessions(p.user.id).await.unwrap().len(), usize::from(user.is_some()));
    assert!(user.is_some() || !acknowledged, "an acknowledged sign-up is lost");
    user.is_some()
}

async fn signups(ways: &[How], reach: Reach, kind: Heir) {
    at_points(
        (ways, reach),
        kind,
        async |_| (ctx(T), newcomer(T)),
        |store, (ctx, p)| async move { store.create_user(&ctx, p).await },
        move |heir, (ctx, p), out| async move {
            assert!(out.as_ref().is_none_or(|o| *o == CreateUserOutcome::Created));
            match kind {
                Heir::Sweeps => drop(all_or_nothing(&heir, &p, out.is_some()).await),
                // Nobody has settled anything: who reads that somebody has the address finds him all the same.
                Heir::Meets => {
                    let claimed: Option<UserId> = heir.engine.cql.peek(&Unit::email(&p.user.email.digest()), HOLDER, ONE).await.unwrap();
                    if claimed.is_some() {
                        let there = (heir.user(p.user.id).await.unwrap().is_some(), heir.tenant(p.tenant.id).await.unwrap().is_some());
                        assert_eq!(there, (true, true), "a claim was applied before what it points to");
                    }
                }
            }
            // Another person with the same address, and the first one again: one of them has it.
            let mut rival = newcomer(T);
            rival.user.email = p.user.email.clone();
            let rival_out = heir.create_user(&super::ctx(T), rival.clone()).await.unwrap();
            let again = heir.create_user(&ctx, p.clone()).await.unwrap();
            let (first, second) = (
                all_or_nothing(&heir, &p, again == CreateUserOutcome::Created).await,
                all_or_nothing(&heir, &rival, rival_out == CreateUserOutcome::Created).await,
            );
            assert!(first != second, "never two users of one address, never none");
        },
    )
    .await;
}

/// The address moves whole, its notice is written, and nobody else gets it in between.
async fn email_changes(reach: Reach) {
    let alone: S = Arc::new(store().await);
    let (at, _alone) = era(&alone, 15).await;
    at_points(
        (WAYS, reach),
        Heir::Sweeps,
        async |store| {
            let p = person(&store).await;
            let change = begun(&store, email_change(&p, 1, 5, at)).await;
            let cmd = confirm_change(&change, Some(p.session.id));
            (ctx(at), p, change, cmd)
        },
        |store, (ctx, _, _, cmd)| async move { store.confirm_email_change(&ctx, cmd).await },
        |heir, (ctx, p, change, cmd), out| async move {
            let heir: S = heir;
            let holder = async |email: &Email| -> Option<UserId> { heir.user_by_email(&email.digest()).await.unwrap().map(|u| u.id) };
            let moved = user(&heir, p.user.id).await.email == change.new_email;
            assert!(moved || out.is_none(), "an acknowledged change is lost");
            let (old, new) = (holder(&p.user.email).await, holder(&change.new_email).await);
            assert_eq!((old, new), if moved { (None, Some(p.user.id)) } else { (Some(p.user.id), None) });
            assert_eq!(heir.undo_link(p.user.id, cmd.undo.id).await.unwrap().is_some(), moved, "the undo link comes with the change");
            // The first run's caller comes again: the same outcome, and the notice is there.
            assert_eq!(heir.confirm_email_change(&ctx, cmd.clone()).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
            assert_eq!((holder(&p.user.email).await, holder(&change.new_email).await), (None, Some(p.user.id)));
            assert_eq!(user(&heir, p.user.id).await.credential_epoch, 2, "once");
            let jobs = heir.lease_jobs(at, days(1), 1000).await.unwrap();
            assert_eq!(jobs.iter().filter(|j| j.id == cmd.job.id).count(), 1, "one notice");
            for job in jobs {
                heir.finish_job(job.id).await.unwrap();
            }
        },
    )
    .await;
}

/// One unit, with effects: the password, its revocation and its notice.
async fn new_passwords(reach: Reach) {
    let alone: S = Arc::new(store().await);
    let (at, _alone) = era(&alone, 16).await;
    at_points(
        (WAYS, reach),
        Heir::Sweeps,
        async |store| {
            let p = person(&store).await;
            let cmd = ChangePassword { job: Some(job(at, p.user.id)), ..change_password(&p, 1, "new", None) };
            (ctx(at), p, cmd)
        },
        |store, (ctx, _, cmd)| async move { store.change_password(&ctx, cmd).await },
        |heir, (ctx, p, cmd), out| async move {
            let heir: S = heir;
            let changed = user(&heir, p.user.id).await.credential_epoch == 2;
            assert!(changed || out.is_none(), "an acknowledged change is lost");
            // What follows a change is there without anybody coming again.
            assert_eq!(refused(&heir, &p.session).await, changed, "revoked with it");
            let id = cmd.job.as_ref().unwrap().id;
            let jobs = heir.lease_jobs(at, days(1), 1000).await.unwrap();
            let sent = jobs.iter().any(|j| j.id == id);
            assert_eq!(sent, changed, "the notice comes with it");
            assert_eq!(heir.change_password(&ctx, cmd).await.unwrap(), Cas::Done(()));
            assert!(refused(&heir, &p.session).await && !lives(&heir, &p.session).await);
            let later = heir.lease_jobs(at, days(1), 1000).await.unwrap();
            assert!(sent || later.iter().any(|j| j.id == id), "at least one mail");
            for job in jobs.into_iter().chain(later) {
                heir.finish_job(job.id).await.unwrap();
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signup_fails_at_a_few_statements() {
    signups(WAYS, Reach::Few, Heir::Sweeps).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_change_fails_at_a_few_statements() {
    email_changes(Reach::Few).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_fails_at_a_few_statements() {
    new_passwords(Reach::Few).await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_signup_dies_at_each_statement() {
        signups(&[How::Dies], Reach::All, Heir::Sweeps).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_signup_loses_each_answer() {
        signups(&[How::LosesAnswer], Reach::All, Heir::Sweeps).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_signup_whose_statements_arrive_late() {
        signups(LATE, Reach::All, Heir::Sweeps).await;
        signups(&[How::Late], Reach::All, Heir::Meets).await;
    }
    /// Nobody has swept: whoever wants the address next, or comes again, settles it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dead_signup_is_met() {
        signups(&[How::Dies], Reach::All, Heir::Meets).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_email_change_dies_at_each_statement_and_loses_each_answer() {
        email_changes(Reach::All).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_password_dies_at_each_statement_and_loses_each_answer() {
        new_passwords(Reach::All).await;
    }
}
