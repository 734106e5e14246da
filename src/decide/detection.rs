//! How long a lost machine goes unnoticed: corosync's token, and then its consensus, have to pass. What they may be lowered to, or
//! should be raised to, follows from the network.
//!
//! Source: corosync.conf(5): the real token is `token + (nodes - 2) * token_coefficient`, the consensus 1.2 times the real token where
//! none is set; with three nodes and more it must be longer than the token, with two one that is longer than `join` (50 ms) is safe.

use std::time::Duration;

/// corosync's own default of `token_coefficient`.
const COEFFICIENT: Duration = Duration::from_millis(650);
/// And of `token`.
const TOKEN: Duration = Duration::from_secs(3);

/// What is between the nodes. It decides how long a healthy node may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// Machines in one place, with two links between them: nobody is silent for a second
    Local,
    /// Virtual machines, which stand still while they are moved or saved
    Virtual,
    /// Rented machines, whose maintenance stops them for longer
    Cloud,
    /// What corosync does by itself
    Default,
}

impl Network {
    /// Why it is no less, and what is risked, in one sentence.
    #[must_use]
    pub const fn risk(self) -> &'static str {
        match self {
            Self::Local => {
                "a node that is silent for longer, by a stalled switch or a machine that swaps, is taken for lost though it is well"
            }
            Self::Virtual => {
                "a machine that stands still for longer while it is moved or a snapshot is made is taken for lost though it is well"
            }
            Self::Cloud => {
                "maintenance stops a rented machine for up to some tens of seconds; the guides of the large providers ask for this value"
            }
            Self::Default => "a compromise that knows nothing of the network",
        }
    }
}

/// `totem` in corosync.conf. `None`: not set, so that corosync has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// `token`.
    pub token: Option<Duration>,
    /// `token_coefficient`.
    pub coefficient: Option<Duration>,
    /// `consensus`.
    pub consensus: Option<Duration>,
}

impl Timing {
    /// What suits a network, for so many nodes.
    #[must_use]
    pub fn advised(network: Network, nodes: usize) -> Self {
        let token = match network {
            Network::Local => Duration::from_secs(1),
            Network::Virtual => Duration::from_secs(3),
            Network::Cloud => Duration::from_secs(30),
            Network::Default => return Self::default(),
        };
        // Nobody else has to agree to the loss of one of two.
        let is_quick = network == Network::Local && nodes == 2;
        Self {
            token: Some(token),
            coefficient: Some(Duration::ZERO),
            consensus: is_quick.then(|| Duration::from_millis(200)),
        }
    }

    /// What corosync runs with: the real token, and the consensus.
    #[must_use]
    pub fn real(self, nodes: usize) -> (Duration, Duration) {
        let more = u32::try_from(nodes.saturating_sub(2)).unwrap_or(u32::MAX);
        let coefficient = self.coefficient.unwrap_or(COEFFICIENT);
        let token = self
            .token
            .unwrap_or(TOKEN)
            .saturating_add(coefficient.saturating_mul(more));
        let consensus = self.consensus.unwrap_or(token.saturating_mul(6) / 5);
        (token, consensus)
    }

    /// After how long a lost machine is out of the membership.
    #[must_use]
    pub fn noticed_after(self, nodes: usize) -> Duration {
        let (token, consensus) = self.real(nodes);
        token.saturating_add(consensus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lost_machine_is_noticed_when_token_and_consensus_have_passed() {
        let lan = |nodes| Timing::advised(Network::Local, nodes);
        let vm = |nodes| Timing::advised(Network::Virtual, nodes);
        for (timing, nodes, real, noticed) in [
            // corosync 3.1.7 tells 3650 and 4380 in runtime.config.totem.
            (Timing::default(), 3, (3650, 4380), 8030),
            (Timing::default(), 2, (3000, 3600), 6600),
            (Timing::default(), 1, (3000, 3600), 6600),
            (Timing::default(), 7, (6250, 7500), 13750),
            (lan(3), 3, (1000, 1200), 2200),
            (lan(7), 7, (1000, 1200), 2200),
            (lan(2), 2, (1000, 200), 1200),
            (vm(2), 2, (3000, 3600), 6600),
            (vm(5), 5, (3000, 3600), 6600),
        ] {
            let (token, consensus) = real;
            assert_eq!(timing.real(nodes), (ms(token), ms(consensus)), "{timing:?}");
            assert_eq!(timing.noticed_after(nodes), ms(noticed), "{timing:?}");
        }
        let huge = Timing {
            token: Some(Duration::MAX),
            ..Timing::default()
        };
        assert_eq!(huge.noticed_after(usize::MAX), Duration::MAX);
    }

    #[test]
    fn with_three_nodes_and_more_the_consensus_is_longer_than_the_token() {
        let all = [
            Network::Local,
            Network::Virtual,
            Network::Cloud,
            Network::Default,
        ];
        for network in all {
            for nodes in 3..17 {
                let (token, consensus) = Timing::advised(network, nodes).real(nodes);
                assert!(consensus > token, "{network:?} {nodes}");
            }
            // With two it is longer than corosync's join, 50 ms.
            assert!(Timing::advised(network, 2).real(2).1 > ms(50));
        }
    }
}
