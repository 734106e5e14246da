//! The one lab of this program, put back to its first state for each scenario, and calls of the agent in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab::{Agent as AgentKind, Cluster, Error, Node, Output, Postgres, RepMode, Result};

use crate::put_back;

/// The agent as Pacemaker finds it.
pub(crate) const AGENT: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
pub(crate) const DATA: &str = "/var/lib/pgsql/data";
pub(crate) const CONFIG: &str = "/var/lib/pgsql/data/postgresql.conf";
pub(crate) const TMPDIR: &str = lab::postgres::TMPDIR;
/// The directory of the server's socket, for psql: where one looks by itself is its builder's choice.
pub(crate) const SOCKET: &str = "/run/postgresql";
pub(crate) const LOG: &str = lab::postgres::LOG;

/// Time for something that takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

static LAB: Mutex<Option<Arc<Cluster>>> = Mutex::new(None);

/// The hosts of the lab, as they were after their first boot.
pub(crate) struct Site {
    lab: Arc<Cluster>,
}

impl Site {
    /// Boots the lab if this is the first scenario; otherwise undoes what the last one left on its hosts.
    pub(crate) fn fresh() -> Result<Self> {
        let site = Self { lab: shared_lab()? };
        for node in site.lab.nodes() {
            site.restore(node)?;
        }
        Ok(site)
    }

    /// Ends every server of the host and puts its data, settings and logs back.
    pub(crate) fn restore(&self, node: &Node) -> Result<()> {
        let script = r#"
for exe in /proc/[0-9]*/exe; do
    case "$(readlink "$exe")" in */postgres) pid=${exe#/proc/}; kill -KILL "${pid%/exe}";; esac
done
umount -q /var/lib/pgsql/tmp /var/lib/pgsql/readonly || :
rm -rf /etc/postgresql-contract /var/lib/contract*
find /var/log/postgresql /run/postgresql -mindepth 1 -delete
test -e /var/lib/pgsql.first || exit 9
"#;
        node.sh(script)?.ok()?;
        let place = |path| node.inside(path);
        put_back::put_back(&place("/var/lib/pgsql.first")?, &place("/var/lib/pgsql")?)
            .map_err(|error| Error::Other(format!("put back the data of {}: {error}", node.name())))
    }

    pub(crate) fn lab(&self) -> &Cluster {
        &self.lab
    }

    /// The host on which the agent acts.
    pub(crate) fn host(&self) -> &Node {
        &self.lab.nodes()[0]
    }

    /// The host of a primary that no cluster manages.
    pub(crate) fn elsewhere(&self) -> &Node {
        &self.lab.nodes()[1]
    }

    /// PostgreSQL on [`Site::host`], by hand.
    pub(crate) fn postgres(&self) -> Postgres<'_> {
        self.lab.postgres(self.host())
    }

    /// PostgreSQL on [`Site::elsewhere`], by hand.
    pub(crate) fn primary(&self) -> Postgres<'_> {
        self.lab.postgres(self.elsewhere())
    }

    /// Runs a shell line on [`Site::host`] that must succeed.
    pub(crate) fn sh(&self, line: &str) -> Result<String> {
        self.host().sh(line)?.ok()
    }

    /// Adds a line to postgresql.conf.
    pub(crate) fn configure(&self, line: &str) -> Result<()> {
        self.host()
            .run(&["sh", "-c", r#"echo "$1" >>"$2""#, "sh", line, CONFIG])?
            .ok()
            .map(drop)
    }

    /// The agent on [`Site::host`], as Pacemaker calls it for a plain resource with rep_mode=none.
    pub(crate) fn agent(&self) -> Agent<'_> {
        let pgctl = self.lab.layout().program("pg_ctl");
        let agent = Agent {
            site: self,
            user: None,
            vars: BTreeMap::new(),
        };
        let meta = |name: &str| format!("OCF_RESKEY_CRM_meta_{name}");
        agent
            .var("OCF_ROOT", "/usr/lib/ocf")
            .var("OCF_RESOURCE_INSTANCE", "pgsql")
            .var("OCF_RESOURCE_TYPE", "expgsql")
            .var("OCF_RESOURCE_PROVIDER", "heartbeat")
            .var("OCF_RA_VERSION_MAJOR", "1")
            .var("OCF_RA_VERSION_MINOR", "1")
            .var(&meta("timeout"), "30000")
            .var(&meta("interval"), "10000")
            .var(&meta("on_node"), self.host().name())
            .param("pgctl", &pgctl)
            .param("pgdata", DATA)
            .param("logfile", LOG)
            .param("tmpdir", TMPDIR)
    }

    /// The agent for a standby of [`Site::elsewhere`].
    pub(crate) fn follower(&self) -> Agent<'_> {
        self.agent()
            .param("rep_mode", "slave")
            .param("master_ip", self.elsewhere().address())
            .param("repuser", lab::postgres::REPLICATION_USER)
    }

    /// Everything that the agent could have changed (/usr is the machine's, not the host's): each file's place, kind, mode, owner, size and times of change,
    /// and the contents of settings. What is shown of /etc is the machine's own, and packages may be installed on that
    /// meanwhile: times of change of the inode are left out there.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let script = r#"
