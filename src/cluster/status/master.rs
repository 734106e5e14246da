//! `cluster master`: the primary's name, and nothing else.

use crate::decide::why::and;
use crate::model::cluster_view::{NoQuorumPolicy, Quorum};
use crate::model::node_name::NodeName;

use super::args::MasterArgs;
use super::look::{Depth, look};
use super::show::print;
use crate::cluster::{Exit, Failure};

/// Prints the primary's node.
///
/// # Errors
/// [`Failure`]: there is none, or nobody here can know.
pub(in crate::cluster) fn master(args: &MasterArgs) -> Result<(), Failure> {
    let seen = look(args.resource.as_deref(), Depth::Cib)?;
    if seen.quorum != Quorum::Yes && seen.no_quorum_policy != NoQuorumPolicy::Ignore {
        return Err(Failure::new(
            Exit::NoQuorum,
            "this node's part of the cluster has no quorum: who is the primary elsewhere is not known here",
        ));
    }
    let all: Vec<&str> = seen.primaries().map(NodeName::as_str).collect();
    match all.as_slice() {
        [one] => print(one),
        [] => Err(Failure::new(
            Exit::NoPrimary,
            "the cluster has no primary; expgsql cluster why says why",
        )),
        several => Err(Failure::plain(format!(
            "{} are all on record as the primary; expgsql cluster status shows more",
            and(several)
        ))),
    }
}
