//! ssh between the hosts, as root and without a question, with keys that only this lab knows. The machine's own
//! /etc/ssh and /root/.ssh are not visible in a host: the host's are mounted over them.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host::Node;
use crate::poll;
use crate::process::Cmd;

/// The directory on a host's disk, and what of it stands over /etc/ssh and over /root/.ssh.
pub(crate) const DISK: &str = "ssh";
pub(crate) const ETC: &str = "etc";
pub(crate) const ROOT: &str = "root";

const HOST_KEY: &str = "dropbear_ed25519_host_key";
const USER_KEY: &str = "id_ed25519";
const PID_FILE: &str = "/run/dropbear.pid";
const LOG: &str = "/var/log/dropbear.log";
/// Time for the server to listen.
const LISTEN: Duration = Duration::from_secs(20);

/// Makes the keys, and lays them with the configuration on the disks of hosts that are off.
pub(crate) fn lay_out(hosts: &[&Node]) -> Result<()> {
    let Some(first) = hosts.first() else {
        return Ok(());
    };
    let mut known = String::new();
    for host in hosts {
        let etc = host.private(DISK).join(ETC);
        make(&etc)?;
        make(&host.private(DISK).join(ROOT))?;
        let public = host_key(&etc.join(HOST_KEY))?;
        known += &format!("{},{} {public}\n", host.name(), host.address());
    }
    // One identity for all: who may log in to one may log in to each.
    let identity = first.private(DISK).join(ROOT).join(USER_KEY);
    user_key(&identity)?;
    let (private, public) = (read(&identity)?, read(&identity.with_extension("pub"))?);
    for host in hosts {
        let root = host.private(DISK).join(ROOT);
        write(&root.join(USER_KEY), &private)?;
        write(&root.join("authorized_keys"), &public)?;
        write(&root.join("known_hosts"), &known)?;
    }
    Ok(())
}

/// Starts the server in a host that was just booted.
pub(crate) fn start(host: &Node) -> Result<()> {
    // -F: stay, -E: log to standard error, -s: no passwords. The host's end is its end.
    host.daemon(
        &format!("dropbear -F -E -s -r /etc/ssh/{HOST_KEY} -P {PID_FILE}"),
        LOG,
    )?;
    // Written once it listens.
    poll::until(LISTEN, poll::QUICK, || {
        host.run(&["test", "-s", PID_FILE])
            .and_then(crate::process::Output::ok)
    })
    .map(drop)
    .map_err(|error| Error::Timeout {
        what: format!("ssh server of {}", host.name()),
        limit: LISTEN,
        seen: error.to_string(),
        evidence: host.tail(LOG, 20),
    })
}

fn make(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Error::io(format!("create {}", dir.display())))
}

/// Makes a host's key and gives the public half, in the form of known_hosts.
fn host_key(path: &Path) -> Result<String> {
    let path = path.display().to_string();
    let said = Cmd::new(&["dropbearkey", "-t", "ed25519", "-f", &path]).ok()?;
    said.lines()
        .find(|line| line.starts_with("ssh-ed25519 "))
        .map(str::to_owned)
        .ok_or_else(|| Error::Other(format!("dropbearkey named no public key: {said}")))
}

fn user_key(path: &Path) -> Result<()> {
    let path = path.display().to_string();
    let quiet = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab"];
    Cmd::new(&[&quiet[..], &["-f", &path]].concat())
        .ok()
        .map(drop)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))
}

/// Writes a file that only root can read: ssh refuses any other private key.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io(format!("write {}", path.display())))
}
