//! One host: processes in namespaces of their own, on disks of their own.
//!
//! Its pid 1 is `cat`, reading the lab's lifeline, a pipe nobody writes to. When the last holder of the writing end is
//! gone, the lab process above all, however it ended, `cat` sees the end of the stream, exits, and the kernel
//! kills everything else in the pid namespace. SIGCHLD is ignored in it, so orphans need no reaping; a dead postmaster
//! left as a zombie would count as running for every agent that asks `kill -0`.
//!
//! Each boot has a boot id of its own, and its boot and monotonic clocks begin at nought, as those of a machine do that was
//! switched on: what was noted before a power failure is of another boot, with times that may be later than now.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::debian::Root;
use crate::error::{Error, Result};
use crate::network::Switch;
use crate::other_server::OtherServer;
use crate::poll;
use crate::process::{Cmd, Output, Process, ProcessId};

/// Time for a host to have its mounts.
const BOOT: Duration = Duration::from_secs(20);

/// Directories with an overlay of their own: name on the host's disk, mount point.
const OVERLAYS: [(&str, &str); 5] = [
    ("etc", "/etc"),
    ("var", "/var"),
    ("opt", "/opt"),
    ("root", "/root"),
    ("usr", "/usr"),
];

/// A host of the lab: a cluster node, or the client.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: String,
    mac: String,
    /// Its disk: the upper directories of its overlays.
    dir: PathBuf,
    /// What is below them.
    root: Root,
    power: Arc<Mutex<Power>>,
}

/// Where a host's pid 1 is, whoever asks and whenever.
#[derive(Clone, Debug)]
pub(crate) struct Outlook(Arc<Mutex<Power>>);

impl Outlook {
    /// The pid of its pid 1 as seen from the lab machine; `None`: it is off.
    pub(crate) fn pid(&self) -> Option<i32> {
        let power = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        power
            .init
            .filter(|init| init.is_alive())
            .map(|init| init.pid)
    }

    /// As [`Node::kill`].
    pub(crate) fn cut_power(&self) -> Result<()> {
        cut(&self.0)
    }
}