find /etc -mindepth 1 -printf '%p %y %m %u %g %s %T@ %l\n' | sort
find /run/postgresql /var/lib/pgsql /var/lib/postgresql /var/lib/contract /var/log/postgresql -printf '%p %y %m %u %g %s %T@ %C@ %l\n' | sort
find /var/lib/pgsql /etc/postgresql* -type f \( -name '*.conf' -o -name '*.signal' -o -path '*/tmp/*' \) -exec sha256sum {} + | sort -k 2
"#;
        // Directories that do not exist are no failure, and their absence is part of the picture.
        Ok(Snapshot(self.host().sh(script)?.stdout))
    }

    /// Numbers of the server's processes on [`Site::host`].
    pub(crate) fn server_processes(&self) -> Result<String> {
        self.sh(r#"for exe in /proc/[0-9]*/exe; do case "$(readlink "$exe")" in */postgres) echo "$exe";; esac; done"#)
    }

    /// Waits until this standby streams from [`Site::elsewhere`], as `user`.
    pub(crate) fn wait_streaming(&self, user: &str) -> Result<()> {
        let name = self.host().name();
        let query = format!(
            "select state from pg_stat_replication where application_name = '{name}' and usename = '{user}'"
        );
        self.lab
            .eventually("the standby streams", SOON, |_| {
                match self.primary().sql(&query) {
                    Ok(state) if state == "streaming" => Ok(()),
                    Ok(state) => Err(format!("its state is {state:?}")),
                    Err(error) => Err(error.to_string()),
                }
            })
            .inspect_err(|_| eprintln!("{}", self.host().tail(LOG, 20)))
    }
}

fn shared_lab() -> Result<Arc<Cluster>> {
    let mut shared = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lab) = &*shared {
        return Ok(Arc::clone(lab));
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_expgsql")).to_owned();
    let lab = Cluster::builder()
        .nodes(2)
        // Each contract makes its own.
        .site(lab::Site::Plain)
        .mode(RepMode::None)
        .agent(AgentKind::Expgsql { binary })
        .boot()?;
    for node in lab.nodes() {
        node.run(&["cp", "-a", "/var/lib/pgsql", "/var/lib/pgsql.first"])?
            .ok()?;
    }
    Ok(Arc::clone(shared.insert(Arc::new(lab))))
}

/// Ends the lab. A static is never dropped, and the hosts' disks would stay.
pub(crate) fn close() -> Result<()> {
    let lab = LAB.lock().unwrap_or_else(PoisonError::into_inner).take();
    lab.and_then(Arc::into_inner).map_or(Ok(()), Cluster::down)
}

/// The agent with everything one call of it is told.
#[derive(Clone)]
#[must_use = "nothing runs before call()"]
pub(crate) struct Agent<'a> {
    site: &'a Site,
    user: Option<&'static str>,
    vars: BTreeMap<String, String>,
}

