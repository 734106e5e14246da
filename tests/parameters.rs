//! No parameter is forgotten by the tests: each is set to another value in a test that sees what it changes.

mod named;

use expgsql::params::PARAMS;

use named::{is_run, read};

/// Where a parameter is seen to do what it says.
struct Seen {
    param: &'static str,
    /// The file of the test, and its name.
    file: &'static str,
    test: &'static str,
    /// The file that names the parameter, where that is another.
    set_in: Option<&'static str>,
}

const fn seen(param: &'static str, file: &'static str, test: &'static str) -> Seen {
    Seen {
        param,
        file,
        test,
        set_in: Some(file),
    }
}

impl Seen {
    const fn set_in(self, file: &'static str) -> Self {
        Self {
            set_in: Some(file),
            ..self
        }
    }

    /// The test has the value without the parameter.
    const fn by_another_name(self) -> Self {
        Self {
            set_in: None,
            ..self
        }
    }
}

const SEEN: &[Seen] = &[
    seen(
        "pgctl",
        "tests/contract/plain.rs",
        "options_reach_the_server_word_for_word",
    ),
    seen(
        "psql",
        "tests/repair/source.rs",
        "the_primary_says_who_it_is_where_it_came_from_and_which_wal_it_has",
    )
    .set_in("tests/repair/node.rs"),
    seen(
        "pgdata",
        "tests/contract/field.rs",
        "two_resources_on_a_node_keep_their_files_apart",
    ),
    seen(
        "pgdba",
        "tests/contract/ocf.rs",
        "every_case_of_the_ocft_suite_gives_its_code",
    ),
    seen(
        "pghost",
        "tests/contract/plain.rs",
        "where_the_server_listens_is_where_it_is_watched",
    ),
    seen(
        "pgport",
        "tests/contract/plain.rs",
        "where_the_server_listens_is_where_it_is_watched",
    ),
    seen(
        "pglibs",
        "tests/contract/plain.rs",
        "options_reach_the_server_word_for_word",
    ),
    seen(
        "config",
        "tests/contract/plain.rs",
        "options_reach_the_server_word_for_word",
    ),
    seen(
        "start_opt",
        "tests/contract/plain.rs",
        "options_reach_the_server_word_for_word",
    ),
    seen(
        "ctl_opt",
        "tests/contract/plain.rs",
        "options_reach_the_server_word_for_word",
    ),
    seen(
        "pgdb",
        "tests/contract/plain.rs",
        "monitor_sql_decides_whether_a_server_is_well",
    ),
    seen(
        "logfile",
        "tests/contract/plain.rs",
        "files_that_are_missing_are_made_as_the_server_needs_them",
    ),
    seen(
        "socketdir",
        "tests/contract/plain.rs",
        "where_the_server_listens_is_where_it_is_watched",
    ),
    seen(
        "monitor_user",
        "tests/contract/plain.rs",
        "the_monitoring_user_logs_in_with_its_password",
    ),
    seen(
        "monitor_password",
        "tests/contract/plain.rs",
        "the_monitoring_user_logs_in_with_its_password",
    ),
    seen(
        "monitor_sql",
        "tests/contract/plain.rs",
        "monitor_sql_decides_whether_a_server_is_well",
    ),
    seen(
        "check_wal_receiver",
        "tests/cluster/features.rs",
        "slots_receivers_edited_and_outside_standbys_are_looked_after",
    ),
    seen(
        "stop_escalate",
        "tests/contract/plain.rs",
        "a_stop_ends_transactions_and_escalates_as_told",
    ),
    seen(
        "stop_escalate_in_slave",
        "tests/contract/follower.rs",
        "the_recovery_parameters_are_in_force",
    ),
    seen(
        "rep_mode",
        "tests/contract/ocf.rs",
        "a_probe_of_a_host_without_postgresql_says_not_running",
    ),
    seen(
        "restore_command",
        "tests/contract/follower.rs",
        "the_recovery_parameters_are_in_force",
    ),
    seen(
        "archive_cleanup_command",
        "tests/contract/follower.rs",
        "the_recovery_parameters_are_in_force",
    ),
    seen(
        "recovery_end_command",
        "tests/contract/follower.rs",
        "the_recovery_parameters_are_in_force",
    ),
    seen(
        "master_ip",
        "tests/contract/follower.rs",
        "a_follower_streams_and_every_action_may_be_repeated",
    )
    .set_in("tests/contract/site.rs"),
    seen(
        "repuser",
        "tests/contract/follower.rs",
        "a_follower_logs_in_with_its_password_file",
    ),
    seen(
        "primary_conninfo_opt",
        "tests/contract/follower.rs",
        "a_follower_streams_and_every_action_may_be_repeated",
    ),
    seen(
        "passfile",
        "tests/contract/follower.rs",
        "a_follower_logs_in_with_its_password_file",
    ),
    seen(
        "replication_slot_name",
        "tests/contract/follower.rs",
        "the_recovery_parameters_are_in_force",
    ),
    seen(
        "tmpdir",
        "tests/contract/plain.rs",
        "files_that_are_missing_are_made_as_the_server_needs_them",
    ),
    seen(
        "node_list",
        "tests/cluster/sites.rs",
        "a_grown_site_fails_over_and_back",
    )
    .set_in("tests/lab/src/site.rs"),
    seen(
        "restart_on_promote",
        "tests/contract/plain.rs",
        "every_action_may_be_repeated",
    ),
    seen(
        "external_standby_node_list",
        "tests/cluster/features.rs",
        "slots_receivers_edited_and_outside_standbys_are_looked_after",
    ),
    seen(
        "external_slot_list",
        "tests/cluster/topologies.rs",
        "archives_balancers_and_a_standby_outside_see_a_failover_through",
    ),
    seen(
        "sync_node_list",
        "tests/cluster/preferences.rs",
        "lists_say_who_is_waited_for_and_who_is_promoted",
    ),
    seen(
        "nofailover_node_list",
        "tests/cluster/preferences.rs",
        "lists_say_who_is_waited_for_and_who_is_promoted",
    ),
    seen(
        "enable_distlock",
        "tests/cluster/two_nodes.rs",
        "two_nodes_with_a_lock_service_survive_splits",
    )
    .set_in("tests/lab/src/lock.rs"),
    seen(
        "distlock_conninfo",
        "tests/cluster/two_nodes.rs",
        "two_nodes_with_a_lock_service_survive_splits",
    )
    .set_in("tests/lab/src/lock.rs"),
    seen(
        "distlock_lockname",
        "tests/cluster/two_nodes.rs",
        "two_nodes_with_a_lock_service_survive_splits",
    )
    .set_in("tests/lab/src/lock.rs"),
    seen(
        "distlock_lockservice_deadcheck_nodelist",
        "tests/cluster/two_nodes.rs",
        "two_nodes_with_a_lock_service_survive_the_loss_of_either",
    )
    .set_in("tests/lab/src/lock.rs"),
    seen(
        "distlock_ttl",
        "tests/cluster/parameters.rs",
        "what_a_parameter_of_the_lock_says_is_done",
    ),
    seen(
        "distlock_timeout",
        "tests/cluster/parameters.rs",
        "what_a_parameter_of_the_lock_says_is_done",
    ),
    seen(
        "maxlag",
        "tests/cluster/parameters.rs",
        "what_a_parameter_says_is_done_in_async_mode",
    ),
    seen(
        "maxlag_time",
        "tests/cluster/parameters.rs",
        "what_a_parameter_says_is_done_in_async_mode",
    ),
    seen(
        "query_timeout",
        "tests/contract/field.rs",
        "a_login_that_waits_for_a_lock_is_no_hung_server",
    ),
    seen(
        "settle_time",
        "tests/cluster/parameters.rs",
        "what_a_parameter_says_is_done",
    ),
    seen(
        "sync_strict",
        "tests/cluster/parameters.rs",
        "what_a_parameter_says_is_done",
    ),
    seen(
        "unsafe_relax",
        "tests/cluster/arbiters.rs",
        "two_nodes_with_nothing_let_commits_wait_unless_told_not_to",
    ),
    seen(
        "sync_method",
        "tests/cluster/quorum.rs",
        "with_quorum_commit_a_lost_standby_is_not_felt",
    ),
    seen(
        "sync_num",
        "tests/cluster/arbiters.rs",
        "five_nodes_with_two_synchronous_standbys_lose_two_machines_at_once_and_no_commit",
    ),
    seen(
        "on_divergence",
        "tests/cluster/comes_back.rs",
        "what_was_the_primary_comes_back_by_itself",
    )
    .set_in("tests/cluster/stage.rs"),
    // The number of rounds, as decide::election gets it.
    seen(
        "xlog_check_count",
        "src/decide/election.rs",
        "nobody_wins_while_a_node_is_missing_until_patience_ends",
    )
    .by_another_name(),
    seen(
        "distlock_lock_cmd",
        "tests/cluster/migration.rs",
        "a_pha4pgsql_cluster_is_taken_over_as_documented",
    )
    .by_another_name(),
    seen(
        "distlock_unlock_cmd",
        "tests/cluster/migration.rs",
        "a_pha4pgsql_cluster_is_taken_over_as_documented",
    )
    .by_another_name(),
];

/// What nothing sees yet: how long one change of the cluster's configuration may take.
const UNSEEN: [&str; 1] = ["crm_attr_timeout"];

#[test]
fn every_parameter_is_set_in_a_test_that_sees_what_it_does() {
    let mut listed: Vec<&str> = SEEN.iter().map(|seen| seen.param).chain(UNSEEN).collect();
    let mut all: Vec<&str> = PARAMS.iter().map(|param| param.name).collect();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all, "each parameter is listed, and once");
    for Seen {
        param,
        file,
        test,
        set_in,
    } in SEEN
    {
        assert!(
            is_run(file, test),
            "{param}: {file} has no {test} that is run"
        );
        if let Some(set_in) = set_in {
            let text = read(set_in);
            let is_named = text.contains(&format!("\"{param}\""));
            assert!(is_named, "{param}: {set_in} does not name it");
        }
    }
}
