//! `cluster stop`

use std::io::{self, Write as _};

use crate::cluster::{Failure, ask};

use super::args::StopArgs;
use super::scene::Scene;
use super::tools::{self, Meta};
use super::wait::{Look, Watch};

/// Stops the resource everywhere, and waits until it is stopped.
///
/// # Errors
/// [`Failure`]: refused, a stop that failed, or one that takes longer than the limit.
pub(super) fn stop(args: &StopArgs) -> Result<(), Failure> {
    let mut scene = Scene::look(args.which.resource.as_deref())?;
    // A server that is left running would be stopped when that ends, which nobody expects then.
    scene.require_managed_at(|node| scene.is_active_at(node))?;
    let primary = scene.settled_primary();
    let serves = primary.as_ref().map_or_else(
        || "there is no primary".to_owned(),
        |primary| format!("{primary} is the primary; its clients are cut off"),
    );
    let handle = scene.handle().to_owned();
    let _ = writeln!(
        io::stdout(),
        "Stop {handle} on all nodes\n  now            {serves}\n  \
         afterwards     no server and no address is up, until expgsql cluster start"
    );
    if !args.yes {
        ask::agree()?;
    }
    let mut watch = Watch::begin()?;
    watch.doing(&format!("stopping {handle}"));
    tools::set_meta(&handle, Meta::TargetRole, "Stopped")?;
    watch
        .until(&mut scene, args.timeout, |scene| {
            if let Some(failure) = scene.failed_stop() {
                return Look::Never(Failure::plain(failure));
            }
            match scene.still_runs(|_| true) {
                None => Look::Done(()),
                Some(what) => Look::NotYet(what),
            }
        })
        .map_err(|ended| {
            ended.after(&format!(
                "{handle} is told to stop (target-role=Stopped), and Pacemaker goes on with it; expgsql cluster start takes that back"
            ))
        })?;
    watch.say(&format!("{handle} is stopped on all nodes"));
    Ok(())
}
