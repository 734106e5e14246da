//! Asks the other nodes about a lock service that this node can't reach.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

use super::commands::{self, Commands};
use super::error::LockError;
use super::service::Service;
use crate::decide::lease::{Reply, Verdict, dead_check, to_ask};
use crate::distlock::request::{Question, Request, Take, Told};
use crate::model::lock::{Renewal, Taken};
use crate::sys::{Command, Deadline, Output, RunError};

/// Of the time there is, what ssh itself may need: the rest is the other node's.
const SSH: Duration = Duration::from_millis(1500);

/// What the other node must have at least. With less it would find the service silent where only the time was short, and
/// a service that lives would be taken for dead.
const ENOUGH: Duration = Duration::from_secs(2);

/// ssh's exit code for "not connected". Source: ssh(1), "EXIT STATUS".
const NOT_CONNECTED: i32 = 255;

/// Who is asked, and by what. Each question needs four seconds: with less nobody is asked.
#[derive(Clone, Debug)]
pub struct Deadcheck {
    ssh: PathBuf,
    nodes: Vec<String>,
}

impl Deadcheck {
    /// The nodes of `list` but `own`.
    #[must_use]
    pub fn new(own: &str, list: &[String]) -> Self {
        Self {
            ssh: PathBuf::from("ssh"),
            nodes: to_ask(own, list).into_iter().map(str::to_owned).collect(),
        }
    }

    /// Another program in place of ssh, called as ssh is.
    #[must_use]
    pub fn by(mut self, ssh: impl Into<PathBuf>) -> Self {
        self.ssh = ssh.into();
        self
    }

    /// [`Service::take`] by way of the other nodes.
    #[must_use]
    pub fn take(&self, service: &Service, wish: &Take, deadline: Deadline) -> Verdict<Taken> {
        let question = Question::Take(wish.clone());
        let pick = |told| match told {
            Told::Taken(taken) => Some(taken),
            Told::Renewal(_) => None,
        };
        let replies = self.relay(service, question, deadline, pick);
        dead_check(replies, |taken| matches!(taken, Taken::Mine { .. }))
    }

    /// [`Service::renew`] by way of the other nodes.
    #[must_use]
    pub fn renew(
        &self,
        service: &Service,
        owner: &str,
        epoch: u64,
        ttl: Duration,
        deadline: Deadline,
    ) -> Verdict<Renewal> {
        let owner = owner.to_owned();
        let question = Question::Renew { owner, epoch, ttl };
        self.renewal(service, question, deadline)
    }

