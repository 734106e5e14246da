//! `cluster cleanup`

use std::io::{self, Write as _};

use crate::cluster::{Exit, Failure};
use crate::sys::Deadline;

use super::args::WaitArgs;
use super::scene::Scene;
use super::tools;
use super::wait::Watch;

/// Has Pacemaker forget the failures, and waits until it has found out anew what runs where.
///
/// # Errors
/// [`Exit::Failed`] where something fails again, [`Exit::TimedOut`] where it goes on for longer than the limit.
pub(super) fn cleanup(args: &WaitArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.which.resource.as_deref())?;
    let failures = scene.listed()?;
    for failure in &failures {
        let _ = writeln!(io::stdout(), "{failure}");
    }
    let mut watch = Watch::begin()?;
    watch.doing("forgiving failures");
    let deadline = Deadline::after(args.timeout);
    tools::cleanup(scene.handle())?;
    for follower in &scene.followers {
        tools::cleanup(follower.name.as_str())?;
    }
    watch.doing("waiting until Pacemaker has settled");
    let is_settled = tools::is_settled(deadline.remaining())?;
    scene.refresh()?;
    if let Some(again) = scene.failures()?.first() {
        return Err(Failure::plain(format!("it failed again: {again}")));
    }
    if !is_settled {
        return Err(Failure::new(
            Exit::TimedOut,
            format!(
                "the failures are forgiven, but Pacemaker did not settle within {} s: crm_mon -1Afr shows what it is doing",
                args.timeout.as_secs()
            ),
        ));
    }
    watch.say(match failures.len() {
        0 => "there was no failure to forgive",
        1 => "this failure is forgiven",
        _ => "these failures are forgiven",
    });
    Ok(())
}
