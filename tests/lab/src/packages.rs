//! The Debian packages a lab needs, and whether there can be a lab here at all.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::progress::note;

/// Set to `skip` to leave the lab's scenarios out.
pub const SWITCH_VARIABLE: &str = "EXPGSQL_LAB";

/// Package and a file that only it brings.
const NEEDED: [(&str, &str); 19] = [
    ("pacemaker", "/usr/sbin/pacemakerd"),
    ("corosync", "/usr/sbin/corosync"),
    ("corosync-qnetd", "/usr/bin/corosync-qnetd"),
    ("corosync-qdevice", "/usr/sbin/corosync-qdevice"),
    ("pacemaker-cli-utils", "/usr/sbin/crm_mon"),
    (
        "resource-agents",
        "/usr/lib/ocf/resource.d/heartbeat/IPaddr2",
    ),
    (
        "resource-agents-paf",
        "/usr/lib/ocf/resource.d/heartbeat/pgsqlms",
    ),
    ("psmisc", "/usr/bin/fuser"),
    ("iproute2", "/usr/sbin/tc"),
    ("iptables", "/usr/sbin/ebtables"),
    ("postgresql", "/usr/bin/pg_lsclusters"),
    ("pcs", "/usr/sbin/pcs"),
    ("crmsh", "/usr/sbin/crm"),
    ("libxml2-utils", "/usr/bin/xmllint"),
    ("openssh-client", "/usr/bin/ssh"),
    // Not openssh-server, which would be enabled as a service of this machine; dropbear-bin is only the program.
    ("dropbear-bin", "/usr/sbin/dropbear"),
    ("locales", "/usr/share/i18n/locales/de_DE"),
    ("make", "/usr/bin/make"),
    ("rpm", "/usr/bin/rpmbuild"),
];

/// Time for apt on a slow line.
const INSTALL: Duration = Duration::from_secs(900);

/// Whether a lab can be built here: root, and not switched off. A scenario that meets [`Error::Skipped`] counts itself
/// as left out; [`Error::NotRoot`] is a failure, because a run that silently tested nothing would look green.
///
/// # Errors
/// [`Error::Skipped`] with `EXPGSQL_LAB=skip`, else [`Error::NotRoot`].
pub fn available() -> Result<()> {
    if std::env::var_os(SWITCH_VARIABLE).is_some_and(|v| v == "skip") {
        return Err(Error::Skipped);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(())
}

/// Installs what is missing. No service is started by it, and none of the machine's own is touched.
///
/// # Errors
/// [`Error::Failed`] from apt; [`Error::Other`] where there is no apt.
pub fn install() -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    // Another test program may be at it.
    let _alone = crate::place::lock("install")?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::Other(format!(
            "missing here: {}; the lab can install them only with apt",
            missing.join(" ")
        )));
    }
    note(format!("installing {}", missing.join(" ")));
    let _services_stay_down = NoServices::begin()?;
    apt(&["update"])?;
    apt(&[
        &["install", "-y", "--no-install-recommends"],
        missing.as_slice(),
    ]
    .concat())?;
    Ok(())
}

/// Installs one more package, for what not every lab needs; `file` is what only it brings.
///
/// # Errors
/// As [`install`].
pub fn install_also(package: &str, file: &str) -> Result<()> {
    if Path::new(file).exists() {
        return Ok(());
    }
    let _alone = crate::place::lock("install")?;
    note(format!("installing {package}"));
    let _services_stay_down = NoServices::begin()?;
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", package]).map(drop)
}

/// The packages of [`NEEDED`].
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NEEDED.iter().map(|(package, _)| *package)
}

fn apt(args: &[&str]) -> Result<String> {
    Cmd::new(&[&["apt-get", "-q"], args].concat())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .limit(INSTALL)
        .ok()
}

fn missing() -> Vec<&'static str> {
    let is_there = |file: &str| Path::new(file).exists();
    let missing = NEEDED.iter().filter(|(_, file)| !is_there(file));
    missing.map(|(package, _)| *package).collect()
}

/// While this lives, packages can't start services (Debian's policy-rc.d). A policy that is there already is kept.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        Cmd::new(&[
            "sh",
            "-c",
            r#"printf '#!/bin/sh\nexit 101\n' >"$1" && chmod 755 "$1""#,
            "sh",
            POLICY,
        ])
        .ok()?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
