//! What a network and the blocks around it may do, on counters in memory, and how much heavy work goes on at once.

use super::*;
use crate::{
    domain::context::Seed,
    ephemeral::{
        self, CodeKey, CodeRecord, EphemeralError, NewCode,
        idempotency::{Begun, IdempotencyStore, NewRun, RequestName, RunId, Standing},
    },
};
use async_trait::async_trait;
use std::sync::atomic::{AtomicU32, Ordering};

/// An ephemeral store that only counts. It knows how often it was asked to.
#[derive(Default)]
struct OnlyCounters {
    counters: Counters,
    hits: AtomicU32,
}

fn keeps_none<T>() -> ephemeral::Result<T> {
    Err(EphemeralError("it only counts".into()))
}

#[async_trait]
impl Ephemeral for OnlyCounters {
    async fn start_code(&self, _: &CodeKey, _: NewCode, _: Timestamp) -> ephemeral::Result<CodeRecord> {
        keeps_none()
    }
    async fn try_code(&self, _: &CodeKey, _: u32, _: Timestamp) -> ephemeral::Result<Option<CodeRecord>> {
        keeps_none()
    }
    async fn peek_code(&self, _: &CodeKey, _: Timestamp) -> ephemeral::Result<Option<CodeRecord>> {
        keeps_none()
    }
    async fn drop_code(&self, _: &CodeKey, _: u64) -> ephemeral::Result<()> {
        keeps_none()
    }
    async fn hit(&self, limit: &Limit, who: &Subject, now: Timestamp) -> ephemeral::Result<Decision> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        Ok(self.counters.decide(limit, who, now, true))
    }
    async fn peek(&self, limit: &Limit, who: &Subject, now: Timestamp) -> ephemeral::Result<Decision> {
        Ok(self.counters.decide(limit, who, now, false))
    }
    async fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) -> ephemeral::Result<()> {
        self.counters.give_back(limit, who, now);
        Ok(())
    }
    async fn sweep(&self, _: Timestamp) -> ephemeral::Result<()> {
        Ok(())
    }
    async fn ping(&self) -> ephemeral::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl IdempotencyStore for OnlyCounters {
    async fn begin_run(&self, _: &RequestName, _: NewRun, _: Timestamp) -> ephemeral::Result<Begun> {
        keeps_none()
    }
    async fn renew_run(&self, _: &RequestName, _: RunId, _: Timestamp) -> ephemeral::Result<bool> {
        keeps_none()
    }
    async fn finish_run(&self, _: &RequestName, _: RunId, _: Vec<u8>, _: Timestamp) -> ephemeral::Result<bool> {
        keeps_none()
    }
    async fn leave_run(&self, _: &RequestName, _: RunId, _: bool) -> ephemeral::Result<()> {
        keeps_none()
    }
    async fn reseed_run(&self, _: &RequestName, _: RunId, _: Seed) -> ephemeral::Result<()> {
        keeps_none()
    }
    async fn standing(&self, _: &RequestName, _: Timestamp) -> ephemeral::Result<Standing> {
        keeps_none()
    }
}

/// Three requests, two sign-ups, two reset mails and two codes of one network, and as much as anybody wants of all else.
fn rules() -> LimitRules {
    let of = |name, max| Limit { name, max, window: Duration::from_secs(3600) };
    LimitRules {
        on: true,
        wrong_passwords: of("wrong_passwords", 1000),
        wrong_passwords_everywhere: of("wrong_passwords_everywhere", 1000),
        wrong_passwords_a_day: of("wrong_passwords_a_day", 1000),
        auth_requests: of("auth_requests", 3),
        signups: of("signups", 2),
        forgot_password: of("forgot_password", 1000),
        code_pause: of("code_pause", 1000),
        codes_of_user: of("codes_of_user", 1000),
        codes_to_destination: of("codes_to_destination", 1000),
        codes_from_network: of("codes_from_network", 2),
        invites_of_tenant: of("invites_of_tenant", 1000),
        invites_to_address: of("invites_to_address", 1000),
        invites_of_person: of("invites_of_person", 1000),
        invites_from_network: of("invites_from_network", 1000),
        invite_mails: of("invite_mails", 1000),
        forgot_password_from_network: of("forgot_password_from_network", 2),
        person_requests: of("person_requests", 1000),
        admin_requests: of("admin_requests", 1000),
    }
}

fn limits() -> (Limits, Arc<OnlyCounters>) {
    let store = Arc::new(OnlyCounters::default());
    (Limits::new(rules(), store.clone()), store)
}

/// The start of an hour.
const NOW: Timestamp = Timestamp::from_millis(20_000 * 86_400_000);

/// A /64 of a /56, all of them of one /48.
fn v6(block: u16, network: u16) -> Network {
    Network::of(format!("2001:db8:0:{:x}::1", (block << 8) | network).parse().unwrap())
}

/// Whether one request is let in, of how many, and how many are left.
async fn ask(limits: &Limits, network: Network) -> (bool, u32, u32) {
    let decision = limits.auth_request(network, NOW).await.unwrap().expect("limits are on");
    (decision.allowed, decision.limit, decision.remaining)
}

