//! The agent on a real cluster: three nodes of Corosync, Pacemaker and PostgreSQL, and a client that writes all the
//! time and remembers what was acknowledged to it.
//!
//! A scenario is a story in named steps on one cluster, because a cluster takes a quarter of a minute to come up; the
//! step that fails is named. `cargo test --test cluster -- sync` runs those with `sync` in their name.
//! `EXPGSQL_ROUNDS=10` splits ten times in place of twice, `EXPGSQL_STOCK=1` has the stock agent and PAF meet the faults, too.

use std::process::ExitCode;

mod cluster {
    pub(crate) mod attributes;
    pub(crate) mod comes_back;
    pub(crate) mod commands;
    pub(crate) mod compare;
    pub(crate) mod features;
    pub(crate) mod getting_started;
    pub(crate) mod lag;
    pub(crate) mod machines;
    pub(crate) mod migration;
    pub(crate) mod network;
    pub(crate) mod operations;
    pub(crate) mod package;
    pub(crate) mod power_cut;
    pub(crate) mod quorum;
    pub(crate) mod redundancy;
    pub(crate) mod server;
    pub(crate) mod setup;
    pub(crate) mod split;
    pub(crate) mod stage;
    pub(crate) mod status;
    pub(crate) mod switchover;
    pub(crate) mod two_nodes;
    pub(crate) mod typed;
}

use cluster::{
    comes_back, commands, compare, features, getting_started, lag, machines, migration, network,
    operations, package, power_cut, quorum, server, setup, split, status, switchover, two_nodes,
};

fn main() -> ExitCode {
    lab::suite(lab::scenarios![
        server::a_sync_cluster_survives_what_happens_to_its_servers,
        machines::a_sync_cluster_survives_the_loss_of_machines,
        network::a_sync_cluster_survives_partitions_and_splits,
        server::an_async_cluster_survives_what_happens_to_its_servers,
        machines::an_async_cluster_survives_the_loss_of_machines,
        network::an_async_cluster_survives_partitions,
        comes_back::what_was_the_primary_comes_back_by_itself,
        power_cut::a_repair_survives_a_power_cut_or_says_what_to_do,
        switchover::switchovers_back_and_forth_leave_nothing_to_clean_up,
        features::slots_receivers_edited_and_outside_standbys_are_looked_after,
        quorum::with_quorum_commit_a_lost_standby_is_not_felt,
        split::repeated_splits_lose_nothing_with_quorum_commit,
        split::the_stock_agent_loses_commits_in_a_split,
        two_nodes::two_nodes_with_a_lock_service_survive_the_loss_of_either,
        two_nodes::two_nodes_with_a_lock_service_survive_splits,
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
        lag::a_standby_far_behind_is_nobodys_successor,
        setup::three_nodes_are_set_up_from_one_file,
        setup::two_nodes_are_set_up_from_one_file,
        setup::a_cluster_of_the_stock_agent_is_taken_over,
        compare::it_is_up_sooner_costs_less_and_is_whole_again_by_itself,
    ])
}
