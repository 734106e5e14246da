//! What becomes of a node that cannot follow the primary.

use crate::model::repair::{OnDivergence, Phase, Work};
use crate::model::repl_info::{Origin, ReplInfo};

use super::divergence::Misfit;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Repair(Work),
    /// Nothing is touched.
    Refuse(Why),
}

/// Why nothing is done, and what can be done instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `on_divergence=stop`: the operator decides; this would help.
    Asked(Work),
    /// A rewind was asked for, and can't help here.
    BeyondRewind,
    /// The primary's record counts this node among those that have acknowledged commits: then the primary may lack what
    /// is to be thrown away.
    Claimed,
}

/// The command of `expgsql` that does what is asked for.
const fn command(work: Work) -> &'static str {
    match work {
        Work::Rewind => "cluster rewind",
        Work::Rebuild => "cluster rebuild",
    }
}

/// Why nothing is done, and what to do, where `program` is how expgsql is called.
///
/// Pacemaker keeps 128 characters of an exit reason: the command and both positions, and no word more.
#[must_use]
pub fn refusal(misfit: &Misfit, why: Why, program: &str) -> String {
    match why {
        Why::Asked(work) => format!("run '{program} {}': {misfit}", command(work)),
        Why::BeyondRewind => format!("run '{program} {}': {misfit}", command(Work::Rebuild)),
        Why::Claimed => format!(
            "look at both nodes: {misfit}, and the cluster counts on this node's commits, which '{program} {}' would throw away \
             once its data are moved elsewhere",
            command(Work::Rebuild)
        ),
    }
}

/// What would help, and whether that throws away WAL that nobody else may have.
const fn remedy(misfit: &Misfit) -> (Work, bool) {
    match misfit {
        Misfit::Forked { .. } => (Work::Rewind, true),
        // pg_rewind looks for the last common timeline, which is this one.
        Misfit::Ahead { .. } => (Work::Rebuild, true),
        Misfit::Lacking { .. } | Misfit::Damaged => (Work::Rebuild, false),
    }
}

/// Whether the cluster counts on this node's WAL: the claim names it (`is_member`), and its WAL goes on past the recorded
/// promotion. A node whose WAL has not left the timeline that the recorded primary left has confirmed nothing to that
/// primary, whatever list it stands in: with quorum commit every node is in the list, the old primary, too.
///
/// By timelines alone, as the exact end of the old one is recorded only after the promotion.
#[must_use]
pub fn is_counted_on(misfit: &Misfit, is_member: bool, record: Option<&ReplInfo>) -> bool {
    let (Misfit::Forked { local, .. }
    | Misfit::Ahead { local, .. }
    | Misfit::Lacking { local, .. }) = misfit
    else {
        return is_member;
    };
    let has_followed = match record.map(|record| record.origin) {
        Some(Origin::Forked(switch)) => {
            let ancestors = &local.lineage.ancestors;
            ancestors.iter().any(|s| s.timeline == switch.timeline)
        }
        Some(Origin::NoHistory | Origin::Unstated) | None => true,
    };
    is_member && has_followed
}

/// Whether a running standby has what an earlier repair has left on its disk removed. `ended`: how the last repair ended, where
/// that is still noted. One that was given up is not tried again and again.
#[must_use]
pub fn is_to_clear_up(has_leftovers: bool, goes_on: bool, ended: Option<Phase>) -> bool {
    has_leftovers && !goes_on && ended != Some(Phase::Failed)
}

/// Chooses by what is the matter, what the operator allows, and whether the cluster counts on this node's data
/// (`is_claimed`; sync mode only).
#[must_use]
pub const fn plan(misfit: &Misfit, policy: OnDivergence, is_claimed: bool) -> Plan {
    let (helps, throws_away) = remedy(misfit);
    if throws_away && is_claimed {
        return Plan::Refuse(Why::Claimed);
    }
    match (policy, helps) {
        (OnDivergence::Stop, _) => Plan::Refuse(Why::Asked(helps)),
        (OnDivergence::Rewind, Work::Rebuild) => Plan::Refuse(Why::BeyondRewind),
        (OnDivergence::Rebuild, _) => Plan::Repair(Work::Rebuild),
        (OnDivergence::Rewind | OnDivergence::RewindOrRebuild, _) => Plan::Repair(helps),
    }
}

