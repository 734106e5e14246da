//! `cargo lab`: a cluster to break and to watch.

mod cli;
mod controls;
mod demo;
mod matrix;
mod one_scenario;
mod outages;
mod versions;
mod watch;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lab::{Cluster, Result};

use cli::{Cli, Command, Fault, Make};

/// Time from configured to healthy; the stock agent's election alone takes half a minute on a busy machine.
const HEALTHY: Duration = Duration::from_secs(180);

/// More than the agents of one side raise it by in one go.
const CIB_WINS_BY: u32 = 20;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { lab, make } => up(&lab.name, &make)?,
        Command::Demo { lab, make, keep } => demo::demo(&lab.name, &make, keep)?,
        Command::Status { lab } => print!("{}", Cluster::attach(&lab.name)?.status()?),
        Command::Shell { lab, node } => return Err(shell(&lab.name, &node)),
        Command::Exec { lab, node, argv } => return exec(&lab.name, &node, &argv),
        Command::Sql { lab, node, sql } => {
            let cluster = Cluster::attach(&lab.name)?;
            println!("{}", cluster.postgres(cluster.node(&node)?).sql(&sql)?);
        }
        Command::Fault { lab, fault } => inflict(&Cluster::attach(&lab.name)?, &fault)?,
        Command::Log { lab, node, lines } => {
            let cluster = Cluster::attach(&lab.name)?;
            let node = cluster.node(&node)?;
            print!("{}", lab::logs(node, lines));
        }
        Command::Cost { lab, node, action } => {
            let cluster = Cluster::attach(&lab.name)?;
            let cost = cluster.measure_agent(cluster.node(&node)?, &action)?;
            println!(
                "{} processes, {:.1} ms wall, {:.1} ms CPU, exit code {}",
                cost.processes,
                cost.wall.as_secs_f64() * 1e3,
                cost.cpu.as_secs_f64() * 1e3,
                cost.status
            );
        }
        Command::Phases {
            fault,
            make,
            runs,
            seed,
            steps,
            json,
        } => {
            let form = match (json, steps) {
                (true, _) => outages::Form::Json,
                (false, true) => outages::Form::Steps,
                (false, false) => outages::Form::Bars,
            };
            outages::run(&fault, &make, runs, seed, form)?;
        }
        Command::Controls { names, no_baseline } => return controls::run(&names, !no_baseline),
        Command::Matrix { suites, scenarios } => return matrix::run(&suites, &scenarios),
        Command::Versions { servers } => return versions::run(&servers),
        Command::List => lab::labs()?.iter().for_each(|line| println!("{line}")),
        Command::Down { lab } => Cluster::attach(&lab.name)?.down()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str, make: &Make) -> Result<()> {
    let cluster = make.builder()?.name(name).up()?;
    // Kept before it is healthy: a cluster that does not become so is the one its maker wants to look into.
    cluster.keep()?;
    eprintln!("lab: it stays up from here on, whatever becomes of this command");
    let healthy = cluster.wait_healthy(HEALTHY);
    if let Ok(status) = cluster.status() {
        print!("{status}");
    }
    println!("\n{}", hints(name));
    healthy
}

/// What can be done with a lab that is up.
fn hints(name: &str) -> String {
    let option = if name == "lab" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    let lines = [
        ("status", "", "what Pacemaker says"),
        (
            "shell",
            " node1",
            "a shell in a node (crm_mon, pcs, psql -h 10.77.0.100 -U postgres)",
        ),
        (
            "fault",
            " kill node1",
            "break something; `cargo lab fault --help` lists all",
        ),
        ("log", " node1", "a node's logs"),
        ("down", "", "end it"),
    ];
    let line = |(command, rest, what): &(&str, &str, &str)| {
        format!(
            "  {:<40} {what}",
            format!("cargo lab {command}{option}{rest}")
        )
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Becomes a shell in the node; comes back only with an error.
fn shell(name: &str, node: &str) -> lab::Error {
    let argv = Cluster::attach(name).and_then(|cluster| cluster.node(node)?.entry(None));
    match argv {
        Ok(argv) => {
            let mut command = std::process::Command::new(&argv[0]);
            // -l: the paths of the node's own profile, not those of whoever calls.
            let error = command
                .args(&argv[1..])
                .args(["env", &format!("PS1={node}# "), "bash", "--norc", "-i"])
                .exec();
            lab::Error::Io {
                what: "start nsenter".into(),
                source: error,
            }
        }
        Err(error) => error,
    }
}

/// Runs a command in a node on this terminal; gives its exit code.
fn exec(name: &str, node: &str, argv: &[String]) -> Result<ExitCode> {
    let entry = Cluster::attach(name)?.node(node)?.entry(None)?;
    let mut command = std::process::Command::new(&entry[0]);
    let error = command.args(&entry[1..]).args(argv).exec();
    Err(lab::Error::Io {
        what: "start nsenter".into(),
        source: error,
    })
}

fn inflict(cluster: &Cluster, fault: &Fault) -> Result<()> {
    let node = |name: &str| cluster.node(name);
    match fault {
        Fault::Kill { node: n } => cluster.kill_postmaster(node(n)?),
        Fault::Hang { node: n } => cluster.hang_postmaster(node(n)?),
        Fault::Unhang { node: n } => cluster.unhang_postmaster(node(n)?),
        Fault::Freeze { node: n } => cluster.freeze_postgres(node(n)?),
        Fault::Thaw { node: n } => cluster.thaw_postgres(node(n)?),
        Fault::HangReceiver { node: n } => cluster.hang_receiver(node(n)?),
        Fault::UnhangReceiver { node: n } => cluster.unhang_receiver(node(n)?),
        Fault::Poweroff { node: n } => cluster.power_off(node(n)?),
        Fault::Poweron { node: n } => cluster.power_on(node(n)?),
        Fault::Split { node: n } => cluster.split(node(n)?),
        Fault::Isolate { node: n } => cluster.isolate(node(n)?),
        Fault::Partition { node: n, other } => cluster.partition(&[node(n)?], &[node(other)?]),
        Fault::Cut { node: n, other } => cluster.cut(node(n)?, node(other)?),
        Fault::Weather {
            node: n,
            delay,
            loss,
            rate,
        } => cluster.weather(
            node(n)?,
            lab::Weather {
                delay: Duration::from_millis(*delay),
                loss: *loss,
                rate: *rate,
            },
        ),
        Fault::Throttle { node: n, rate } => cluster.throttle_replication(node(n)?, *rate),
        Fault::Heal => {
            cluster
                .nodes()
                .iter()
                .filter(|node| node.is_on())
                .try_for_each(|node| cluster.clear_weather(node))?;
            cluster.heal()
        }
        Fault::Fill { node: n } => cluster.fill_tmpdir(node(n)?),
        Fault::Unfill { node: n } => cluster.empty_tmpdir(node(n)?),
        Fault::CibWins { node: n } => cluster.raise_cib(node(n)?, CIB_WINS_BY),
        Fault::LockStop => cluster.stop_lock_service(),
        Fault::LockStart => cluster.start_lock_service(),
        Fault::Switchover => cluster.switchover(Duration::from_secs(120)).map(drop),
        Fault::Cleanup { node: n } => cluster.clean_up(node(n)?),
    }
}
