//! Programs on the nodes: on this one directly, on the others by ssh, as root and without a question. Every call has a deadline.

use std::time::Duration;

use crate::model::node_name::NodeName;
use crate::sys::{Command, Deadline, Output, RunError};

/// For one short call on another node.
pub(super) const CALL: Duration = Duration::from_secs(20);

/// For a copy of the program over a slow line.
pub(super) const COPY: Duration = Duration::from_secs(120);

/// How long ssh tries to connect: a node that is off must not hold up the rest.
const CONNECT: u32 = 5;

/// ssh's exit code for "not connected". Source: ssh(1), "EXIT STATUS".
const NOT_CONNECTED: i32 = 255;

/// A node, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: NodeName,
    pub(super) is_local: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// Nothing was run there.
    #[error(
        "{node} does not answer by ssh ({why}); start it, and let root log in there without a question: ssh -o BatchMode=yes {node} true"
    )]
    Unreachable { node: NodeName, why: String },
    /// It was run, and failed.
    #[error("on {node}: {error}")]
    Failed { node: NodeName, error: RunError },
}

impl Host {
    /// The nodes, of which this machine may be one.
    pub(super) fn all(nodes: &[NodeName]) -> Vec<Self> {
        let own = own_name();
        nodes
            .iter()
            .map(|name| Self {
                name: name.clone(),
                is_local: own.as_ref() == Some(name),
            })
            .collect()
    }

    /// A command line for this node.
    fn command(&self, argv: &[&str]) -> Command {
        match argv {
            [program, args @ ..] if self.is_local => {
                Command::new(*program).args(args.iter().copied())
            }
            _ => Command::new("ssh")
                .args(["-o", "BatchMode=yes"])
                .args(["-o".to_owned(), format!("ConnectTimeout={CONNECT}")])
                .args([
                    "-o",
                    "ServerAliveInterval=5",
                    "-o",
                    "ServerAliveCountMax=3",
                    "-T",
                    "--",
                ])
                .arg(self.name.as_str())
                // ssh gives one text to the shell there.
                .arg(shell_words::join(argv)),
        }
    }

    /// Runs a program there, whatever its exit code.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(super) fn output(
        &self,
        argv: &[&str],
        stdin: Vec<u8>,
        limit: Duration,
    ) -> Result<Output, RemoteError> {
        let unreachable = |why: String| RemoteError::Unreachable {
            node: self.name.clone(),
            why,
        };
        let output = self
            .command(argv)
            .stdin(stdin)
            .output(Deadline::after(limit));
        match output {
            Ok(output) if !self.is_local && output.status.code() == Some(NOT_CONNECTED) => {
                let text = output.stderr_text();
                Err(unreachable(
                    text.lines()
                        .last()
                        .unwrap_or("no reason given")
                        .trim()
                        .to_owned(),
                ))
            }
            Ok(output) => Ok(output),
            Err(error @ (RunError::TimedOut { .. } | RunError::NotFound(_))) if !self.is_local => {
                Err(unreachable(error.to_string()))
            }
            Err(error) => Err(RemoteError::Failed {
                node: self.name.clone(),
                error,
            }),
        }
    }

    /// Runs a program there that must end with 0.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(super) fn run(
        &self,
        argv: &[&str],
        stdin: Vec<u8>,
        limit: Duration,
    ) -> Result<Output, RemoteError> {
        let output = self.output(argv, stdin, limit)?;
        if output.status.success() {
            return Ok(output);
        }
        let words = [output.stderr_text(), output.stdout_text()]
            .into_iter()
            .find(|text| !text.trim().is_empty());
        let lines: Vec<String> = words
            .unwrap_or_default()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        Err(RemoteError::Failed {
            node: self.name.clone(),
            error: RunError::Failed {
                program: argv.first().copied().unwrap_or_default().to_owned(),
                status: output.status,
                stderr: lines.join("; "),
            },
        })
    }
}

/// This machine's name in the cluster: what Pacemaker says, or, where it does not run, the host's name.
pub(super) fn own_name() -> Option<NodeName> {
    let asked = Command::new("crm_node")
        .arg("--name")
        .run(Deadline::after(CALL))
        .ok();
    let name = asked
        .map(|output| output.stdout_text().trim().to_owned())
        .filter(|name| !name.is_empty());
    let name = name.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok())?;
    NodeName::new(name).ok()
}