/// What a person's wish comes to, where `misfit` is what is the matter with this node's data, if anything is. `None`:
/// there is nothing to rewind.
///
/// # Errors
/// It can't help, or would throw away what the cluster counts on.
pub const fn by_hand(
    misfit: Option<&Misfit>,
    wish: Work,
    is_claimed: bool,
) -> Result<Option<Work>, (&Misfit, Why)> {
    let Some(misfit) = misfit else {
        return Ok(match wish {
            Work::Rewind => None,
            // The primary has everything this node has.
            Work::Rebuild => Some(Work::Rebuild),
        });
    };
    match (remedy(misfit), wish) {
        ((_, true), _) if is_claimed => Err((misfit, Why::Claimed)),
        ((Work::Rebuild, _), Work::Rewind) => Err((misfit, Why::BeyondRewind)),
        (_, wish) => Ok(Some(wish)),
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::model::lsn::Lsn;
    use crate::model::node_name::NodeName;
    use crate::model::timeline::WalPosition;

    fn misfits() -> [Misfit; 4] {
        let local = WalPosition {
            lineage: "1".parse().unwrap(),
            end: Lsn::new(0x200),
        };
        let primary = NodeName::new("node2").unwrap();
        [
            Misfit::Forked {
                local: local.clone(),
                fork: Lsn::new(0x100),
                timeline: local.lineage.timeline,
                primary: primary.clone(),
            },
            Misfit::Ahead {
                local: local.clone(),
                flushed: Lsn::new(0x100),
                primary: primary.clone(),
            },
            Misfit::Lacking { local, primary },
            Misfit::Damaged,
        ]
    }

    #[test]
    fn only_what_was_asked_for_is_done_and_only_where_it_helps() {
        use OnDivergence::{Rebuild, Rewind, RewindOrRebuild, Stop};
        let [forked, ahead, lacking, damaged] = misfits();
        let beyond = Plan::Refuse(Why::BeyondRewind);
        let asks = |work| Plan::Refuse(Why::Asked(work));
        let does = Plan::Repair;
        for (policy, expected) in [
            (
                Stop,
                [
                    asks(Work::Rewind),
                    asks(Work::Rebuild),
                    asks(Work::Rebuild),
                    asks(Work::Rebuild),
                ],
            ),
            (Rewind, [does(Work::Rewind), beyond, beyond, beyond]),
            (Rebuild, [does(Work::Rebuild); 4]),
            (
                RewindOrRebuild,
                [
                    does(Work::Rewind),
                    does(Work::Rebuild),
                    does(Work::Rebuild),
                    does(Work::Rebuild),
                ],
            ),
        ] {
            for (misfit, expected) in [&forked, &ahead, &lacking, &damaged]
                .into_iter()
                .zip(expected)
            {
                assert_eq!(plan(misfit, policy, false), expected, "{policy} {misfit}");
            }
        }
    }

    /// What docs/repair.md says is done with each of `misfits` where `policy` is set.
    fn documented(policy: OnDivergence) -> Vec<String> {
        let text = include_str!("../../docs/repair.md");
        let mut rows = text.lines().filter(|row| {
            row.strip_prefix(&format!("| `{policy}`"))
                .is_some_and(|rest| rest.starts_with([' ', '|']))
        });
        let row = rows.next().unwrap();
        let cells = row.trim_matches('|').split('|').skip(1);
        cells.map(|cell| cell.trim().to_owned()).collect()
    }

    #[test]
    fn what_is_documented_is_what_is_done() {
        for policy in OnDivergence::VARIANTS {
            let cell = |misfit: &Misfit| match plan(misfit, *policy, false) {
                Plan::Repair(Work::Rebuild) => "new copy".to_owned(),
                Plan::Repair(Work::Rewind) if *policy == OnDivergence::RewindOrRebuild => {
                    "pg_rewind; if that is refused or breaks, a new copy".to_owned()
                }
                Plan::Repair(Work::Rewind) => "pg_rewind".to_owned(),
                Plan::Refuse(why) => {
                    let text = refusal(misfit, why, "expgsql");
                    let (_, command) = text.split_once("run 'expgsql ").unwrap();
                    format!("refused, names `{}`", command.split('\'').next().unwrap())
                }
            };
            let done: Vec<String> = misfits().iter().map(cell).collect();
            assert_eq!(documented(*policy), done, "{policy}");
        }
    }

    #[test]
    fn what_an_interrupted_repair_has_left_is_removed_once() {
        for (has_leftovers, goes_on, ended, expected) in [
            (true, false, None, true),
            (true, false, Some(Phase::Starting), true),
            (true, false, Some(Phase::Failed), false),
            (true, true, None, false),
            (false, false, None, false),
            (false, false, Some(Phase::Starting), false),
        ] {
            assert_eq!(
                is_to_clear_up(has_leftovers, goes_on, ended),
                expected,
                "{has_leftovers} {goes_on} {ended:?}"
            );
        }
    }

    /// With quorum commit all nodes are in the claim. The old primary has confirmed nothing to the new one; a standby of the new
    /// one may have.
    #[test]
    fn a_node_is_counted_on_only_if_it_has_followed_the_recorded_primary() {
        let primary = NodeName::new("node2").unwrap();
        let ahead = |lineage: &str| Misfit::Ahead {
            local: WalPosition {
                lineage: lineage.parse().unwrap(),
                end: Lsn::new(0x900),
            },
            flushed: Lsn::new(0x100),
            primary: primary.clone(),
        };
        for (record, lineage, is_member, expected) in [
            // Promoted from timeline 1; this node never left it.
            (Some("node2|1|0000000000000100|2"), "1", true, false),
            (
                Some("node2|1|0000000000000100|2"),
                "2<1:0000000000000100",
                true,
                true,
            ),
            // The end is not recorded exactly yet: it has followed all the same.
            (
                Some("node2|1|0000000000000100|2"),
                "2<1:00000000000000C0",
                true,
                true,
            ),
            // Two promotions that it has missed.
            (Some("node2|2|0000000000000500|3"), "1", true, false),
            (
                Some("node2|2|0000000000000500|3"),
                "2<1:0000000000000100",
                true,
                false,
            ),
            // Nobody was promoted since the first primary: all share its timeline.
            (Some("node2|0|0000000000000000|1"), "1", true, true),
            (Some("node2"), "1", true, true),
            (None, "1", true, true),
            (
                Some("node2|1|0000000000000100|2"),
                "2<1:0000000000000100",
                false,
                false,
            ),
        ] {
            let record: Option<ReplInfo> = record.map(|r| r.parse().unwrap());
            assert_eq!(
                is_counted_on(&ahead(lineage), is_member, record.as_ref()),
                expected,
                "{record:?} {lineage} {is_member}"
            );
        }
        assert!(is_counted_on(&Misfit::Damaged, true, None));
    }

    /// What the cluster counts on is not thrown away, whatever was asked for.
    #[test]
    fn what_may_be_the_only_copy_is_kept() {
        let [forked, ahead, lacking, damaged] = misfits();
        for policy in OnDivergence::VARIANTS {
            for misfit in [&forked, &ahead] {
                assert_eq!(
                    plan(misfit, *policy, true),
                    Plan::Refuse(Why::Claimed),
                    "{policy}"
                );
            }
            for misfit in [&lacking, &damaged] {
                assert_eq!(
                    plan(misfit, *policy, true),
                    plan(misfit, *policy, false),
                    "{policy}"
                );
            }
        }
    }

    #[test]
    fn a_persons_wish_is_granted_unless_it_is_in_vain_or_destroys_what_counts() {
        let [forked, ahead, lacking, damaged] = misfits();
        use Work::{Rebuild, Rewind};
        for (misfit, wish, is_claimed, expected) in [
            (None, Rewind, true, Ok(None)),
            (None, Rebuild, true, Ok(Some(Rebuild))),
            (Some(&forked), Rewind, false, Ok(Some(Rewind))),
            (Some(&forked), Rebuild, false, Ok(Some(Rebuild))),
            (Some(&forked), Rewind, true, Err(Why::Claimed)),
            (Some(&forked), Rebuild, true, Err(Why::Claimed)),
            (Some(&ahead), Rewind, false, Err(Why::BeyondRewind)),
            (Some(&ahead), Rebuild, false, Ok(Some(Rebuild))),
            (Some(&ahead), Rebuild, true, Err(Why::Claimed)),
            (Some(&lacking), Rewind, true, Err(Why::BeyondRewind)),
            (Some(&lacking), Rebuild, true, Ok(Some(Rebuild))),
            (Some(&damaged), Rewind, false, Err(Why::BeyondRewind)),
            (Some(&damaged), Rebuild, false, Ok(Some(Rebuild))),
        ] {
            assert_eq!(
                by_hand(misfit, wish, is_claimed).map_err(|(_, why)| why),
                expected,
                "{misfit:?} {wish}"
            );
        }
    }

    #[test]
    fn what_pacemaker_shows_has_the_command_and_both_positions() {
        let local = WalPosition {
            lineage: "12".parse().unwrap(),
            end: Lsn::new(0x1A_6B37_4D84),
        };
        let misfit = Misfit::Forked {
            timeline: local.lineage.timeline,
            local,
            fork: Lsn::new(0x1A_6B37_4D80),
            primary: NodeName::new("database1").unwrap(),
        };
        let program = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
        let text = refusal(&misfit, Why::Asked(Work::Rewind), program);
        assert!(text.len() <= 128, "{} characters: {text}", text.len());
        for part in [
            "expgsql cluster rewind'",
            "12@1A/6B374D84",
            "12@1A/6B374D80",
        ] {
            assert!(text.contains(part), "{text}");
        }
        for misfit in misfits() {
            let text = refusal(&misfit, Why::BeyondRewind, program);
            assert!(
                text.starts_with(&format!("run '{program} cluster rebuild'")),
                "{text}"
            );
        }
    }
}
