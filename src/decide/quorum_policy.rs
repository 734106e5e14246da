//! Which `no-quorum-policy` a cluster needs: what Pacemaker does in a part without quorum.
//!
//! `stop` is right wherever votes or fencing decide. Of two nodes with corosync's `two_node` each has quorum when it loses the other, so
//! nothing stops there; one that *starts* alone has none before it has seen the other (`wait_for_all`), which is what fencing relies
//! on: a node that was fenced and does not see the other would fence it in turn. Only where a lock service decides, and nothing else,
//! is that wait in the way: the lock says whether the one that starts alone may be primary, after both lost power, say. There Pacemaker
//! has to go on without quorum (`ignore`), and also where corosync has no `two_node`.

use crate::model::cluster_view::NoQuorumPolicy;

/// What decides who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Two at most: neither can outvote the other.
    pub two_nodes: bool,
    /// A lock service says who may be primary.
    pub has_lock: bool,
    /// Nodes are fenced.
    pub can_fence: bool,
    /// corosync has a quorum device.
    pub has_device: bool,
}

/// Between two nodes, and nothing else decides.
const fn lock_alone(means: Means) -> bool {
    means.two_nodes && means.has_lock && !means.can_fence && !means.has_device
}

/// The policy that is set where nobody chose one.
#[must_use]
pub const fn needed(means: Means) -> NoQuorumPolicy {
    if lock_alone(means) {
        NoQuorumPolicy::Ignore
    } else {
        NoQuorumPolicy::Stop
    }
}

/// What comes of a policy that somebody chose, where it is worse than what is needed.
#[must_use]
pub fn objection(chosen: NoQuorumPolicy, means: Means) -> Option<&'static str> {
    match (lock_alone(means), chosen == NoQuorumPolicy::Ignore) {
        (true, true) | (false, false) => None,
        (true, false) => Some(
            "one of the two nodes that starts alone, after both lost power, waits for the other and does not ask the lock service",
        ),
        (false, true) if !means.two_nodes || means.has_device => Some(
            "a part of the cluster without a majority goes on by itself, and commits wait for a standby that is out of reach until it is back",
        ),
        (false, true) if means.can_fence => Some(
            "one of the two nodes that starts alone fences the other, and commits wait for a standby that was fenced until it is back",
        ),
        (false, true) => {
            Some("one of the two nodes that starts alone goes on without having seen the other")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_is_ignored_only_where_a_lock_decides_and_nothing_else() {
        for two_nodes in [true, false] {
            for has_lock in [true, false] {
                for can_fence in [true, false] {
                    for has_device in [true, false] {
                        let means = Means {
                            two_nodes,
                            has_lock,
                            can_fence,
                            has_device,
                        };
                        let all = (two_nodes, has_lock, can_fence, has_device);
                        let is_ignored = all == (true, true, false, false);
                        let [other, expected] = match is_ignored {
                            true => [NoQuorumPolicy::Stop, NoQuorumPolicy::Ignore],
                            false => [NoQuorumPolicy::Ignore, NoQuorumPolicy::Stop],
                        };
                        assert_eq!(needed(means), expected, "{means:?}");
                        assert_eq!(objection(expected, means), None, "{means:?}");
                        assert!(objection(other, means).is_some(), "{means:?}");
                        // None of these starts anything without quorum.
                        for policy in [
                            NoQuorumPolicy::Freeze,
                            NoQuorumPolicy::Demote,
                            NoQuorumPolicy::Suicide,
                        ] {
                            assert_eq!(
                                objection(policy, means).is_some(),
                                is_ignored,
                                "{means:?} {policy}"
                            );
                        }
                    }
                }
            }
        }
    }
}
