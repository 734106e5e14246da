//! The actions, and the table of what the metadata suggests for each.

use std::time::Duration;

/// An OCF action, as it is named on the command line.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Action {
    Start,
    Stop,
    Status,
    Monitor,
    Promote,
    Demote,
    Notify,
    /// Called after a change of parameters that are all `reloadable`. `reload` is its name before OCF 1.1.
    #[strum(to_string = "reload-agent", serialize = "reload")]
    ReloadAgent,
    MetaData,
    ValidateAll,
    Methods,
    #[strum(to_string = "usage", serialize = "help")]
    Usage,
}

impl Action {
    /// One line for the help text.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Start => "start PostgreSQL, as a standby where it is replicated",
            Self::Stop => "stop PostgreSQL",
            Self::Status => "is it running? 0 yes, 8 yes and primary, 7 no",
            Self::Monitor => "is it running as it should? On a primary also: who may replace it",
            Self::Promote => {
                "make this standby the primary, if no acknowledged commit can be lost by it"
            }
            Self::Demote => "turn the primary into a running standby",
            Self::Notify => "told before and after each change elsewhere in the cluster",
            Self::ReloadAgent => "take over changed parameters that need no restart",
            Self::MetaData => "print the description Pacemaker reads, in XML",
            Self::ValidateAll => "check the parameters; with OCF_CHECK_LEVEL=10 this machine too",
            Self::Methods => "print the names of the actions",
            Self::Usage => "print this help",
        }
    }
}

/// A role as Pacemaker 2.1 and newer name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Role {
    Promoted,
    Unpromoted,
}

/// One line of the metadata's `actions`: what a configuration tool fills in when the user says nothing.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    pub action: Action,
    /// Time Pacemaker allows the action.
    pub timeout: Duration,
    /// Time between two runs; `None` for what does not recur.
    pub interval: Option<Duration>,
    /// The OCF check level, for monitor and validate-all; `None`: not shown.
    pub depth: Option<u8>,
    /// The role the monitor is for; `None`: every role but Promoted.
    pub role: Option<Role>,
}

/// What the metadata declares, in its order. The values are those of the shell agents, so that changing a resource's type changes no timeouts.
///
/// The monitors differ in their interval because Pacemaker tells operations apart by name and interval alone.
pub const ACTIONS: &[ActionSpec] = &[
    once(Action::Start, 120),
    once(Action::Stop, 120),
    once(Action::Status, 60),
    monitor(30, 0, None),
    monitor(29, 0, Some(Role::Promoted)),
    monitor(60, 10, None),
    monitor(61, 10, Some(Role::Promoted)),
    monitor(120, 20, None),
    monitor(121, 20, Some(Role::Promoted)),
    once(Action::Promote, 120),
    once(Action::Demote, 120),
    once(Action::Notify, 90),
    once(Action::ReloadAgent, 20),
    once(Action::MetaData, 5),
    once(Action::ValidateAll, 5),
    once(Action::Methods, 5),
];

const fn once(action: Action, timeout: u64) -> ActionSpec {
    ActionSpec {
        action,
        timeout: Duration::from_secs(timeout),
        interval: None,
        depth: None,
        role: None,
    }
}

const fn monitor(interval: u64, depth: u8, role: Option<Role>) -> ActionSpec {
    ActionSpec {
        action: Action::Monitor,
        timeout: Duration::from_secs(30),
        interval: Some(Duration::from_secs(interval)),
        depth: Some(depth),
        role,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::{ACTIONS, Action};

    #[test]
    fn every_action_survives_display_then_parse() {
        for action in Action::VARIANTS {
            assert_eq!(action.to_string().parse(), Ok(*action));
        }
    }

    #[test]
    fn names_are_those_of_the_ocf_api_and_old_names_are_accepted() {
        let cases = [
            ("reload-agent", Action::ReloadAgent),
            ("reload", Action::ReloadAgent),
            ("meta-data", Action::MetaData),
            ("validate-all", Action::ValidateAll),
            ("usage", Action::Usage),
            ("help", Action::Usage),
        ];
        for (text, action) in cases {
            assert_eq!(text.parse(), Ok(action), "{text}");
        }
        for text in ["", "Start", "migrate_to", "no_cmd", "start "] {
            assert!(text.parse::<Action>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn every_action_but_usage_is_in_the_table() {
        for action in Action::VARIANTS {
            let declared = ACTIONS.iter().any(|spec| spec.action == *action);
            assert_eq!(declared, *action != Action::Usage, "{action}");
        }
    }

    #[test]
    fn no_two_recurring_actions_share_name_and_interval() {
        let recurring: Vec<_> = ACTIONS
            .iter()
            .filter_map(|spec| {
                spec.interval
                    .map(|interval| (spec.action.to_string(), interval))
            })
            .collect();
        let distinct: BTreeSet<_> = recurring.iter().collect();
        assert_eq!(distinct.len(), recurring.len(), "{recurring:?}");
    }
}
