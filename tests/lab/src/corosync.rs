//! Corosync and Pacemaker on a node.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::host::Node;
use crate::process::Cmd;
use crate::progress::note;
use crate::spec::Spec;
use crate::{poll, pool, quorum_device};

/// Pacemaker's log, in which the agents' lines are too.
pub const LOG: &str = "/var/log/pacemaker/pacemaker.log";
/// corosync's own log.
pub(crate) const OWN_LOG: &str = "/var/log/corosync/corosync.log";

/// For how many rounds the token goes on at full speed after the last message. By default it is 30, some 150 rounds a second
/// while Pacemaker works; nine daemons beside each other spend a fifth of two cores on it. What is measured keeps the default.
fn idle_rounds() -> &'static str {
    if pool::has_neighbours() {
        "  seqno_unchanged_const: 3\n"
    } else {
        ""
    }
}

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
    // As `pcs cluster setup` writes it: with two_node corosync has a node that starts wait for the other, unless told not to.
    let of_quorum = match (spec.nodes, spec.wait_for_all) {
        _ if spec.quorum_device => quorum_device::config(),
        (2, true) => "  two_node: 1\n".to_owned(),
        (2, false) => "  two_node: 1\n  wait_for_all: 0\n".to_owned(),
        _ => String::new(),
    };
    format!(
        "totem {{
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: aes256
  crypto_hash: sha256
  token: {token}
{idle_rounds}}}
nodelist {{
{list}}}
quorum {{
  provider: corosync_votequorum
{of_quorum}}}
logging {{
  to_logfile: yes
  logfile: {OWN_LOG}
  to_syslog: no
  timestamp: hires
}}
",
        token = spec.token.as_millis(),
        idle_rounds = idle_rounds()
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
///
/// A controller holds its cluster's actions back, down to one at a time, while its machine's load is above 80 % of its cores
/// (`load-threshold`; "High CPU load detected"). All labs of a machine see the same load, which is not theirs: with four of them a
/// switchover took 17 s in place of 3. What is measured, alone, keeps the default.
fn first_properties() -> String {
    let mut properties = vec![("dc-deadtime", "2s")];
    if pool::has_neighbours() {
        properties.push(("load-threshold", "10000%"));
    }
    let pair = |(name, value): (&str, &str)| {
        format!(r#"<nvpair id="cib-bootstrap-options-{name}" name="{name}" value="{value}"/>"#)
    };
    let pairs: String = properties.into_iter().map(pair).collect();
    format!(
        r#"<crm_config><cluster_property_set id="cib-bootstrap-options">{pairs}</cluster_property_set></crm_config>"#
    )
}

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

/// First time only: what the packages would have made.
pub(crate) fn prepare_directories(node: &Node) -> Result<()> {
    node.sh("install -d -m 0750 /var/log/corosync /var/log/cluster /var/lib/corosync && install -d -o hacluster -g haclient -m 0770 /var/log/pacemaker && install -d -o hacluster -g haclient -m 0750 /var/lib/pacemaker/cib")?.ok().map(drop)
}

/// First time only: what the packages would have made, and the first CIB.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    prepare_directories(node)?;
    // An empty one by Pacemaker itself: in the newest schema it has, which the resources need.
    let empty = node.command(&["cibadmin", "--empty"])?.ok()?;
    let first = empty.replace("<crm_config/>", &first_properties());
    node.write_file(
        "/var/lib/pacemaker/cib/cib.xml",
        first,
        "hacluster:haclient",
        "600",
    )
}

/// What systemd does for Pacemaker's unit of Debian's package: `Restart=on-failure`, `RestartSec=1s`, `SuccessExitStatus=100`
/// (what pacemakerd ends with where it is not to be started again), `KillMode=process` (the other daemons live on without
/// pacemakerd), and `Requires=corosync.service`: with Pacemaker corosync is started, too. corosync's own unit restarts nothing: one
/// that died stays away until somebody starts it. Not done: giving up after five starts within 25 s.
pub(crate) const SERVICE: &str = r#"#!/bin/sh
is_up() { corosync-cfgtool -s >/dev/null 2>&1; }
while :; do
    if ! is_up; then
        setsid corosync -f >>/var/log/corosync/out.log 2>&1 </dev/null &
        started=$!
        until is_up; do
            kill -0 $started 2>/dev/null || break
            sleep 0.1
        done
    fi
    env PCMK_logfile="$1" PCMK_debug=no pacemakerd -f >>/var/log/pacemaker/out.log 2>&1 </dev/null
    case $? in
    # An end in order: 0, 100, and the signals that systemd takes for one (HUP, INT, PIPE, TERM).
    0 | 100 | 129 | 130 | 141 | 143) exit 0 ;;
    esac
    sleep 1
done
"#;

/// Where [`SERVICE`] is, inside the node.
const SERVICE_FILE: &str = "/run/lab-service";

/// Starts both daemons, as two services that are looked after, and waits for corosync.
fn start(node: &Node) -> Result<()> {
    node.write_file(SERVICE_FILE, SERVICE, "root:root", "700")?;
    node.daemon(
        &format!("{SERVICE_FILE} {LOG}"),
        "/var/log/pacemaker/service.log",
    )?;
    wait(node)
}

impl Cluster {
    /// Starts everything that makes a node one of the cluster's.
    pub(crate) fn start_node(&self, node: &Node) -> Result<()> {
        start(node)?;
        if self.spec().quorum_device {
            quorum_device::ask(node)?;
        }
        Ok(())
    }

    /// Starts corosync alone, as `systemctl start corosync` does, on a node where it died. Pacemaker finds it.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it does not come up.
    pub fn start_corosync(&self, node: &Node) -> Result<()> {
        note(format!("starting corosync on {}", node.name()));
        node.daemon("corosync -f", "/var/log/corosync/out.log")?;
        wait(node)
    }
}

fn wait(node: &Node) -> Result<()> {
    let limit = Duration::from_secs(30);
    poll::until(limit, Duration::from_millis(50), || {
        node.run(&["corosync-cfgtool", "-s"])
            .and_then(crate::process::Output::ok)
    })
    .map(drop)
    .map_err(|error| Error::Timeout {
        what: format!("corosync on {}", node.name()),
        limit,
        seen: error.to_string(),
        evidence: node.tail("/var/log/corosync/out.log", 20)
            + &node.tail("/var/log/corosync/corosync.log", 20),
    })
}
