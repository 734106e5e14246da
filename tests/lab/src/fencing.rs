//! Fence devices of a cluster whose story has fencing.
//!
//! The one of [`crate::Builder::fencing`] reports success and switches nothing off: the story switches off what is to be fenced, and only that.
//!
//! The one of [`crate::Builder::power_strip`] switches off. Each node reaches the strip by a line of its own, which is no part of the lab's
//! network and which no cut of that touches, as that of a power strip or of a management board is meant to be: a directory of the lab
//! machine's, in which the agent leaves what it asks for, and finds the answer. A node that was switched off stays off until somebody switches
//! it on (`pcmk_reboot_action=off`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::{Node, Outlook};
use crate::poll;
use crate::progress::note;

/// The device's type; the resource is called so as well.
pub(crate) const TYPE: &str = "fence_lab";

/// The line to the strip: on a host's disk, and in the host.
pub(crate) const LINE: &str = "power-strip";

/// How often the strip looks for requests.
const LOOK: Duration = Duration::from_millis(50);

const SCRIPT: &str = r#"#!/bin/sh
line=/run/power-strip
said=$(cat)
value() { printf '%s\n' "$said" | sed -n "s/^ *$1 *= *//p" | tail -n 1; }
action=$(value action)
case "${1:-} $action" in
*metadata*)
  cat <<END
<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="fence device of the lab">
<longdesc>Switches a host of the lab off by its power strip. Where the lab has none it says that it did, and does nothing.</longdesc>
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/><shortdesc lang="en">Action</shortdesc></parameter>
<parameter name="port" unique="0" required="0"><content type="string"/><shortdesc lang="en">Node</shortdesc></parameter>
</parameters>
<actions>
<action name="on" automatic="0"/><action name="off"/><action name="reboot"/><action name="status"/>
<action name="monitor"/><action name="metadata"/>
</actions>
</resource-agent>
END
  exit 0
  ;;
esac
[ -d $line ] || exit 0
case "$action" in
off | reboot) ;;
*) exit 0 ;;
esac
port=$(value port)
printf '%s' "$port" >"$line/.$$" && mv "$line/.$$" "$line/off.$$" || exit 1
tries=0
until [ -e "$line/done.$$" ]; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || exit 1
  sleep 0.1
done
rm -f "$line/done.$$"
"#;

/// Puts it on the disk of a node that is off.
pub(crate) fn lay_out(node: &Node) -> Result<()> {
    let dir = node.disk("usr").join("sbin");
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
    let path = dir.join(TYPE);
    std::fs::write(&path, SCRIPT).map_err(Error::io(format!("write {}", path.display())))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .map_err(Error::io(format!("chmod {}", path.display())))
}

/// Gives a node that is off a line to the strip.
pub(crate) fn lay_line(node: &Node) -> Result<()> {
    let dir = node.private(LINE);
    std::fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))
}

/// The strip, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct PowerStrip {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is plugged in.
struct Plug {
    name: String,
    line: PathBuf,
    outlook: Outlook,
}

impl PowerStrip {
    /// Plugs the nodes in, and serves them.
    pub(crate) fn begin(nodes: &[Node]) -> Self {
        let plug = |node: &Node| Plug {
            name: node.name().to_owned(),
            line: node.private(LINE),
            outlook: node.outlook(),
        };
        let plugs: Vec<Plug> = nodes.iter().map(plug).collect();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for plug in &plugs {
                    serve(plug, &plugs);
                }
                poll::rest(LOOK);
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for PowerStrip {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Does what one node asks for. What fails is not answered, and the agent says so in the end.
fn serve(asker: &Plug, plugs: &[Plug]) {
    for request in requests(&asker.line) {
        // One that was switched off meanwhile asks for nothing any more.
        if asker.outlook.pid().is_none() {
            let _ = std::fs::remove_file(&request);
            continue;
        }
        let wanted = std::fs::read_to_string(&request).unwrap_or_default();
        let target = plugs
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(&wanted));
        let is_off = target.is_some_and(|target| target.outlook.cut_power().is_ok());
        note(format!(
            "{} has {wanted} switched off: {is_off}",
            asker.name
        ));
        let id = request.extension().unwrap_or_default().to_owned();
        let _ = std::fs::remove_file(&request);
        if is_off {
            let mut done = request.with_file_name("done");
            done.set_extension(id);
            let _ = std::fs::write(done, "");
        }
    }
}

fn requests(line: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(line).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_stem().is_some_and(|stem| stem == "off"))
        .collect()
}