#[tokio::test]
async fn four_networks_of_64_bits_use_up_their_56_and_four_of_those_their_48() {
    let (limits, store) = limits();
    for block in 0..4 {
        for network in 0..4 {
            for left in [2, 1, 0] {
                assert_eq!(ask(&limits, v6(block, network)).await, (true, 3, left), "the answer is that of the /64");
            }
            assert_eq!(ask(&limits, v6(block, network)).await, (false, 3, 0));
        }
        let fifth = v6(block, 4);
        assert_eq!(ask(&limits, fifth).await, (false, 12, 0), "the answer is that of the /56");
        let own = store.peek(&rules().auth_requests, &Subject::of(&[fifth.as_bytes()]), NOW).await.unwrap();
        assert_eq!((own.allowed, own.remaining), (true, 3), "what was refused is not counted");
    }
    let fifth = v6(4, 0);
    assert_eq!(ask(&limits, fifth).await, (false, 48, 0), "the answer is that of the /48");
    let own = store.peek(&rules().auth_requests, &Subject::of(&[fifth.as_bytes()]), NOW).await.unwrap();
    let (of_56, whose) = of_block(&rules().auth_requests, fifth.wider().next().unwrap());
    let around = store.peek(&of_56, &whose, NOW).await.unwrap();
    assert_eq!((own.remaining, around.remaining, around.limit), (3, 12, 12));
    let elsewhere = Network::of("2001:db8:1::1".parse().unwrap());
    assert_eq!(ask(&limits, elsewhere).await, (true, 3, 2));
}

#[tokio::test]
async fn an_ipv4_address_is_one_counter_and_its_neighbours_are_others() {
    let (limits, store) = limits();
    for last in 0..=255 {
        for left in [2, 1, 0] {
            assert_eq!(ask(&limits, Network::V4([192, 0, 2, last])).await, (true, 3, left));
        }
        assert_eq!(ask(&limits, Network::V4([192, 0, 2, last])).await, (false, 3, 0));
    }
    assert_eq!(store.hits.load(Ordering::Relaxed), 256 * 4, "the store is asked once for each");
    ask(&limits, v6(0, 0)).await;
    assert_eq!(store.hits.load(Ordering::Relaxed), 256 * 4 + 3);
}

#[tokio::test]
async fn whatever_is_counted_for_a_network_is_counted_for_the_blocks_around_it() {
    let (limits, _) = limits();
    let (user, digest) = (UserId::from_bytes([7; 16]), "somebody@example.com".parse::<Email>().unwrap().digest());
    let all = async |network: Network| {
        let caller = Caller { ip: [192, 0, 2, 1].into(), network, user_agent: None, request_id: "r".into() };
        [
            limits.signup(&caller, NOW).await,
            limits.forgot_password(&digest, network, NOW).await.map(drop),
            limits.code(user, CodePurpose::Email, &digest, network, NOW).await,
            limits.by_network(&Limit { name: "keys", max: 2, window: Duration::from_secs(3600) }, network, NOW).await,
        ]
    };
    for network in 0..4 {
        for _ in 0..2 {
            assert!(all(v6(0, network)).await.iter().all(Result::is_ok));
        }
    }
    for refused in all(v6(0, 4)).await {
        assert!(matches!(refused, Err(Error::RateLimited { .. })), "{refused:?}");
    }
    for network in [v6(1, 0), Network::V4([192, 0, 2, 1]), Network::V4([192, 0, 2, 2])] {
        assert!(all(network).await.iter().all(Result::is_ok), "{network}");
    }
}

#[tokio::test]
async fn limits_that_are_off_count_nothing() {
    let store = Arc::new(OnlyCounters::default());
    let limits = Limits::new(LimitRules { on: false, ..rules() }, store.clone());
    for _ in 0..10 {
        assert!(limits.auth_request(v6(0, 0), NOW).await.unwrap().is_none());
        limits.by_network(&rules().signups, v6(0, 0), NOW).await.unwrap();
    }
    assert_eq!(store.hits.load(Ordering::Relaxed), 0);
}

#[test]
fn two_of_one_and_eight_of_all_work_at_once() {
    let work = HeavyWork::default();
    let begin = |n: u8, of_all| work.begin(&[n; 16], of_all);
    let mut held: Vec<Heavy> = (0..3).flat_map(|n| [n; 2]).map(|n| begin(n, HEAVY_OF_ANYBODY).expect("two of each")).collect();
    assert!(begin(0, HEAVY_OF_ALL).is_none() && begin(9, HEAVY_OF_ANYBODY).is_none());
    held.extend([9, 9].map(|n| begin(n, HEAVY_OF_ALL).expect("a managed tenant's")));
    assert!(begin(8, HEAVY_OF_ALL).is_none());
    let mut held = held.into_iter();
    drop(held.next());
    let third = begin(8, HEAVY_OF_ALL).expect("one has ended");
    drop((third, held.next(), held.next()));
    assert!(begin(0, HEAVY_OF_ANYBODY).is_some() && begin(2, HEAVY_OF_ALL).is_none());
    drop(held);
    assert!(work.0.lock().unwrap().is_empty(), "nothing is left of whoever has come to the end");
}
