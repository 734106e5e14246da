//! The agent as Pacemaker and an administrator see it: what each action answers, with which words, and what it leaves
//! on disk. The real executable and a real PostgreSQL run in hosts of the lab, without a cluster.

mod advice;
mod archive;
mod bad_input;
mod balancing;
mod check;
mod deep;
mod field;
mod follower;
mod hostile;
mod lock_files;
mod meddled;
mod ocf;
mod plain;
mod probe;
mod put_back;
mod recovers;
mod secrets;
mod site;
mod topologies;
mod untold;
mod ways;

use std::process::ExitCode;

use lab::scenarios;

fn main() -> ExitCode {
    if lab::available().is_ok()
        && let Err(error) = lab::install_also("haproxy", balancing::HAPROXY)
    {
        // Said again, and judged, by the scenario that needs it.
        eprintln!("lab: {error}");
    }
    // The longest first: nothing is left at the end that all others have to wait for.
    let beside = scenarios![
        field::a_server_that_refuses_to_start_says_why,
        recovers::a_recovery_in_place_is_left_to_its_end,
        bad_input::an_unusable_machine_is_refused_without_a_trace,
        field::a_login_that_waits_is_no_hung_server_without_titles,
        bad_input::a_configuration_that_contradicts_the_agent_is_refused_without_a_trace,
        untold::a_standby_that_is_let_in_and_gets_nothing_is_told,
        topologies::a_copy_that_finds_no_host_ends_no_standby,
        hostile::a_file_that_is_none_is_neither_shown_nor_waited_for,
        archive::a_cleanup_that_hangs_holds_nothing_up,
        bad_input::unusable_parameters_are_refused_without_a_trace,
        plain::a_subscriber_that_reads_nothing_holds_no_stop_up,
        field::a_login_that_waits_for_a_lock_is_no_hung_server,
        topologies::an_archive_alone_feeds_a_standby,
        ways::another_server_at_the_address_is_not_this_one,
        ways::a_poolers_session_is_not_the_agents_own,
        ways::sockets_of_every_kind_are_ways_in,
        ocf::describing_actions_need_neither_cluster_nor_postgresql,
        ocf::a_probe_of_a_host_without_postgresql_says_not_running,
        ocf::a_wrong_call_is_told_apart_from_a_wrong_configuration,
        ocf::ocf_tester_passes,
        ocf::every_case_of_the_ocft_suite_gives_its_code,
        advice::what_a_rewind_needs_is_missed_before_it_is_needed,
        advice::a_slot_without_a_limit_is_warned_of,
        advice::quorum_commit_is_refused_with_postgresql_12,
        bad_input::a_typing_error_does_not_take_down_a_running_server,
        bad_input::replication_without_pacemaker_fails_and_says_so,
        plain::a_server_whose_program_was_replaced_is_known,
        plain::every_action_may_be_repeated,
        plain::monitor_sql_decides_whether_a_server_is_well,
        plain::monitor_sql_may_be_what_psql_takes,
        plain::monitor_sql_may_wait_for_a_lock_and_be_refused,
        plain::a_frozen_postmaster_is_found_and_stopped,
        plain::a_stop_is_not_spent_on_a_login_that_is_slow,
        plain::a_frozen_backend_does_not_outlast_the_stop,
        plain::an_archiver_that_confirms_nothing_holds_no_stop_up,
        plain::data_behind_a_link_or_open_to_a_group_are_served,
        plain::a_stand_alone_server_counts_as_one_that_runs,
        plain::a_frozen_process_is_let_go_on_to_its_end,
        plain::what_a_killed_postmaster_left_behind_does_not_prevent_a_start,
        plain::a_stop_ends_transactions_and_escalates_as_told,
        plain::an_orderly_stop_is_logged_to_its_last_line,
        plain::where_the_server_listens_is_where_it_is_watched,
        plain::options_reach_the_server_word_for_word,
        plain::a_server_is_spared_where_memory_runs_out_and_its_sessions_are_not,
        plain::files_that_are_missing_are_made_as_the_server_needs_them,
        plain::the_monitoring_user_logs_in_with_its_password,
        plain::the_owner_may_run_the_agent_and_a_stranger_may_not,
        plain::a_server_that_was_replicated_waits_for_nobody,
        follower::a_follower_streams_and_every_action_may_be_repeated,
        follower::the_recovery_parameters_are_in_force,
        follower::a_follower_logs_in_with_its_password_file,
        follower::include_lines_are_added_once_and_change_nothing_else,
        follower::a_promoted_follower_is_reported,
        follower::what_was_written_and_not_read_is_read_by_the_next_monitor,
        follower::a_follower_is_well_although_the_cluster_can_not_be_told,
        check::each_role_is_served_by_its_own_kind,
        check::a_standby_that_is_behind_is_drained_and_comes_back,
        check::what_can_not_be_asked_is_not_up,
        check::http_that_is_none_is_refused_and_never_a_yes,
        balancing::libpq_finds_each_role_by_itself,
        balancing::haproxy_sends_writes_to_the_primary_and_reads_to_who_is_up_to_date,
        topologies::a_timeline_beyond_nine_and_small_wal_files_are_followed,
        topologies::what_an_archive_alone_has_no_use_for_is_refused,
        topologies::an_archive_has_what_the_stream_no_longer_has,
        topologies::a_standby_archives_what_it_receives,
        topologies::a_follower_feeds_another,
        field::a_refused_agent_leaves_the_server_alone,
        field::a_server_that_is_full_is_left_alone,
        field::a_server_that_can_not_fork_is_left_alone,
        field::a_configuration_in_another_encoding_is_served,
        field::lines_that_are_restored_away_are_put_back,
        field::every_way_in_that_psql_has_is_one,
        field::ways_in_by_tls_are_ways_in,
        field::a_certificate_that_is_no_good_ends_no_server,
        field::an_answer_from_a_pooler_is_no_life_of_the_server,
        field::two_resources_on_a_node_keep_their_files_apart,
        field::a_follower_that_nobody_can_ask_is_still_a_follower,
        field::what_root_may_not_read_is_not_said_to_be_missing,
        deep::a_deep_monitor_writes_and_waits_for_no_standby,
        deep::a_deep_monitor_of_a_standby_looks_at_replay,
        deep::a_full_tablespace_is_told_and_fails_nobody,
        deep::storage_that_gives_no_answer_fails_the_server_the_second_time,
        deep::an_archive_that_takes_nothing_is_told_long_before_the_disk_is_full,
        deep::a_database_of_another_sort_order_is_told,
        deep::a_subscribers_slot_that_is_left_on_a_standby_is_told,
        deep::a_slot_that_decoding_waits_for_in_vain_is_told,
        recovers::a_second_stop_in_one_boot_is_no_hang_since_the_first,
        lock_files::a_number_that_is_anothers_by_now_keeps_no_server_down,
        untold::a_way_to_the_primary_that_is_none_is_told,
        untold::what_is_hidden_is_asked_as_the_owner,
        untold::a_primary_that_lets_its_standby_not_in_is_told,
        untold::a_tmpdir_that_takes_no_note_is_told_while_nothing_is_noted,
        untold::a_directory_that_the_account_may_not_enter_ends_no_server,
        untold::an_account_that_the_name_service_denies_ends_no_server,
        untold::a_server_that_ends_by_itself_has_said_why,
        untold::a_server_that_was_killed_is_told_from_one_that_was_stopped,
        untold::a_slot_of_others_that_holds_wal_on_a_standby_is_told,
        archive::a_command_that_fails_as_none_should_ends_no_server,
        archive::a_command_that_is_ended_is_a_file_that_is_not_there,
        archive::a_demotion_outruns_a_promotion_that_waits_for_the_archive,
        meddled::a_directory_that_is_removed_is_made_again,
        meddled::a_standbys_file_in_a_primarys_directory_makes_no_standby,
        meddled::a_standby_whose_file_is_gone_gets_it_back,
        meddled::rules_that_the_server_refuses_are_told,
        meddled::a_primary_without_its_pid_file_is_ended_before_its_lock_is_given_back,
        meddled::what_is_set_behind_the_agents_lines_is_refused,
        meddled::a_restores_signal_is_removed_at_a_standbys_start,
        meddled::a_file_that_promotes_a_standby_is_refused,
        meddled::what_is_set_over_the_agents_settings_is_told,
        meddled::a_configuration_that_the_server_refuses_is_told,
        meddled::what_makes_a_commit_worth_less_is_seen,
        probe::a_check_sees_what_a_server_is_started_with_and_what_its_roles_have,
        secrets::no_secret_is_shown_to_others,
        hostile::nobody_makes_root_end_a_process,
        hostile::the_owner_of_the_database_sets_nothing_for_the_agent,
    ];
    let outcome = lab::chains(beside);
    match site::close() {
        Ok(()) => outcome,
        Err(error) => {
            eprintln!("the lab could not be taken down: {error}");
            ExitCode::FAILURE
        }
    }
}
