//! The agent on a real cluster: three nodes of Corosync, Pacemaker and PostgreSQL, and a client that writes all the
//! time and remembers what was acknowledged to it.
//!
//! A scenario is a story in named steps on one cluster, because a cluster takes a quarter of a minute to come up; the
//! step that fails is named. `cargo test --test cluster -- sync` runs those with `sync` in their name; several run beside
//! each other, `EXPGSQL_LABS` at a time.
//! `EXPGSQL_SITE=drawn` has each on a site that is drawn for it (tests/lab/README.md).
//! `EXPGSQL_ROUNDS=10` splits ten times in place of twice, `EXPGSQL_STOCK=1` has the stock agent and PAF meet the faults, too.

use std::process::ExitCode;

mod cluster {
    pub(crate) mod addresses;
    pub(crate) mod arbiters;
    pub(crate) mod attributes;
    pub(crate) mod backlog;
    pub(crate) mod between_looks;
    pub(crate) mod by_hand;
    pub(crate) mod chosen;
    pub(crate) mod comes_back;
    pub(crate) mod commands;
    pub(crate) mod compare;
    pub(crate) mod contended;
    pub(crate) mod daemons;
    pub(crate) mod deep;
    pub(crate) mod degraded;
    pub(crate) mod features;
    pub(crate) mod fencing;
    pub(crate) mod forgotten_target;
    pub(crate) mod getting_started;
    pub(crate) mod heavier_cib;
    pub(crate) mod held;
    pub(crate) mod impostor;
    pub(crate) mod interrupted;
    pub(crate) mod killed_between;
    pub(crate) mod lag;
    pub(crate) mod large_frames;
    pub(crate) mod lease;
    pub(crate) mod machines;
    pub(crate) mod migration;
    pub(crate) mod network;
    pub(crate) mod nodes;
    pub(crate) mod not_waited_for;
    pub(crate) mod noticed;
    pub(crate) mod operations;
    pub(crate) mod package;
    pub(crate) mod parameters;
    pub(crate) mod power_cut;
    pub(crate) mod preferences;
    pub(crate) mod quorum;
    pub(crate) mod recovery;
    pub(crate) mod redundancy;
    pub(crate) mod refused;
    pub(crate) mod server;
    pub(crate) mod setup;
    pub(crate) mod sites;
    pub(crate) mod slow_cib;
    pub(crate) mod split;
    pub(crate) mod stage;
    pub(crate) mod stale_route;
    pub(crate) mod status;
    pub(crate) mod switchover;
    pub(crate) mod topologies;
    pub(crate) mod two_nodes;
    pub(crate) mod two_votes;
    pub(crate) mod typed;
    pub(crate) mod unattended;
    pub(crate) mod upgrades;
    pub(crate) mod upkeep;
    pub(crate) mod waits_for_all;
    pub(crate) mod worst_day;
}

use cluster::{
    addresses, arbiters, backlog, between_looks, by_hand, chosen, comes_back, commands, compare,
    contended, daemons, deep, degraded, features, fencing, forgotten_target, getting_started,
    heavier_cib, held, impostor, interrupted, killed_between, lag, large_frames, lease, machines,
    migration, network, nodes, not_waited_for, noticed, operations, package, parameters, power_cut,
    preferences, quorum, recovery, refused, server, setup, sites, slow_cib, split, stale_route,
    status, switchover, topologies, two_nodes, two_votes, unattended, upgrades, upkeep,
    waits_for_all, worst_day,
};

