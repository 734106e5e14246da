//! Where a test says which point is to strike: files that only root can write.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{geteuid, getpid, getuid, seteuid};

use crate::sys::{Deadline, poll_until};

use super::{Control, Point};

/// Longer than any operation of Pacemaker's.
const LONGEST: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(20);

/// `NAME.kill` in it arms a point, `NAME.reached` is what is left of that when it has struck. `NAME.hold` has whoever comes there wait for
/// as long as it is there, and `NAME.held` says that somebody does. `control` names a rule that is out. All of it survives a power failure.
pub const DIRECTORY: &str = "/var/lib/expgsql-trial";

/// The agent is here. Where that is what a test has waited for, the process ends at once, as by `kill -9`, or is held up.
pub fn at(point: Point) {
    wait(point);
    let armed = place(&format!("{point}.kill"));
    if armed.exists() {
        strike(point, &armed);
        let _ = kill(getpid(), Signal::SIGKILL);
    }
}

/// Whether the file `control` names this rule.
pub fn lacks(control: Control) -> bool {
    static NAMED: OnceLock<Option<Control>> = OnceLock::new();
    let read = || {
        fs::read_to_string(place("control"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    *NAMED.get_or_init(read) == Some(control)
}

/// As on a machine that stalls: for as long as the test says.
fn wait(point: Point) {
    let hold = place(&format!("{point}.hold"));
    if !hold.exists() {
        return;
    }
    // The agent may act as the server's account at this moment, which may not write there.
    let acts_as = geteuid();
    let _ = seteuid(getuid());
    let _ = fs::write(place(&format!("{point}.held")), "");
    let _ = seteuid(acts_as);
    poll_until(Deadline::after(LONGEST), LOOK, || {
        (!hold.exists()).then_some(())
    });
}

fn place(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Once, and so that it is seen. The agent may act as the server's account at this moment, which may not write there; nothing comes
/// after this, so root's rights are not given back.
fn strike(point: Point, armed: &Path) {
    let _ = seteuid(getuid());
    // Where this fails, another process of the agent was here a moment before, and has left the mark.
    let _ = fs::rename(armed, place(&format!("{point}.reached")));
}
