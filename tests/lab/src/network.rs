//! The lab's network: one bridge in a network namespace of its own. Addresses exist only inside; nothing leaves.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use crate::error::{Error, Result};
use crate::process::{Cmd, ProcessId};

/// First three parts of every address.
pub const NET: &str = "10.77.0";
/// The virtual address of the primary (`vip-master`).
pub const WRITER_ADDRESS: &str = "10.77.0.100";
/// The virtual address of a standby (`vip-slave`).
pub const READER_ADDRESS: &str = "10.77.0.101";
/// The address of the host with the lock service.
pub const LOCK_ADDRESS: &str = "10.77.0.201";

/// The switch that all hosts hang on. A cut cable is a filter rule in it, so cuts hold for every protocol, ARP
/// included, for virtual addresses too, and outlive a host's power cycle.
#[derive(Debug)]
pub(crate) struct Switch {
    process: ProcessId,
}

impl Switch {
    /// A switch without hosts. It ends with the lifeline, and then removes `dir`: the cleaner for a lab process that
    /// was killed before it could.
    pub(crate) fn start(dir: &Path, lifeline: OwnedFd) -> Result<Self> {
        let script = r#"cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && break; sleep 0.5; done"#;
        let mut command = Cmd::new(&[
            "unshare",
            "--net",
            "--",
            "sh",
            "-c",
            script,
            "sh",
            &dir.display().to_string(),
        ])
        .to_command();
        command
            .current_dir("/")
            .stdin(Stdio::from(lifeline))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().map_err(Error::io("start the switch"))?;
        let process = ProcessId::of(child.id().cast_signed())
            .ok_or_else(|| Error::Other("the switch ended at once".into()))?;
        let switch = Self { process };
        // unshare(2) may not have happened yet; until then this would configure the machine's own network.
        crate::poll::until(
            std::time::Duration::from_secs(10),
            crate::poll::QUICK,
            || if switch.is_apart() { Ok(()) } else { Err(()) },
        )
        .map_err(|()| Error::Other("the switch got no network namespace of its own".into()))?;
        switch.sh("ip link set lo up && ip link add br0 type bridge && ip link set br0 up")?;
        Ok(switch)
    }

    /// The switch of a lab that is up.
    pub(crate) fn attach(process: ProcessId) -> Self {
        Self { process }
    }

    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }

    fn is_apart(&self) -> bool {
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        net(&self.process.pid.to_string()).is_some_and(|theirs| Some(theirs) != net("self"))
    }

    fn sh(&self, line: &str) -> Result<String> {
        let pid = self.process.pid.to_string();
        Cmd::new(&["nsenter", "--target", &pid, "--net", "--", "sh", "-c", line]).ok()
    }

    /// Connects a host's new network namespace. The card keeps its address over a power cycle, as a real one does.
    pub(crate) fn plug(&self, host: &str, pid: i32, mac: &str) -> Result<()> {
        let port = port(host);
        // The old port disappears with the old namespace, which the kernel ends in its own time.
        self.sh(&format!(
            "ip link del {port} 2>/dev/null; ip link add {port} type veth peer name eth0 address {mac} netns {pid} && ip link set {port} master br0 up"
        ))
        .map(drop)
    }

    /// Drops, or lets pass again, every frame of these one-way connections.
    pub(crate) fn set(&self, cut: Cut, ways: &[(&str, &str)]) -> Result<()> {
        let rules = ways.iter().map(|(from, to)| {
            let rule = format!("FORWARD -i {} -o {} -j DROP", port(from), port(to));
            match cut {
                // Never twice: healing removes one rule.
                Cut::Dropped => format!("ebtables -D {rule} 2>/dev/null; ebtables -A {rule}"),
                Cut::Passing => format!("ebtables -D {rule} 2>/dev/null; :"),
            }
        });
        let script = rules.collect::<Vec<_>>().join(" || exit 1\n");
        self.sh(&script).map(drop)
    }

    /// Lets everything pass.
    pub(crate) fn heal(&self) -> Result<()> {
        self.sh("ebtables -F FORWARD").map(drop)
    }

    /// The one-way connections that are cut.
    pub(crate) fn cuts(&self) -> Result<Vec<(String, String)>> {
        let listed = self.sh("ebtables -L FORWARD")?;
        let host = |word: Option<&str>| word.and_then(|w| w.strip_prefix("p-")).map(str::to_owned);
        Ok(listed
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let after = |flag: &str| {
                    words
                        .iter()
                        .position(|w| *w == flag)
                        .and_then(|i| words.get(i + 1).copied())
                };
                Some((host(after("-i"))?, host(after("-o"))?))
            })
            .collect())
    }

    /// Limits what the switch sends to a host from one TCP port of others.
    pub(crate) fn throttle(&self, host: &str, from_port: u16, kbit: u32) -> Result<()> {
        let dev = port(host);
        // The queue is short: the sender is to notice, and what waits in it is to be less than wal_sender_timeout long.
        self.sh(&format!(
            "tc qdisc del dev {dev} root 2>/dev/null; tc qdisc add dev {dev} root handle 1: htb default 10 && \
             tc class add dev {dev} parent 1: classid 1:10 htb rate 10gbit && \
             tc class add dev {dev} parent 1: classid 1:20 htb rate {kbit}kbit burst 64kb cburst 64kb && \
             tc qdisc add dev {dev} parent 1:20 bfifo limit 512kb && \
             tc filter add dev {dev} parent 1: protocol ip u32 match ip protocol 6 0xff match ip sport {from_port} 0xffff flowid 1:20"
        ))
        .map(drop)
    }

    /// Shapes what the switch sends to a host (the host's own card shapes what it sends).
    pub(crate) fn shape(&self, host: &str, discipline: Option<&str>) -> Result<()> {
        self.sh(&shaping(&port(host), discipline)).map(drop)
    }
}

/// A shell line that sets or removes the queueing discipline of a device.
pub(crate) fn shaping(device: &str, discipline: Option<&str>) -> String {
    match discipline {
        Some(what) => format!("tc qdisc replace dev {device} root {what}"),
        None => format!("tc qdisc del dev {device} root 2>/dev/null; :"),
    }
}

/// What a one-way connection does with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Dropped,
    Passing,
}

/// The switch's end of a host's cable. A device's name has 15 characters: of a long name the first part.
fn port(host: &str) -> String {
    format!("p-{}", first_part(host))
}

/// A host's name up to its first dot.
pub(crate) fn first_part(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}
