//! What every backend of [`Ephemeral`](super::Ephemeral) must do: one suite, unchanged for each, through the trait alone.
//!
//! `ephemeral_conformance_suite!(make().await)` makes one test of each case; `make` gives `(Arc<dyn Ephemeral>, guard)`. Cases make
//! keys of their own, so that a backend may give all of them one store, also one that earlier runs have used.

pub(crate) mod codes;
pub(crate) mod estimates;
pub(crate) mod idempotency;
pub(crate) mod limits;

use super::{CODE_TTL, CodeKey, NewCode, Subject};
use crate::domain::{
    keyring::KeyId,
    rng::{self, SystemRng},
    time::Timestamp,
    token::{CodeLength, CodePurpose},
};
use std::time::Duration;

/// One test for each case. A case that is in no list is dead code, and so a warning.
macro_rules! ephemeral_conformance_suite {
    ($make:expr) => {
        ephemeral_conformance_suite! { $make;
            codes: what_was_put_in_comes_out, nobody_has_a_code_before_it_starts, sixteen_tries_at_once_let_no_more_than_max_through,
                past_the_last_try_the_count_stays, looking_counts_nothing, serials_grow_whatever_the_clock_does,
                starts_at_once_have_serials_of_their_own, a_serial_is_above_what_the_account_has_used, a_new_code_replaces_the_old_one, an_expired_code_is_given_and_not_counted,
                a_code_is_dropped_by_its_serial_alone, purposes_and_subjects_are_apart, sweeping_takes_only_what_is_over;
            limits: so_many_and_no_more, the_window_slides_over_each_one, a_cool_down_is_exact, refused_ones_are_not_counted,
                a_place_given_back_is_free_and_never_more, looking_takes_no_place,
                names_and_subjects_are_apart, sixty_four_at_once, a_clock_that_goes_back_lets_nobody_more_in,
                a_limit_of_none_lets_nobody_in, a_limit_may_change, it_answers;
            idempotency: an_answer_is_given_again_for_a_day, one_of_sixteen_at_once_runs,
                a_run_that_died_frees_the_request_and_leaves_its_salt, a_long_run_is_renewed,
                a_run_is_left_to_the_seed_of_another_one,
                a_run_that_gives_up_frees_the_request_at_once, a_run_is_forgotten_before_the_store_forgets_its_commands,
                sweeping_takes_only_what_is_over;
            estimates: a_large_limit_is_kept_within_a_window, the_older_window_weighs_by_its_overlap, the_reset_time_is_true,
                places_given_back, sixty_four_at_once;
        }
    };
    ($make:expr; $($room:ident: $($case:ident),*;)*) => {$(
        mod $room {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let (store, _guard) = $make;
                    crate::ephemeral::conformance::$room::$case(store).await;
                }
            )*
        }
    )*};
}
pub(crate) use ephemeral_conformance_suite;

/// The start of a day, so of every window that a day is a multiple of.
fn start() -> Timestamp {
    Timestamp::from_millis(20_000 * 86_400_000)
}

fn after(start: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(start.millis() + millis)
}

/// Nobody else's key.
fn fresh_key(purpose: CodePurpose) -> CodeKey {
    CodeKey { purpose, subject: rng::bytes::<16>(&SystemRng).to_vec() }
}

/// Nobody else's counter.
fn fresh_subject() -> Subject {
    Subject(rng::bytes(&SystemRng))
}

/// A code that ends `CODE_TTL` after `now`, each with another nonce.
fn new_code(now: Timestamp) -> NewCode {
    let nonce = rng::bytes(&SystemRng);
    let ttl = i64::try_from(CODE_TTL.as_millis()).unwrap();
    NewCode {
        key: KeyId(rng::bytes(&SystemRng)),
        nonce,
        length: CodeLength::Six,
        epoch: 7,
        target: b"\0sealed\xFF".to_vec(),
        expires_at: after(now, ttl),
        above: 0,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