fn cut(power: &Mutex<Power>) -> Result<()> {
    let mut power = power.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(init) = power.init.take() {
        init.kill()?;
    }
    if let Some(mut parent) = power.parent.take() {
        let _ = parent.wait();
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Power {
    init: Option<ProcessId>,
    /// `unshare`, the parent of pid 1, when this process booted the host: to be reaped.
    parent: Option<Child>,
}

/// What has to be added to one of this machine's clocks so that it begins anew: `unshare` takes whole seconds, and the kernel
/// lets no clock begin before nought.
fn back_to_nought(clock: ClockId) -> Result<String> {
    let now = clock_gettime(clock).map_err(Error::sys("read a clock"))?;
    Ok((-now.tv_sec()).to_string())
}

impl Node {
    /// A host that is off; `number` gives its address and its card's.
    pub(crate) fn new(
        name: &str,
        number: u8,
        lab: &Path,
        root: &Root,
        init: Option<ProcessId>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            address: format!("{}.{number}", crate::network::NET),
            mac: format!("02:00:0a:4d:00:{number:02x}"),
            dir: lab.join(name),
            root: root.clone(),
            power: Arc::new(Mutex::new(Power { init, parent: None })),
        }
    }

    /// Its name, which is also Pacemaker's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its standby is called in the primary's views: the agent writes a node's name in lower case there.
    pub fn application_name(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// Where its directories come from.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Its address on the lab's network.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn outlook(&self) -> Outlook {
        Outlook(Arc::clone(&self.power))
    }

    /// Makes the empty disk.
    pub(crate) fn format_disk(&self) -> Result<()> {
        for (disk, _) in OVERLAYS {
            for part in ["up", "work"] {
                let dir = self.dir.join(disk).join(part);
                std::fs::create_dir_all(&dir)
                    .map_err(Error::io(format!("create {}", dir.display())))?;
            }
        }
        // The top of an overlay shows the upper directory's mode: /root must not become readable by everyone.
        Cmd::new(&["chmod", "700", &self.disk("root").display().to_string()])
            .ok()
            .map(drop)
    }

    /// Takes everything from the disk of a host that is off.
    pub(crate) fn wipe_disk(&self) -> Result<()> {
        for (disk, _) in OVERLAYS {
            let dir = self.dir.join(disk);
            std::fs::remove_dir_all(&dir)
                .map_err(Error::io(format!("remove {}", dir.display())))?;
        }
        Ok(())
    }

    /// A directory of the host that is mounted over the machine's own, which is not to be seen in it.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where a directory of the host lies on the lab machine: to lay out files before the host is booted. Writing
    /// there while it runs is undefined (overlayfs).
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("up")
    }

    /// Boots: new namespaces on the disk as it is, cable plugged in. Programs are the caller's to start.
    pub(crate) fn boot(&self, switch: &Switch, lifeline: OwnedFd) -> Result<()> {
        let ready = self.dir.join("ready");
        let _ = std::fs::remove_file(&ready);
        let boot_log = self.dir.join("boot.log");
        let log =
            File::create(&boot_log).map_err(Error::io(format!("create {}", boot_log.display())))?;
        let again = log
            .try_clone()
            .map_err(Error::io("duplicate a file descriptor"))?;
        let (boottime, monotonic) = (
            back_to_nought(ClockId::CLOCK_BOOTTIME)?,
            back_to_nought(ClockId::CLOCK_MONOTONIC)?,
        );
        let argv = [
            "unshare",
            "--time",
            "--boottime",
            &boottime,
            "--monotonic",
            &monotonic,
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            &self.boot_script()?,
        ];
        let mut command = Cmd::new(&argv).to_command();
        // A process group of its own: Ctrl-C is for the lab, which then ends its hosts in order.
        command
            .current_dir(&self.dir)
            .stdin(Stdio::from(lifeline))
            .stdout(log)
            .stderr(again)
            .process_group(0);
        let parent = command.spawn().map_err(Error::io("start unshare"))?;
        let pid = parent.id();
        let init = poll::until(BOOT, Duration::from_millis(5), || {
            if !ready.exists() {
                return Err("its mounts are not there");
            }
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
                .unwrap_or_default();
            children
                .split_whitespace()
                .next()
                .and_then(|c| c.parse().ok())
                .and_then(ProcessId::of)
                .ok_or("it has no pid 1")
        });
        let init = match init {
            Ok(init) => init,
            Err(seen) => {
                let evidence = std::fs::read_to_string(&boot_log).unwrap_or_default();
                return Err(Error::Timeout {
                    what: format!("boot of {}", self.name),
                    limit: BOOT,
                    seen: seen.into(),
                    evidence,
                });
            }
        };
        *self.power.lock().unwrap_or_else(PoisonError::into_inner) = Power {
            init: Some(init),
            parent: Some(parent),
        };
        switch.plug(&self.name, init.pid, &self.mac)?;
        self.sh(&format!(
            "ip addr add {}/24 dev eth0 && ip link set eth0 up",
            self.address
        ))?
        .ok()?;
        Ok(())
    }

    fn boot_script(&self) -> Result<String> {
        // Paths are relative to the disk: once /var or /tmp is mounted over, an absolute path would lead into the overlay.
        let mut overlays = String::new();
        for (disk, at) in OVERLAYS {
            let lower = self.root.lower(at, &self.dir)?;
            overlays += &format!(
                "mount -t overlay overlay -o lowerdir={lower},upperdir={disk}/up,workdir={disk}/work {at}\n"
            );
        }
        // The script is in BASE/LAB/HOST, and stays there when something is mounted over BASE: a path that is looked up anew is not.
        let mounted = |(it, base): (OtherServer, &Path)| {
            let (base, server) = (base.display(), it.directory());
            format!(
                "mkdir -p {base}/{server}\nmount --no-canonicalize --bind ../../{server} {base}/{server}\n"
            )
        };
        let servers: String = self.root.servers().map(mounted).collect();
        Ok(format!(
            "set -e
hostname {name}
{overlays}
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=1777 tmpfs /tmp
{servers}cat /proc/sys/kernel/random/uuid >/run/boot_id
chmod 444 /run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
mkdir -p /run/lock /run/user /run/resource-agents
mkdir -p /etc/ssh /root/.ssh
mount --bind {ssh}/{etc} /etc/ssh
mount --bind {ssh}/{root} /root/.ssh
[ ! -d {line} ] || {{ mkdir /run/{line}; mount --bind {line} /run/{line}; }}
install -d -o postgres -g postgres -m 2775 /run/postgresql
install -d -o hacluster -g haclient /run/crm
ip link set lo up
: > ready
cd /
exec env --ignore-signal=CHLD cat >/dev/null 2>&1
",
            name = self.name,
            line = crate::fencing::LINE,
            ssh = crate::ssh::DISK,
            etc = crate::ssh::ETC,
            root = crate::ssh::ROOT,
        ))
    }

    /// Its pid 1, as seen from the lab machine.
    ///
    /// # Errors
    /// [`Error::PoweredOff`].
    pub(crate) fn init(&self) -> Result<ProcessId> {
        let power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        power
            .init
            .filter(|init| init.is_alive())
            .ok_or_else(|| Error::PoweredOff(self.name.clone()))
    }

    /// Whether it is powered on.
    pub fn is_on(&self) -> bool {
        self.init().is_ok()
    }

    /// SIGKILL to pid 1: everything in the host dies at once, and this returns when it is dead. Already off: nothing.
    pub(crate) fn kill(&self) -> Result<()> {
        cut(&self.power)
    }

    /// Which boot this is: what the kernel calls it in the host.
    ///
    /// # Errors
    /// As [`Node::read_file`].
    pub fn boot_id(&self) -> Result<String> {
        self.read_file("/proc/sys/kernel/random/boot_id")
    }

    /// Time since the boot, by the host's own clock.
    ///
    /// # Errors
    /// As [`Node::read_file`].
    pub fn uptime(&self) -> Result<Duration> {
        let text = self.read_file("/proc/uptime")?;
        let seconds = text.split_whitespace().next().unwrap_or_default();
        seconds
            .parse()
            .map(Duration::from_secs_f64)
            .map_err(|_| Error::Other(format!("/proc/uptime says {text:?}")))
    }

    /// Where a place of the host, which is on, is for this process.
    ///
    /// # Errors
    /// [`Error::PoweredOff`].
    pub fn inside(&self, path: &str) -> Result<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.init()?.pid));
        Ok(root.join(path.trim_start_matches('/')))
    }

    /// The words that go before a command line to run it inside the host.
    ///
    /// # Errors
    /// [`Error::PoweredOff`].
    pub fn entry(&self, user: Option<&str>) -> Result<Vec<String>> {
        let pid = self.init()?.pid.to_string();
        let mut argv = vec![
            "nsenter", "--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--time",
            "--",
        ];
        if let Some(user) = user {
            argv.extend(["runuser", "-u", user, "--"]);
        }
        Ok(argv.into_iter().map(str::to_owned).collect())
    }

    /// A command inside the host, as root.
    ///
    /// # Errors
    /// [`Error::PoweredOff`].
    pub fn command<S: AsRef<str>>(&self, argv: &[S]) -> Result<Cmd> {
        Ok(Cmd::new(argv).behind(self.entry(None)?))
    }

    /// A command inside the host as another user.
    ///
    /// # Errors
    /// [`Error::PoweredOff`].
    pub fn as_user<S: AsRef<str>>(&self, user: &str, argv: &[S]) -> Result<Cmd> {
        Ok(Cmd::new(argv).behind(self.entry(Some(user))?))
    }

    /// Runs a command inside the host, as root, for at most [`crate::process::DEFAULT_LIMIT`].
    ///
    /// # Errors
    /// Those of [`Node::command`] and [`Cmd::run`]. A non-zero exit status is no error here: see [`Output::ok`].
    pub fn run<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output> {
        self.command(argv)?.run()
    }

    /// Runs a shell line inside the host, as root.
    ///
    /// # Errors
    /// As [`Node::run`].
    pub fn sh(&self, line: &str) -> Result<Output> {
        self.run(&["sh", "-c", line])
    }

    /// Starts a command inside the host and returns; what it writes goes to `lab directory/HOST/NAME.log`.
    ///
    /// # Errors
    /// As [`Node::command`].
    pub fn spawn<S: AsRef<str>>(&self, name: &str, argv: &[S]) -> Result<Process> {
        self.command(argv)?
            .spawn(&self.dir.join(format!("{name}.log")))
    }

    /// Starts a daemon: it belongs to the host's pid 1 and ends with it. Its output goes to `log` inside the host.
    pub(crate) fn daemon(&self, line: &str, log: &str) -> Result<()> {
        self.run(&[
            "setsid",
            "--fork",
            "sh",
            "-c",
            &format!("exec {line} >>{log} 2>&1 </dev/null"),
        ])?
        .ok()
        .map(drop)
    }

    /// A file as the host sees it.
    ///
    /// # Errors
    /// [`Error::Failed`] when it can't be read.
    pub fn read_file(&self, path: &str) -> Result<String> {
        self.command(&["cat", path])?.ok()
    }

    /// Writes a file inside the host, with this owner and mode (octal).
    ///
    /// # Errors
    /// [`Error::Failed`] when it can't be written.
    pub fn write_file(
        &self,
        path: &str,
        content: impl Into<Vec<u8>>,
        owner: &str,
        mode: &str,
    ) -> Result<()> {
        self.command(&[
            "sh",
            "-c",
            r#"cat >"$1" && chown "$2" "$1" && chmod "$3" "$1""#,
            "sh",
            path,
            owner,
            mode,
        ])?
        .input(content)
        .ok()
        .map(drop)
    }

    /// Last `lines` lines of a file; empty when there is none or the host is off.
    pub fn tail(&self, path: &str, lines: usize) -> String {
        self.run(&["tail", "-n", &lines.to_string(), path])
            .map(|o| o.stdout)
            .unwrap_or_default()
    }
}
