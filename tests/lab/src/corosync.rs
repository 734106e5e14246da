//! Corosync and Pacemaker on a node.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::Node;
use crate::poll;
use crate::process::Cmd;
use crate::spec::Spec;

/// Pacemaker's log, in which the agents' lines are too.
pub const LOG: &str = "/var/log/pacemaker/pacemaker.log";

/// One key a line: corosync rejects sections written on one line.
pub(crate) fn config(spec: &Spec, nodes: &[Node]) -> String {
    let list: String = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| {
            format!(
                "  node {{\n    ring0_addr: {}\n    name: {}\n    nodeid: {}\n  }}\n",
                node.address(),
                node.name(),
                i + 1
            )
        })
        .collect();
    // Without wait_for_all=0 a two-node cluster would never start on one node after both lost power.
    let two_node = if spec.nodes == 2 {
        "  two_node: 1\n  wait_for_all: 0\n"
    } else {
        ""
    };
    format!(
        "totem {{
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: aes256
  crypto_hash: sha256
  token: {token}
}}
nodelist {{
{list}}}
quorum {{
  provider: corosync_votequorum
{two_node}}}
logging {{
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
  to_syslog: no
  timestamp: hires
}}
",
        token = spec.token.as_millis()
    )
}

/// A key of 256 random bytes.
pub(crate) fn key() -> Result<Vec<u8>> {
    use std::io::Read;
    let mut key = vec![0; 256];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(Error::io("read /dev/urandom"))?;
    Ok(key)
}

/// What a node's first cluster information base holds beyond an empty one. A controller that starts waits
/// `dc-deadtime`, 20 s by default, before it elects itself when it hears of no other; nothing but a start waits for it.
const FIRST_PROPERTIES: &str = r#"<crm_config><cluster_property_set id="cib-bootstrap-options"><nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="2s"/></cluster_property_set></crm_config>"#;

/// Lays corosync's files and the first CIB on the disk of a node that is off.
pub(crate) fn lay_out(node: &Node, config: &str, key: &[u8]) -> Result<()> {
    let etc = node.disk("etc").join("corosync");
    std::fs::create_dir_all(&etc).map_err(Error::io(format!("create {}", etc.display())))?;
    std::fs::write(etc.join("corosync.conf"), config).map_err(Error::io("write corosync.conf"))?;
    std::fs::write(etc.join("authkey"), key).map_err(Error::io("write authkey"))?;
    Cmd::new(&["chmod", "400", &etc.join("authkey").display().to_string()])
        .ok()
        .map(drop)
}

/// First time only: what the packages would have made, and the first CIB.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    node.sh("install -d -m 0750 /var/log/corosync /var/log/cluster /var/lib/corosync && install -d -o hacluster -g haclient -m 0770 /var/log/pacemaker && install -d -o hacluster -g haclient -m 0750 /var/lib/pacemaker/cib")?.ok()?;
    // An empty one by Pacemaker itself: in the newest schema it has, which the resources need.
    let empty = node.command(&["cibadmin", "--empty"])?.ok()?;
    let first = empty.replace("<crm_config/>", FIRST_PROPERTIES);
    node.write_file(
        "/var/lib/pacemaker/cib/cib.xml",
        first,
        "hacluster:haclient",
        "600",
    )
}

/// Starts both daemons and waits for corosync.
pub(crate) fn start(node: &Node) -> Result<()> {
    node.daemon("corosync -f", "/var/log/corosync/out.log")?;
    let limit = Duration::from_secs(30);
    poll::until(limit, Duration::from_millis(50), || {
        node.run(&["corosync-cfgtool", "-s"])
            .and_then(crate::process::Output::ok)
    })
    .map_err(|error| Error::Timeout {
        what: format!("corosync on {}", node.name()),
        limit,
        seen: error.to_string(),
        evidence: node.tail("/var/log/corosync/out.log", 20)
            + &node.tail("/var/log/corosync/corosync.log", 20),
    })?;
    node.daemon(
        &format!("env PCMK_logfile={LOG} PCMK_debug=no pacemakerd -f"),
        "/var/log/pacemaker/out.log",
    )
}