fn main() -> ExitCode {
    // The longest first: nothing is left at the end that all others have to wait for.
    let beside = lab::scenarios![
        killed_between::the_agent_may_be_killed_at_any_point_of_a_switchover,
        killed_between::the_agent_may_be_killed_at_any_point_of_stop_start_and_monitor,
        killed_between::the_agent_may_be_killed_at_any_point_of_a_repair,
        killed_between::the_agent_may_be_killed_wherever_it_uses_the_lock,
        worst_day::what_to_do_when_is_what_helps,
        interrupted::a_command_that_is_ended_may_be_run_again,
        nodes::nodes_come_go_and_are_replaced_under_load,
        upgrades::the_agent_is_replaced_node_by_node,
        upgrades::postgresql_gets_a_minor_version_node_by_node,
        upgrades::postgresql_gets_a_major_version_by_pg_upgrade,
        upgrades::pacemaker_2_and_3_run_one_cluster,
        server::a_sync_cluster_survives_what_happens_to_its_servers,
        machines::a_sync_cluster_survives_the_loss_of_machines,
        network::a_sync_cluster_survives_partitions_and_splits,
        server::an_async_cluster_survives_what_happens_to_its_servers,
        machines::an_async_cluster_survives_the_loss_of_machines,
        network::an_async_cluster_survives_partitions,
        by_hand::a_server_promoted_by_hand_never_takes_the_cluster_over,
        slow_cib::a_slow_cib_elsewhere_does_not_keep_the_cluster_without_a_primary,
        comes_back::what_was_the_primary_comes_back_by_itself,
        daemons::a_primary_outlives_each_daemon_of_its_cluster,
        daemons::a_standby_outlives_each_daemon_of_its_cluster,
        power_cut::a_repair_survives_a_power_cut_or_says_what_to_do,
        switchover::switchovers_back_and_forth_leave_nothing_to_clean_up,
        features::slots_receivers_edited_and_outside_standbys_are_looked_after,
        backlog::a_power_cut_of_the_site_loses_nothing_of_a_backlog,
        backlog::a_power_cut_of_the_site_loses_nothing_of_a_backlog_with_quorum_commit,
        backlog::a_power_cut_of_two_nodes_loses_nothing_of_a_backlog,
        deep::deep_monitors_run_beside_the_plain_ones,
        degraded::a_degraded_standby_takes_over_as_soon_as_any_other,
        preferences::a_barred_standby_is_waited_for_last,
        preferences::lists_say_who_is_waited_for_and_who_is_promoted,
        held::a_standby_that_would_not_replay_all_it_has_is_no_successor,
        impostor::a_server_with_a_nodes_name_confirms_nothing_for_it,
        not_waited_for::a_standby_that_is_not_waited_for_is_nobodys_successor,
        between_looks::a_standby_that_stops_between_two_looks_is_nobodys_successor,
        large_frames::a_revocation_that_nobody_else_has_lets_no_commit_go,
        forgotten_target::a_forgotten_recovery_target_loses_nothing,
        heavier_cib::a_promotion_outlives_a_merge_with_a_cib_that_changed_more,
        heavier_cib::a_standby_that_was_cut_off_is_no_successor_though_its_cib_wins,
        quorum::repairs_go_on_with_quorum_commit,
        quorum::with_quorum_commit_a_lost_standby_is_not_felt,
        split::repeated_splits_lose_nothing_with_quorum_commit,
        split::the_stock_agent_loses_commits_in_a_split,
        stale_route::a_standby_that_reaches_the_old_primary_confirms_it_nothing,
        two_nodes::two_nodes_with_a_lock_service_survive_the_loss_of_either,
        two_nodes::two_nodes_with_a_lock_service_survive_splits,
        arbiters::an_async_pair_has_one_primary_at_a_time_by_its_lease,
        arbiters::four_nodes_with_two_synchronous_standbys_lose_two_machines_and_no_commit,
        arbiters::five_nodes_with_two_synchronous_standbys_lose_two_machines_at_once_and_no_commit,
        arbiters::two_nodes_with_nothing_let_commits_wait_unless_told_not_to,
        arbiters::two_nodes_with_a_quorum_device_survive_the_loss_of_either,
        arbiters::two_nodes_with_a_quorum_device_lose_nothing_whoever_starts_first,
        arbiters::an_operator_names_the_node_that_waits_for_whom_is_lost,
        fencing::two_nodes_with_a_power_strip_fence_each_other_and_lose_nothing,
        waits_for_all::one_of_two_that_starts_alone_waits_for_the_other,
        two_votes::two_nodes_without_a_lock_lose_nothing_while_a_controller_hangs,
        two_votes::two_nodes_with_fencing_lose_nothing_to_one_that_starts_alone,
        addresses::reads_go_on_with_no_standby_left,
        chosen::setup_leaves_what_two_nodes_have_chosen,
        addresses::a_primary_that_lost_its_gateway_gives_way_and_none_where_all_lost_it,
        lease::the_lease_binds_a_primary_that_cannot_read_the_cib,
        lease::a_promotion_longer_than_the_lease_keeps_it,
        refused::what_a_site_does_to_a_primary_costs_no_commit_and_no_restart,
        unattended::a_lost_machine_is_not_waited_for_and_missing_slots_are_told,
        sites::a_grown_site_fails_over_and_back,
        sites::a_hardened_site_fails_over_and_back,
        sites::a_debian_site_fails_over_and_back,
        sites::a_site_that_speaks_no_english_fails_over_and_back,
        commands::an_operator_repairs_a_node_by_hand,
        operations::an_operator_runs_the_cluster,
        operations::an_operator_gives_the_recorded_primary_up,
        operations::an_operator_runs_a_cluster_with_quorum_commit,
        operations::an_operator_runs_an_async_cluster,
        operations::an_operator_runs_two_nodes_with_a_lock_service,
        package::a_cluster_runs_from_the_debian_package,
        getting_started::three_machines_become_a_cluster_as_documented,
        migration::a_cluster_of_the_stock_agent_is_taken_over_as_documented,
        migration::a_stock_primary_is_lost_while_the_agent_changes,
        migration::a_pha4pgsql_cluster_is_taken_over_as_documented,
        status::an_operator_sees_what_is_wrong,
        status::an_operator_sees_what_the_lock_service_does,
        parameters::what_a_parameter_says_is_done,
        parameters::what_a_parameter_says_is_done_in_async_mode,
        parameters::what_a_parameter_of_the_lock_says_is_done,
        contended::conditional_changes_of_all_nodes_are_one_after_the_other,
        topologies::archives_balancers_and_a_standby_outside_see_a_failover_through,
        lag::a_standby_far_behind_is_nobodys_successor,
        recovery::a_recovery_longer_than_the_start_goes_on_to_its_end,
        upkeep::neither_an_archive_nor_a_lost_slot_holds_a_cluster_up,
        setup::three_nodes_are_set_up_from_one_file,
        noticed::a_lost_machine_is_noticed_sooner_where_corosync_is_told_of_the_network,
        setup::two_nodes_are_set_up_from_one_file,
        setup::a_cluster_of_the_stock_agent_is_taken_over,
    ];
    // What meets the cluster's software in the most places. `cargo lab matrix` runs more.
    let trixie = lab::scenarios_on![Trixie, "trixie":
        switchover::switchovers_back_and_forth_leave_nothing_to_clean_up,
        setup::three_nodes_are_set_up_from_one_file,
    ];
    let forky = lab::scenarios_on![Forky, "forky":
        machines::a_sync_cluster_survives_the_loss_of_machines,
        contended::conditional_changes_of_all_nodes_are_one_after_the_other,
        switchover::switchovers_back_and_forth_leave_nothing_to_clean_up,
        setup::three_nodes_are_set_up_from_one_file,
    ];
    // First one of each suite, for its root has to be made: the others of the suite would only wait for that, and what needs no
    // root goes on meanwhile.
    let (of_forky, of_trixie) = (forky.split_at(1), trixie.split_at(1));
    let (soon, later) = beside.split_at(6);
    let beside = [
        of_forky.0,
        of_trixie.0,
        soon,
        of_forky.1,
        of_trixie.1,
        later,
    ]
    .concat();
    // They compare times.
    let alone = lab::scenarios![compare::it_is_up_sooner_costs_less_and_is_whole_again_by_itself];
    lab::pool(&beside, alone)
}
