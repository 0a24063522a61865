mod deaths;
mod outage;
mod two_nodes;

use super::*;
use crate::{
    domain::{rng::SystemRng, time::SystemClock},
    store::{
        commands::*,
        conformance::{fixture::*, store_conformance_suite},
    },
};

/// The Cassandra of the tests, and a keyspace of this process.
fn place() -> Place {
    let server = std::env::var("QEETID_TEST_CQL").expect("QEETID_TEST_CQL names a Cassandra as host:port; ./test starts one");
    let keyspace = format!("qeetid_{}", std::process::id());
    Place { nodes: vec![server], keyspace, datacenter: None, replication: 1, credentials: None, tls: None }
}

/// Makes the schema once for all tests, and one connection each.
async fn store() -> ScyllaStore {
    static MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let place = place();
    MADE.get_or_init(async || {
        ScyllaStore::migrate(&place, &SystemClock, &SystemRng).await.unwrap();
    })
    .await;
    ScyllaStore::open(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap()
}

async fn make() -> (S, ()) {
    (Arc::new(store().await), ())
}

mod conformance {
    use super::*;
    // Those of the commands that are there; the others follow with theirs.
    store_conformance_suite! { make().await;
        accounts: create_user_writes_all_of_it, every_field_survives, one_address_48_at_once, a_taken_address_writes_nothing,
                a_sign_in_finds_the_account_and_its_networks, only_sixteen_networks_stay_known, the_profile_changes_by_version;
        signups: a_pending_signup_is_kept_as_typed, each_try_counts_once, a_signup_consumes_all_that_wait,
                one_pending_signup_16_at_once, a_pending_signup_of_a_taken_address;
        deletion: everything_dies_and_the_address_stays, a_condition_that_failed_deletes_nothing, a_lone_owner_may_go;
        passwords: a_change_ends_all_but_this_session, a_change_without_keep_ends_all, a_change_is_by_epoch,
                changes_of_one_epoch_8_at_once, a_kept_session_must_be_alive, a_rehash_wants_the_very_hash,
                a_rehash_racing_a_change, kinds_of_hashes_are_counted;
        resets: links_are_made_only_for_those_who_may_sign_in, a_reset_sets_the_password_and_ends_all, a_reset_proves_the_mailbox,
                one_link_8_at_once, used_expired_or_outdated_links, a_sign_in_racing_a_reset;
        sessions: a_session_needs_the_verified_epoch, a_session_needs_the_membership, a_switch_is_no_login, a_view_has_the_account_in_it,
                a_token_turns_32_at_once, a_turn_is_by_generation_epoch_and_state, a_generation_may_jump, turns_racing_a_revocation,
                lists_are_newest_first_and_bounded;
        revocations: one_all_but_one_and_all, somebody_elses_session, only_the_living_count, the_cursor_goes_on,
                readers_miss_nothing_while_writers_write;
        proofs: a_code_proves_the_address_once, one_code_16_at_once, an_old_epoch_or_serial_proves_nothing,
                a_number_is_stored_as_proved, serials_of_two_purposes_are_apart;
        email_change: a_change_waits_and_is_replaced, a_change_needs_the_epoch, confirming_moves_the_claim, one_change_8_at_once,
                wrong_codes_change_nothing, a_taken_address_ends_the_change, two_accounts_one_address, a_change_racing_a_signup,
                back_to_ones_own_address;
        undo: undoing_puts_the_address_back, a_password_of_before_stays, one_undo_link_8_at_once, later_links_die,
                used_and_expired_links, an_address_taken_meanwhile;
        tenants: a_tenant_and_its_owner, one_slug_16_at_once, memberships_are_oldest_first, the_last_owner_stays, no_member_no_leave;
        outbox: two_workers_never_get_one_job, a_lease_that_ends_gives_the_job_back, oldest_first_up_to_the_limit,
                retried_parked_and_finished, jobs_come_with_their_commands, a_refused_command_writes_no_job;
        reruns: create_user, begin_signup, update_profile, delete_user, change_password, rehash, create_reset_link, complete_reset,
                create_session, rotate_session, revoke_sessions, confirm_email, confirm_phone, begin_email_change,
                confirm_email_change, undo_email_change, create_tenant, leave_tenant, enqueue, reruns_at_once;
        access: a_grant_is_what_all_roles_allow_together, roles_are_listed_by_name, a_name_is_taken_once,
                a_tenant_has_at_most_100_roles, roles_are_given_and_taken, every_field_of_a_key_survives, keys_are_listed_newest_first,
                a_revoked_key_is_told_to_all_nodes_once, uses_only_move_on, a_tenant_has_at_most_1000_live_keys,
                a_tenant_is_founded_with_its_key, reruns_give_the_first_outcome;
        members: a_member_may_what_his_roles_allow, the_last_role_takes_the_membership_with_it,
                who_belongs_nowhere_else_keeps_his_last_role, owners_who_demote_each_other_leave_one,
                a_first_proof_by_a_reset_ends_the_makers_keys;
        policy: a_policy_is_set_by_version, policies_of_one_version_16_at_once, a_policy_set_again_by_the_same_command;
        audit: events_are_listed_newest_first, each_tenant_has_one_chain, the_lease_has_one_holder, chainers_at_once_make_one_chain,
                erasing_keeps_the_chain_whole, every_audited_tenant_is_found, events_without_another_command_are_written_once;
        imports: each_row_stands_on_its_own, a_rerun_of_a_batch_writes_nothing, only_live_organizations_take_accounts,
                an_import_goes_on_where_it_stopped, the_outcomes_of_the_last_steps_are_kept, one_step_8_at_once,
                kinds_of_imported_hashes_are_counted;
        invites: every_field_of_an_invite_survives, invites_need_an_organization_and_a_role, a_new_invite_revokes_the_former,
                sending_again_raises_the_serial, revoking_ends_an_invite, invites_are_listed_by_status_and_page,
                an_address_sees_what_is_open_to_it, accepting_makes_the_account_and_all_of_it,
                an_account_joins_with_its_own_address_and_epoch, one_invite_16_at_once, declining_needs_a_proved_address,
                the_first_proof_by_a_reset_takes_invites_back, reruns_of_invites_give_the_first_outcome, sweeping_invites;
        upkeep: ten_nodes_make_one_signing_key, sweeping_pending, sweeping_sessions, sweeping_links, sweeping_records, it_answers;
    }
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
        store.confirm_email(&ctx(T), ConfirmEmail { user_id: p.user.id, epoch: 1, serial: 1, audit: vec![] }).await.unwrap(),
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
        async move { ScyllaStore::migrate(&place, &SystemClock, &SystemRng).await.unwrap() }
    })
    .await;
    assert_eq!(ran.iter().sum::<usize>(), migrate::MIGRATIONS.len(), "each step once: {ran:?}");
    open().await.unwrap_or_else(|e| panic!("{e}")).engine.ping().await.unwrap();
}
