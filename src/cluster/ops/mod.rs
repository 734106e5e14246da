//! The commands that change what the cluster does: start, stop, switch, reset-master, maintenance …

use super::Failure;

mod args;
mod cleanup;
mod maintenance;
mod reset_master;
mod scene;
mod standby;
mod start;
mod stop;
mod switch;
mod tools;
mod wait;

pub use args::Operation;

/// Does what `operation` says.
///
/// # Errors
/// [`Failure`] with the sentence for the operator.
pub(super) fn run(operation: &Operation) -> Result<(), Failure> {
    match operation {
        Operation::Start(args) => start::start(args),
        Operation::Stop(args) => stop::stop(args),
        Operation::Switch(args) => switch::switch(args),
        Operation::Cleanup(args) => cleanup::cleanup(args),
        Operation::ResetMaster(args) => reset_master::reset_master(args),
        Operation::Maintenance(_) => maintenance::of_cluster(true),
        Operation::Unmaintenance(_) => maintenance::of_cluster(false),
        Operation::MaintenanceNode(args) => maintenance::of_node(args, true),
        Operation::UnmaintenanceNode(args) => maintenance::of_node(args, false),
        Operation::StandbyNode(args) => standby::take_out(args),
        Operation::UnstandbyNode(args) => standby::put_back(args),
        Operation::Manage(args) => maintenance::of_resource(args, true),
        Operation::Unmanage(args) => maintenance::of_resource(args, false),
    }
}
