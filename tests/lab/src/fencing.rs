//! A fence device for a cluster whose story has fencing.
//!
//! It reports success and switches nothing off: a host can't reach the lab. The story switches off what is to be fenced,
//! and only that: the device is like one with a power supply of its own, which answers while the machine is dead.

use std::os::unix::fs::PermissionsExt;

use crate::error::{Error, Result};
use crate::host::Node;

/// The device's type; the resource is called so as well.
pub(crate) const TYPE: &str = "fence_lab";

const SCRIPT: &str = r#"#!/bin/sh
action=$(sed -n 's/^ *action *= *//p' | tail -n 1)
case "${1:-} $action" in
*metadata*)
  cat <<END
<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="says that it fenced">
<longdesc>Says that it fenced, and does nothing.</longdesc>
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
  ;;
esac
exit 0
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