impl Agent<'_> {
    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn param(self, name: &str, value: &str) -> Self {
        self.var(&format!("OCF_RESKEY_{name}"), value)
    }

    pub(crate) fn params(self, params: &[(&str, &str)]) -> Self {
        params
            .iter()
            .fold(self, |agent, (name, value)| agent.param(name, value))
    }

    /// Time that Pacemaker allows.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        self.param("CRM_meta_timeout", &timeout.as_millis().to_string())
    }

    /// As for an instance of a promotable clone.
    pub(crate) fn promotable(self) -> Self {
        self.param("CRM_meta_clone_max", "2")
            .param("CRM_meta_promoted_max", "1")
            .param("CRM_meta_notify", "true")
    }

    /// As for a call that Pacemaker makes once; a monitor is a probe then.
    pub(crate) fn once(mut self) -> Self {
        self.vars.remove("OCF_RESKEY_CRM_meta_interval");
        self
    }

    pub(crate) fn run_by(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    /// The directory of the server's programs.
    pub(crate) fn programs(&self) -> String {
        self.site.lab.layout().bin.display().to_string()
    }

    /// Parameters as ocf-tester takes them.
    pub(crate) fn tester_options(&self) -> Vec<String> {
        let params = self
            .vars
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("OCF_RESKEY_")?, value)))
            .filter(|(name, _)| !name.starts_with("CRM_meta_"));
        params
            .flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
            .collect()
    }

    /// Runs an action.
    pub(crate) fn call(&self, action: &str) -> Result<Answer> {
        self.run(&[AGENT, action])
    }

    /// Runs `argv`, the agent among it, in the agent's environment.
    pub(crate) fn run(&self, argv: &[&str]) -> Result<Answer> {
        let host = self.site.host();
        let command = match self.user {
            Some(user) => host.as_user(user, argv)?,
            None => host.command(argv)?,
        };
        let command = self
            .vars
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value));
        Ok(Answer {
            output: command.run()?,
            log: host.tail(LOG, 10),
        })
    }

    /// Runs an action that must give `code`.
    #[track_caller]
    pub(crate) fn gives(&self, action: &str, code: i32) -> Answer {
        let answer = self
            .call(action)
            .unwrap_or_else(|error| panic!("{action}: {error}"));
        assert_eq!(answer.code(), code, "{action}: {answer}");
        answer
    }
}

/// What a call of the agent came to.
pub(crate) struct Answer {
    output: Output,
    /// The end of the server's log, for messages.
    log: String,
}

impl Answer {
    pub(crate) fn code(&self) -> i32 {
        self.output.code().unwrap_or(-1)
    }

    pub(crate) fn stdout(&self) -> &str {
        &self.output.stdout
    }

    pub(crate) fn stderr(&self) -> &str {
        &self.output.stderr
    }

    /// The exit reason, of which there must be one: as much of it as Pacemaker shows.
    #[track_caller]
    pub(crate) fn reason(&self) -> &str {
        let mut reasons = self
            .stderr()
            .lines()
            .filter_map(|line| line.strip_prefix("ocf-exit-reason:"));
        match (reasons.next(), reasons.next()) {
            (Some(reason), None) => reason,
            (None, _) => panic!("no exit reason: {self}"),
            (Some(_), Some(_)) => panic!("more than one exit reason: {self}"),
        }
    }

    /// Holds the exit reason to what it must tell.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        let reason = self.reason();
        for word in words {
            assert!(reason.contains(word), "no {word:?} in the reason: {self}");
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output {
            command,
            status,
            stdout,
            stderr,
        } = &self.output;
        write!(
            f,
            "`{command}` ended with {status}\n{stdout}{stderr}--- the server's log\n{}",
            self.log
        )
    }
}

/// See [`Site::snapshot`].
#[derive(PartialEq, Eq)]
pub(crate) struct Snapshot(String);

impl Snapshot {
    /// Fails with the lines that differ.
    #[track_caller]
    pub(crate) fn assert_same(&self, later: &Self, what: &str) {
        let gone = |a: &Self, b: &Self, mark: &str| -> String {
            let known: std::collections::BTreeSet<&str> = b.0.lines().collect();
            let lines = a.0.lines().filter(|line| !known.contains(line));
            lines.map(|line| format!("{mark} {line}\n")).collect()
        };
        assert!(
            self == later,
            "{what} changed something on disk:\n{}{}",
            gone(self, later, "-"),
            gone(later, self, "+")
        );
    }
}
