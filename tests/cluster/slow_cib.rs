//! A promotion while another node's CIB is slow to answer.

use std::time::Duration;

use lab::{Allowed, Node, RepMode, Result};

use super::machines::most_important_standby;
use super::stage::{LIMIT, ON_DIVERGENCE, Stage, wrong};

/// Longer than a promotion takes by far, and shorter than Pacemaker leaves a daemon that is silent.
const SLOW: Duration = Duration::from_secs(7);

pub(crate) fn a_slow_cib_elsewhere_does_not_keep_the_cluster_without_a_primary() -> Result<()> {
    let stage = Stage::set(RepMode::Sync, |builder| {
        builder.param(ON_DIVERGENCE, "rewind_or_rebuild")
    })?;
    stage.step(
        "the third node's CIB is slow at the promotion",
        Allowed::failover(),
        |stage| {
            let (old, next) = lose_the_primary(stage)?;
            // There is nobody else who could be promoted, and the old primary stays away.
            let new = stage.taken_over_from(old)?;
            println!("         {} took over from {}", new.name(), old.name());
            if new.name() != next.name() {
                return Err(wrong(format!("{} was promoted", new.name())));
            }
            stage.writes_go_on()?;
            stage.lab.power_on(old)?;
            stage.recovers()
        },
    )
}

/// The primary's machine dies. When the standby in the claim is about to write down that it is promoted, the CIB of the other
/// one stops for some seconds. Gives the old primary, which is off, and the one that is promoted.
fn lose_the_primary(stage: &Stage) -> Result<(&Node, &Node)> {
    let lab = &stage.lab;
    let (old, next) = (lab.primary()?, most_important_standby(stage)?);
    let standbys = lab.standbys()?;
    let other = standbys.iter().find(|node| node.name() != next.name());
    let other = other.ok_or_else(|| wrong("there is no second standby"))?;
    lab.hold_cib_changes(next)?;
    lab.power_off(old)?;
    lab.eventually(
        "a promotion is about to be recorded",
        LIMIT,
        |lab| match lab.is_cib_change_held(next) {
            Ok(true) => Ok(()),
            Ok(false) => Err("nothing is written".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )?;
    lab.freeze_cib(other)?;
    lab.release_cib_changes(next)?;
    // Not a wait for anything: it is how long the fault lasts.
    lab::rest(SLOW);
    lab.thaw_cib(other)?;
    Ok((old, next))
}