    /// [`Service::set_eligible`] by way of the other nodes.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "those of Service::set_eligible, and the service"
    )]
    pub fn set_eligible(
        &self,
        service: &Service,
        owner: &str,
        epoch: u64,
        eligible: &BTreeSet<String>,
        reports: usize,
        ttl: Duration,
        deadline: Deadline,
    ) -> Verdict<Renewal> {
        let question = Question::SetEligible {
            owner: owner.to_owned(),
            epoch,
            eligible: eligible.clone(),
            reports,
            ttl,
        };
        self.renewal(service, question, deadline)
    }

    fn renewal(
        &self,
        service: &Service,
        question: Question,
        deadline: Deadline,
    ) -> Verdict<Renewal> {
        let pick = |told| match told {
            Told::Renewal(renewal) => Some(renewal),
            Told::Taken(_) => None,
        };
        let replies = self.relay(service, question, deadline, pick);
        dead_check(replies, |renewal| matches!(renewal, Renewal::Mine(_)))
    }

    /// [`Commands::lock`] on the other nodes. The line goes there on standard input.
    #[must_use]
    pub fn lock(&self, commands: &Commands, owner: &str, deadline: Deadline) -> Verdict<bool> {
        let Some(limit) = there(deadline) else {
            return dead_check(self.no_time(), |is_mine| *is_mine);
        };
        let limit = limit.as_secs();
        // A command that hangs there, too, is an answer: it must come back before ssh's own time is up.
        let there = format!("timeout -k 1 {limit} /bin/sh -s");
        let replies = self.ssh(
            &there,
            &commands.lock_script(owner),
            deadline,
            |output| match output.status.code() {
                Some(126 | 127) => {
                    Reply::NotAsked("distlock_lock_cmd can't be run there".to_owned())
                }
                _ => match commands::answer("distlock_lock_cmd", Ok(output)) {
                    Ok(answer) => Reply::Answer(answer),
                    Err(error) => Reply::Silent(error.to_string()),
                },
            },
        );
        dead_check(replies, |is_mine| *is_mine)
    }

    fn relay<T>(
        &self,
        service: &Service,
        question: Question,
        deadline: Deadline,
        pick: impl Fn(Told) -> Option<T>,
    ) -> Vec<(String, Reply<T>)> {
        let Some(limit) = there(deadline) else {
            return self.no_time();
        };
        let request = Request {
            limit,
            ..service.request(question)
        };
        let request = serde_json::to_vec(&request).unwrap_or_default();
        let program = std::env::current_exe()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "expgsql".to_owned());
        let there = shell_words::join([program.as_str(), "distlock", "relay"]);
        self.ssh(&there, &request, deadline, |output| {
            let told = serde_json::from_slice::<Result<Told, LockError>>(&output.stdout);
            match told.map(|told| told.map(&pick)) {
                Ok(Ok(Some(answer))) => Reply::Answer(answer),
                Ok(Err(error)) if error.is_unreachable() => Reply::Silent(error.to_string()),
                Ok(Err(error)) => Reply::Trouble(error.to_string()),
                Ok(Ok(None)) | Err(_) => {
                    Reply::NotAsked(format!("no answer of expgsql there ({})", said(&output)))
                }
            }
        })
    }

    fn no_time<T>(&self) -> Vec<(String, Reply<T>)> {
        let reply = || Reply::NotAsked("no time was left to ask".to_owned());
        self.nodes
            .iter()
            .map(|node| (node.clone(), reply()))
            .collect()
    }

    /// Runs `there` on all nodes at once.
    fn ssh<T>(
        &self,
        there: &str,
        stdin: &[u8],
        deadline: Deadline,
        understand: impl Fn(Output) -> Reply<T>,
    ) -> Vec<(String, Reply<T>)> {
        let outputs = self.outputs(there, stdin, deadline);
        let replies = outputs.into_iter().map(|output| match output {
            Ok(output) if output.status.code() == Some(NOT_CONNECTED) => {
                Reply::NotAsked(said(&output))
            }
            Ok(output) => understand(output),
            Err(error) => Reply::NotAsked(error.to_string()),
        });
        self.nodes.iter().cloned().zip(replies).collect()
    }

    /// In the order of the nodes.
    fn outputs(
        &self,
        there: &str,
        stdin: &[u8],
        deadline: Deadline,
    ) -> Vec<Result<Output, RunError>> {
        let no_runtime = |source: std::io::Error| RunError::Spawn {
            program: "ssh".to_owned(),
            source,
        };
        let mut outputs: Vec<Result<Output, RunError>> = self
            .nodes
            .iter()
            .map(|_| Err(no_runtime(std::io::Error::other("it was not started"))))
            .collect();
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(_) => return outputs,
        };
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (place, node) in self.nodes.iter().enumerate() {
                let command = self.command(node, there).stdin(stdin);
                tasks.spawn(async move { (place, command.output_async(deadline).await) });
            }
            while let Some(done) = tasks.join_next().await {
                if let Ok((place, output)) = done
                    && let Some(slot) = outputs.get_mut(place)
                {
                    *slot = output;
                }
            }
        });
        outputs
    }

    fn command(&self, node: &str, there: &str) -> Command {
        // Nobody is there to type a password, and a node that stops answering half-way is noticed in three seconds.
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=1",
            "ServerAliveInterval=1",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ];
        Command::new(&self.ssh)
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(["--", node, there])
    }
}

/// The time that the other node has. `None`: not enough.
fn there(deadline: Deadline) -> Option<Duration> {
    let limit = deadline.remaining().checked_sub(SSH)?;
    (limit >= ENOUGH).then_some(limit)
}

/// The last line it wrote to standard error, or its exit code.
fn said(output: &Output) -> String {
    match output.stderr_text().lines().last() {
        Some(line) => line.trim().to_owned(),
        None => output.status.to_string(),
    }
}
