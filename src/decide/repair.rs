//! What becomes of a node that cannot follow the primary.

use crate::model::repair::{OnDivergence, Work};

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
