//! Where a test says which point is to strike: files that only root can write.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{getpid, getuid, seteuid};

use super::{Control, Point};

/// `NAME.kill` in it arms a point, `NAME.reached` is what is left of that when it has struck, and `control` names a rule that is out.
/// It survives a power failure.
pub const DIRECTORY: &str = "/var/lib/expgsql-trial";

/// The agent is here. Where that is what a test has waited for, the process ends at once, as by `kill -9`.
pub fn at(point: Point) {
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
