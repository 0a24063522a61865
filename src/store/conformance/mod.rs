//! What every backend of [`Store`](super::Store) must do: one suite, unchanged for each, through the trait alone.
//!
//! `store_conformance_suite!(make().await)` makes one test of each case; `make` gives `(Arc<dyn Store>, guard)`. Cases make ids and addresses
//! of their own, so that a backend may give all of them one (new) store. Those that take jobs or sweep live in years of their
//! own ([`fixture::era`]), long before the others, whose rows they must not touch.

pub(crate) mod access;
pub(crate) mod accounts;
pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod deletion;
pub(crate) mod domains;
pub(crate) mod email_change;
pub(crate) mod endings;
pub(crate) mod fixture;
pub(crate) mod imports;
pub(crate) mod invite_answers;
pub(crate) mod invites;
pub(crate) mod keys_of_makers;
pub(crate) mod leases;
pub(crate) mod members;
pub(crate) mod outbox;
pub(crate) mod passwords;
pub(crate) mod policy;
pub(crate) mod proofs;
pub(crate) mod recoveries;
pub(crate) mod reruns;
pub(crate) mod resets;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod signups;
pub(crate) mod tenants;
pub(crate) mod undo;
pub(crate) mod upkeep;

/// One test for each case. A case that is in no list is dead code, and so a warning.
macro_rules! store_conformance_suite {
    ($make:expr) => {
        store_conformance_suite! { $make;
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
                lists_are_newest_first_and_bounded, too_many_sessions_end_those_used_longest_ago;
            revocations: one_all_but_one_and_all, somebody_elses_session, only_the_living_count, the_cursor_goes_on,
                readers_miss_nothing_while_writers_write;
            proofs: a_code_proves_the_address_once, one_code_16_at_once, an_old_epoch_or_serial_proves_nothing,
                a_number_is_stored_as_proved, serials_of_two_purposes_are_apart;
            email_change: a_change_waits_and_is_replaced, a_change_needs_the_epoch, confirming_moves_the_claim, one_change_8_at_once,
                wrong_codes_change_nothing, a_taken_address_ends_the_change, two_accounts_one_address, a_change_racing_a_signup,
                back_to_ones_own_address;
            undo: undoing_puts_the_address_back, undoing_removes_the_password_whenever_it_was_set, undoing_proves_no_address_that_never_was, one_undo_link_8_at_once, later_links_die,
                used_and_expired_links, nobody_takes_the_address_that_an_account_can_move_back_to;
            tenants: a_tenant_and_its_owner, one_slug_16_at_once, memberships_are_oldest_first, the_last_owner_stays, no_member_no_leave;
            policy: a_policy_is_set_by_version, policies_of_one_version_16_at_once, a_policy_set_again_by_the_same_command;
            domains: domains_are_set_by_version, only_organizations_have_domains_and_only_those_who_may_set_them,
                a_domain_is_one_tenants_8_at_once, whoever_loses_a_domain_is_named, a_look_is_noted_whatever_else_changes, a_deleted_tenant_holds_no_domain,
                members_there_go_with_the_tenant;
            admin: a_member_is_made_or_the_holder_told, one_address_16_members_at_once, members_are_listed_and_found,
                the_fence_holds_at_the_write, a_suspension_ends_sessions_once, the_last_active_owner_stays, restored_or_purged,
                only_the_overdue_are_purged, a_tenant_changes_by_version, reruns_of_admins_give_the_first_outcome;
            access: a_grant_is_what_all_roles_allow_together, roles_are_listed_by_name, a_name_is_taken_once,
                a_tenant_has_at_most_100_roles, roles_are_given_and_taken, every_field_of_a_key_survives, keys_are_listed_newest_first,
                a_revoked_key_is_told_to_all_nodes_once, uses_only_move_on, a_tenant_has_at_most_1000_live_keys,
                a_tenant_is_founded_with_its_key, reruns_give_the_first_outcome;
            members: a_member_may_what_his_roles_allow, the_last_role_takes_the_membership_with_it,
                who_belongs_nowhere_else_keeps_his_last_role, owners_who_demote_each_other_leave_one,
                a_first_proof_by_a_reset_ends_the_makers_keys, what_a_tenant_keeps_about_its_member_is_its_own;
            authority: only_power_makes_accounts_with_credentials, accounts_made_without_power_belong_to_their_people,
                power_is_given_and_taken, no_command_sets_a_password_once_the_power_is_gone,
                no_password_changes_after_the_end_of_power, nobody_administers_themselves,
                only_an_owner_makes_owners_and_nobody_gives_themselves_a_role,
                who_gives_roles_and_who_can_give_them_has_a_proved_address,
                the_first_proof_of_an_independent_account_gives_it_a_home, two_first_proofs_at_once_give_one_home,
                who_leaves_their_only_organization_gets_a_home, of_two_owners_who_go_at_once_one_stays;
            keys_of_makers: a_key_may_what_its_maker_may, a_key_stands_still_once_its_maker_has_gone, an_owner_takes_a_key_over,
                a_key_that_nobody_takes_over_ends, a_key_ends_with_the_one_that_made_it, keys_of_somebody_who_is_gone_for_good,
                a_reset_ends_personal_keys_and_those_made_since, whoever_signed_in_before_a_reset_makes_nothing_after_it,
                a_key_made_beside_a_reset_ends_with_it, not_me_ends_what_may_be_somebody_elses_once,
                the_way_back_from_the_bin_is_by_the_epoch_of_the_deletion, signing_in_again_counts_for_that_session,
                members_of_a_deleted_organization_keep_their_accounts_or_go_with_it, reruns_give_the_first_outcome,
                reruns_about_keys_and_credentials_give_the_first_outcome;
            recoveries: a_recovery_ends_however_many_keys_and_invites, a_recovery_takes_back_what_was_sent_again_since,
                commands_about_a_tenant_ask_who_may;
            audit: events_are_listed_newest_first, every_field_of_an_event_survives, each_tenant_has_one_chain,
                a_former_holder_links_nothing, chainers_at_once_make_one_chain, erasing_keeps_the_chain_whole,
                every_audited_tenant_is_found, events_without_another_command_are_written_once;
            outbox: two_workers_never_get_one_job, a_lease_that_ends_gives_the_job_back, oldest_first_up_to_the_limit,
                retried_parked_and_finished, jobs_come_with_their_commands, a_refused_command_writes_no_job;
            reruns: another_run_is_told_of_the_first, create_user, begin_signup, update_profile, delete_user, change_password, rehash, create_reset_link, complete_reset,
                create_session, rotate_session, revoke_sessions, confirm_email, confirm_phone, begin_email_change,
                confirm_email_change, undo_email_change, create_tenant, leave_tenant, enqueue, reruns_at_once;
            imports: each_row_stands_on_its_own, a_rerun_of_a_batch_writes_nothing, only_live_organizations_take_accounts,
                an_import_goes_on_where_it_stopped, the_outcomes_of_the_last_steps_are_kept, one_step_8_at_once,
                kinds_of_imported_hashes_are_counted;
            endings: members_and_invites_of_a_deleted_tenant_end, a_chain_goes_from_its_end;
            invites: every_field_of_an_invite_survives, invites_need_an_organization_and_a_role, a_new_invite_revokes_the_former,
                sending_again_raises_the_serial, revoking_ends_an_invite, invites_are_listed_by_status_and_page,
                an_address_sees_what_is_open_to_it, an_invite_is_worth_what_the_inviter_still_holds,
                reruns_of_invites_give_the_first_outcome, sweeping_invites;
            invite_answers: accepting_makes_the_account_and_all_of_it, an_account_joins_with_its_own_address_and_epoch,
                one_invite_16_at_once, declining_needs_a_proved_address, the_first_proof_by_a_reset_takes_invites_back;
            leases: a_lease_has_one_holder, one_lease_16_at_once;
            upkeep: ten_nodes_make_one_signing_key, sweeping_pending, sweeping_sessions, sweeping_links, sweeping_records,
                sweepers_at_once, it_answers;
        }
    };
    ($make:expr; $($room:ident: $($case:ident),*;)*) => {$(
        mod $room {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let (store, _guard) = $make;
                    $crate::store::conformance::$room::$case(store).await;
                }
            )*
        }
    )*};
}
pub(crate) use store_conformance_suite;
