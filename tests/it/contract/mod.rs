//! One suite for all stores: whatever the trait `SessionStore` promises, each of them keeps.
//!
//! A case takes a [`fixture::Fixture`], a store with key prefix of its own. Cases use fresh ids and users, give sessions
//! short timeouts where they let time pass, and leave nothing open.

mod changes;
mod concurrency;
mod creating;
mod ending;
mod events;
mod expiry;
mod fixture;
mod limits;
mod listing;
mod manual_clock;
mod operations;
mod random_walk;
mod rotation;
mod stores;

macro_rules! cases {
    ($store:ident; $($group:ident { $($case:ident),+ $(,)? })+) => {
        $(
            mod $group {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let fixture = crate::contract::stores::$store().await;
                        crate::contract::$group::$case(&fixture).await;
                    }
                )+
            }
        )+
    };
}

macro_rules! contract {
    ($store:ident) => {
        mod $store {
            cases! { $store;
                creating {
                    every_field_comes_back,
                    names_of_every_printable_kind_come_back,
                    json_is_kept_as_it_was_written,
                    s03_an_unknown_id_is_missing_and_nothing_is_written_for_it,
                    s10_s13_an_id_is_given_once,
                    a_session_without_a_user_is_in_no_list,
                }
                changes {
                    a_change_merges_by_key_and_raises_the_version,
                    removing_what_is_not_there_changes_nothing,
                    a_conflict_changes_nothing,
                    what_is_too_large_changes_nothing,
                    numbers_are_added_exactly,
                    what_is_no_number_is_not_incremented,
                    the_cart_adds_up,
                    what_is_no_cart_takes_no_line,
                    a_migration_moves_the_home,
                    activities_come_newest_first_and_at_most_a_hundred,
                }
                expiry {
                    an_idle_session_expires,
                    a_touch_slides_the_deadline,
                    s15_a_touch_cannot_pass_the_absolute_deadline,
                    a_touch_changes_no_version_and_never_goes_back,
                    a_late_touch_tells_of_a_use_in_time,
                    a_touch_migrates_only_from_the_home_it_knew,
                    s14_nothing_changes_an_expired_session,
                    a_sweep_tells_of_each_expired_session_once,
                }
                rotation {
                    a_rotation_keeps_the_session_and_leaves_an_alias,
                    a_chain_of_aliases_leads_to_the_session,
                    s12_a_retired_id_is_a_replay_once_its_grace_is_over,
                    a_confirmation_counts_once,
                    a_former_id_confirms_nothing,
                    s08_s09_a_log_in_leaves_no_alias_and_no_data,
                    a_log_in_keeps_what_it_is_told_to,
                    a_new_class_starts_new_deadlines,
                    former_ids_are_told_at_the_end,
                }
                ending {
                    s21_nothing_brings_an_ended_session_back,
                    an_end_can_be_conditional_on_the_version,
                    an_end_by_a_former_id_ends_the_session,
                    s25_a_user_ends_everywhere_but_here,
                    a_late_touch_does_not_survive_an_end_of_all,
                    a_bucket_ends_in_steps,
                    only_what_was_made_before_ends,
                    t22_a_log_out_is_among_its_users_activities,
                }
                operations {
                    s10_a_repeated_create_makes_one_session,
                    a_repeated_create_does_not_undo_an_end,
                    a_repeated_change_counts_once,
                    a_repeated_increment_counts_once,
                    a_repeated_cart_line_counts_once,
                    a_repeated_rotation_counts_once,
                    a_repeated_activity_counts_once,
                    a_repeated_end_of_all_spares_what_came_later,
                }
                limits {
                    one_more_is_refused,
                    the_oldest_makes_room,
                    the_least_recently_used_makes_room,
                    an_expired_session_takes_no_room,
                    the_limit_holds_under_concurrent_creates_when_refusing,
                    the_limit_holds_under_concurrent_creates_when_ending_the_oldest,
                    the_limit_holds_under_concurrent_creates_when_ending_the_least_recently_used,
                }
                concurrency {
                    a_thousand_increments_are_a_thousand,
                    concurrent_cart_lines_lose_nothing,
                    concurrent_changes_of_different_keys_all_stay,
                    one_of_many_conditional_changes_wins,
                    s22_no_session_survives_an_end_of_all_that_it_is_older_than,
                }
                listing {
                    pages_hold_each_session_once_in_one_order,
                    a_filter_lets_through_only_what_it_names,
                    counts_tell_classes_servers_and_users,
                }
                events {
                    each_change_is_told_once_and_in_order,
                    ends_tell_their_reason,
                    a_listener_resumes_where_it_stopped,
                    what_was_trimmed_is_said,
                    the_lineage_is_known,
                }
                random_walk {
                    indexes_and_counts_agree_after_every_step,
                }
            }
        }
    };
}

/// The cases that need a clock which the test drives.
macro_rules! contract_with_manual_clock {
    ($store:ident) => {
        mod manual {
            mod $store {
                cases! { $store;
                    manual_clock {
                        s14_deadlines_are_exact_to_the_millisecond,
                        an_expired_session_is_found_until_its_grace_is_over,
                        an_operation_is_remembered_for_half_a_minute,
                        aliases_outlive_the_session_s_absolute_deadline_by_its_grace,
                        activities_are_forgotten_after_a_day,
                        durations_cover_today_and_yesterday,
                        counts_stay_exact_while_sessions_expire,
                    }
                }
            }
        }
    };
}

contract!(memory);
contract_with_manual_clock!(memory);
contract!(redis_cluster);
contract!(sealed_redis_cluster);
contract!(single_redis);
