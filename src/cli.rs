//! The command line: what was asked for, and the texts that explain it.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::Path;

use clap::{CommandFactory, Parser, Subcommand};
use strum::VariantArray;

use crate::check;
use crate::cluster;
use crate::log::Reader;
use crate::model::repair::Work;
use crate::ocf::Action;
use crate::params::{Described, PARAMS, Param};
use crate::setup;

const ABOUT: &str = "PostgreSQL failover agent for Pacemaker";

const LONG_ABOUT: &str = "\
PostgreSQL failover agent for Pacemaker.

Pacemaker starts this program on each node to start, watch, promote, demote and stop PostgreSQL. \
With rep_mode=sync a commit that a client saw acknowledged survives every automatic action of the cluster.";

/// How to go from nothing to a running resource. The list of actions is put in front of it.
const HOW_IT_IS_CALLED: &str = "\
How Pacemaker calls it:
  As /usr/lib/ocf/resource.d/heartbeat/expgsql ACTION, with the parameters in environment variables:
  pgdata=/data arrives as OCF_RESKEY_pgdata=/data. More arguments are ignored. The exit code is the
  answer (0 done, 7 not running, 8 running as primary, others: failed); the last line on standard
  error that begins with \"ocf-exit-reason:\" says why, and crm_mon shows it.

A primary and two standbys, with an address that follows the primary:
  pcs resource create vip ocf:heartbeat:IPaddr2 ip=192.168.0.9
  pcs resource create pgsql ocf:heartbeat:expgsql \\
      rep_mode=sync node_list=\"node1 node2 node3\" master_ip=192.168.0.9 \\
      pgctl=/usr/pgsql-15/bin/pg_ctl pgdata=/var/lib/pgsql/15/data \\
      op monitor interval=4s timeout=30s op monitor role=Promoted interval=3s timeout=30s \\
      promotable notify=true
  pcs constraint colocation add vip with Promoted pgsql-clone INFINITY
  pcs constraint order promote pgsql-clone then start vip symmetrical=false

By hand, on one node:
  expgsql cluster status                            how the cluster is, and what to do next
  expgsql cluster why                               why there is no primary, or who takes over
  expgsql parameters                                the parameters and their defaults
  crm_resource --resource pgsql --force-check -V    monitor it as Pacemaker would";

#[derive(Parser)]
#[command(
    name = "expgsql",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    override_usage = "expgsql ACTION\n       expgsql parameters [--json | --markdown]\n       expgsql distlock CONNECTION VERB LOCK …\n       expgsql cluster COMMAND\n       expgsql setup STEP\n       expgsql check [--role ROLE] [--haproxy | --http]",
    disable_help_subcommand = true,
    // `help` is an OCF action, and what follows an action is ignored, options included.
    allow_external_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show the parameters of the resource, with their defaults
    Parameters {
        /// As JSON, with the full descriptions
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// As a Markdown table
        #[arg(long)]
        markdown: bool,
    },
    /// Make, show and take the lock of a lock service; `distlock --help` says how
    #[command(disable_help_flag = true)]
    Distlock {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Turn a standby to a new primary as soon as that can be reached; started by notify
    #[command(hide = true)]
    FollowPrimary {
        /// Process id of the WAL receiver that followed the old primary
        old_receiver: Option<i32>,
    },
    /// Repair this node's data from the primary's; started by start
    #[command(hide = true)]
    RepairStandby {
        /// rewind or rebuild
        work: Work,
    },
    /// Write to the server's storage; started by a deep monitor
    #[command(hide = true)]
    TryStorage,
    /// Commands for operators; `cluster --help` lists them
    ///
    /// Where to begin, at three in the morning:
    ///
    ///   expgsql cluster status      how the cluster is, on one screen
    ///   expgsql cluster why         why there is no primary, or who takes over if it fails
    ///   expgsql cluster repair      let this node follow the primary again
    ///
    /// Those that change something work by Pacemaker's own tools, beside pcs as well as crmsh; what is dangerous says what it
    /// will do, and asks; what waits gives up after --timeout, and says what was not seen.
    ///
    /// Each command is also a link to this program, with pha4pgsql's names: cls_status, cls_online_switch, cls_rebuild_slave.
    #[command(subcommand, verbatim_doc_comment)]
    Cluster(cluster::Command),
    /// From one file, config.ini, to a running cluster; `setup --help` lists the steps
    Setup(setup::Command),
    /// Say whether the server of this node serves, for load balancers: exit code, HAProxy's agent-check, HTTP
    ///
    /// Asks the server whether it is a primary or a standby, and how far behind. No answer, or one that is not understood, is
    /// never a yes. Needs neither root nor Pacemaker.
    #[command(after_help = check::NOTES)]
    Check(check::CheckArgs),
    #[command(external_subcommand)]
    Action(Vec<OsString>),
}

/// How `expgsql parameters` prints its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Markdown,
}

/// Words of a command line that may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} words", self.0.len())
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Act(Action),
    /// OCF: answered with "unimplemented", whatever else is wrong.
    UnknownAction(String),
    Parameters(Format),
    /// The words behind `distlock`.
    Distlock(Words),
    /// What notify leaves to a process of its own, because Pacemaker waits for notify.
    FollowPrimary {
        old_receiver: Option<i32>,
    },
    /// What start leaves to a process of its own, because it takes longer than an operation may.
    RepairStandby(Work),
    /// What a deep monitor leaves to a process of its own, because it may never end.
    TryStorage,
    /// A command for operators.
    Cluster(cluster::Command),
    /// A step of the setup.
    Setup(setup::Command),
    /// A load balancer's question.
    Check(check::CheckArgs),
    /// `--help` or `--version`: the text for standard output.
    Show(String),
    /// No action, or options that don't exist: the text for standard error.
    Misused(String),
}

impl Request {
    /// Understands `args`, of which the first is the program's own name.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Self {
        let mut args: Vec<OsString> = args.into_iter().collect();
        match called_as(args.first()) {
            CalledAs::Expgsql => {}
            CalledAs::Distlock => args.insert(1, "distlock".into()),
            CalledAs::ClusterCommand(name) => {
                args.splice(..1, ["expgsql".into(), "cluster".into(), name.into()]);
            }
        }
        let matched = command().try_get_matches_from(args);
        match matched.and_then(|matches| <Cli as clap::FromArgMatches>::from_arg_matches(&matches))
        {
            Ok(cli) => Self::from(cli),
            Err(error) if error.use_stderr() => Self::Misused(error.to_string()),
            Err(help_or_version) => Self::Show(help_or_version.to_string()),
        }
    }
}

impl Request {
    /// What the log calls it. Never a word that may hold a password.
    pub fn log_name(&self) -> &str {
        match self {
            Self::Act(action) => action.into(),
            Self::UnknownAction(name) => name,
            Self::Parameters(_) => "parameters",
            Self::Distlock(_) => "distlock",
            Self::FollowPrimary { .. } => "follow-primary",
            Self::RepairStandby(_) => "repair-standby",
            Self::TryStorage => "try-storage",
            Self::Cluster(_) => "cluster",
            Self::Setup(_) => "setup",
            Self::Check(_) => "check",
            Self::Show(_) | Self::Misused(_) => "",
        }
    }

    /// Who reads the log.
    pub fn log_reader(&self) -> Reader {
        match self {
            Self::Cluster(command) if command.is_verbose() => Reader::Terminal,
            Self::Cluster(_) | Self::Setup(_) | Self::Check(_) => Reader::Journal,
            Self::Act(_)
            | Self::UnknownAction(_)
            | Self::Parameters(_)
            | Self::Distlock(_)
            | Self::FollowPrimary { .. }
            | Self::RepairStandby(_)
            | Self::TryStorage
            | Self::Show(_)
            | Self::Misused(_) => Reader::Agent,
        }
    }
}

impl From<Cli> for Request {
    fn from(cli: Cli) -> Self {
        match cli.command {
            None => Self::Misused(command().render_help().to_string()),
            Some(Command::Parameters { json: true, .. }) => Self::Parameters(Format::Json),
            Some(Command::Parameters { markdown: true, .. }) => Self::Parameters(Format::Markdown),
            Some(Command::Parameters { .. }) => Self::Parameters(Format::Text),
            Some(Command::Distlock { words }) => Self::Distlock(Words(words)),
            Some(Command::FollowPrimary { old_receiver }) => Self::FollowPrimary { old_receiver },
            Some(Command::RepairStandby { work }) => Self::RepairStandby(work),
            Some(Command::TryStorage) => Self::TryStorage,
            Some(Command::Cluster(command)) => Self::Cluster(command),
            Some(Command::Setup(command)) => Self::Setup(command),
            Some(Command::Check(args)) => Self::Check(args),
            // OCF 1.1: arguments after the action are to be ignored.
            Some(Command::Action(words)) => {
                let name = words
                    .first()
                    .map(|word| word.to_string_lossy())
                    .unwrap_or_default();
                match name.parse() {
                    Ok(action) => Self::Act(action),
                    Err(strum::ParseError::VariantNotFound) => {
                        Self::UnknownAction(name.into_owned())
                    }
                }
            }
        }
    }
}

/// The name of the link that the program is called by: pha4pgsql's names for the lock's client and for the operator's
/// commands.
enum CalledAs {
    Expgsql,
    Distlock,
    /// `cls_NAME` is `cluster NAME`.
    ClusterCommand(String),
}

fn called_as(program: Option<&OsString>) -> CalledAs {
    let name = program.and_then(|path| Path::new(path).file_name()?.to_str());
    match name {
        Some("distlock") => CalledAs::Distlock,
        Some(name) => match name.strip_prefix("cls_") {
            Some(command) => CalledAs::ClusterCommand(command.to_owned()),
            None => CalledAs::Expgsql,
        },
        None => CalledAs::Expgsql,
    }
}

/// The text of `--help`.
pub fn help() -> String {
    command().render_long_help().to_string()
}

/// The names of the actions, one a line.
pub fn methods() -> String {
    Action::VARIANTS
        .iter()
        .map(|action| format!("{action}\n"))
        .collect()
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
        .after_help(format!("{}\nexpgsql --help says more.", actions()))
        .after_long_help(format!("{}\n{HOW_IT_IS_CALLED}", actions()))
}

fn actions() -> String {
    let mut text = String::from("Actions:\n");
    for action in Action::VARIANTS {
        let name = action.to_string(); // padding applies to a string, not to a derived Display
        let _infallible = writeln!(text, "  {name:<13} {}", action.summary());
    }
    text
}

/// The table of parameters.
///
/// # Errors
/// None in practice: it serialises text.
pub fn parameters(format: Format) -> serde_json::Result<String> {
    match format {
        Format::Text => Ok(text_table()),
        Format::Markdown => Ok(markdown_table()),
        Format::Json => {
            let described: Vec<Described> = PARAMS.iter().map(Param::describe).collect();
            Ok(serde_json::to_string_pretty(&described)? + "\n")
        }
    }
}

fn text_table() -> String {
    let header = ["NAME", "TYPE", "DEFAULT", "CHANGE", "MEANING"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [header]
        .into_iter()
        .chain(PARAMS.iter().map(|param| {
            [
                param.name.to_owned(),
                param.kind.to_string(),
                param.default.unwrap_or("-").to_owned(),
                change(param).to_owned(),
                param.short.to_owned(),
            ]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [name, kind, default, change, meaning] in &rows {
        let [w0, w1, w2, w3] = widths;
        let _infallible = writeln!(
            text,
            "{name:w0$}  {kind:w1$}  {default:w2$}  {change:w3$}  {meaning}"
        );
    }
    text
}

fn markdown_table() -> String {
    let mut text = String::from(
        "| parameter | type | default | change | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for param in PARAMS {
        let default = param
            .default
            .map_or_else(String::new, |default| format!("`{default}`"));
        let meaning = param.long.replace("\n\n", "<br>");
        let cells = [
            format!("`{}`", param.name),
            param.kind.to_string(),
            default,
            change(param).to_owned(),
            meaning,
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _infallible = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// What Pacemaker does when the parameter is changed.
const fn change(param: &Param) -> &'static str {
    if param.reloadable {
        "reload"
    } else {
        "restart"
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use clap::CommandFactory;
    use strum::VariantArray;

    use super::{Cli, Format, Request, Words, help, methods, parameters};
    use crate::model::repair::Work;
    use crate::ocf::Action;
    use crate::params::PARAMS;

    fn parse(args: &[&str]) -> Request {
        Request::parse(
            ["/usr/lib/ocf/resource.d/heartbeat/expgsql"]
                .iter()
                .chain(args)
                .map(OsString::from),
        )
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_action_is_understood_and_what_follows_it_is_ignored() {
        for action in Action::VARIANTS {
            let name = action.to_string();
            for extra in [
                &[][..],
                &["extra"],
                &["--help"],
                &["-x", "--version", "start"],
            ] {
                let args: Vec<&str> = [name.as_str()].iter().chain(extra).copied().collect();
                assert_eq!(parse(&args), Request::Act(*action), "{args:?}");
            }
        }
    }

    #[test]
    fn the_lock_client_is_called_by_either_name() {
        let words = ["host=h -x", "trylock", "t:l", "--force", "--help"];
        let expected = Request::Distlock(Words(words.map(str::to_owned).to_vec()));
        let call = |first: &[&str]| Request::parse(first.iter().chain(&words).map(OsString::from));
        assert_eq!(call(&["expgsql", "distlock"]), expected);
        assert_eq!(call(&["/usr/local/bin/distlock"]), expected);
        let help = Request::Distlock(Words(vec!["--help".to_owned()]));
        assert_eq!(parse(&["distlock", "--help"]), help);
        assert_eq!(parse(&["distlock"]), Request::Distlock(Words(Vec::new())));
        assert!(!format!("{expected:?}").contains("host"));
    }

    #[test]
    fn a_cluster_command_is_called_by_its_older_name_too() {
        let parse = |words: &[&str]| Request::parse(words.iter().map(OsString::from));
        for (old, new) in [
            ("cls_repair_by_pg_rewind", "rewind"),
            ("/usr/local/bin/cls_rebuild_slave", "rebuild"),
            ("cls_repair_slave", "repair"),
        ] {
            let expected = parse(&["expgsql", "cluster", new, "--yes", "--resource", "db"]);
            assert!(matches!(expected, Request::Cluster(_)), "{expected:?}");
            assert_eq!(parse(&[old, "--yes", "--resource=db"]), expected);
        }
        for words in [
            &["cls_nonsense"][..],
            &["cls_"],
            &["expgsql", "cluster"],
            &["expgsql", "cluster", "rebuild", "--nonsense"],
            &["expgsql", "cluster", "rebuild", "node2"],
            &["expgsql", "cluster", "rebuild", "--timeout", "soon"],
        ] {
            assert!(matches!(parse(words), Request::Misused(_)), "{words:?}");
        }
        for words in [
            &["cls_rebuild_slave", "--help"][..],
            &["expgsql", "cluster", "--help"],
            &["expgsql", "cluster", "rewind", "-h"],
        ] {
            assert!(matches!(parse(words), Request::Show(_)), "{words:?}");
        }
    }

    #[test]
    fn every_script_of_pha4pgsql_that_changes_the_cluster_has_its_command() {
        let parse = |words: &[&str]| Request::parse(words.iter().map(OsString::from));
        for (old, new, rest) in [
            ("cls_start", "start", &[][..]),
            ("cls_stop", "stop", &["--yes"]),
            ("cls_cleanup", "cleanup", &[]),
            ("cls_online_switch", "switch", &[]),
            ("cls_online_switch", "switch", &["node2", "--yes"]),
            ("cls_reset_master", "reset-master", &[]),
            ("cls_reset_master", "reset-master", &["node2", "--force"]),
            ("cls_maintenance", "maintenance", &[]),
            ("cls_unmaintenance", "unmaintenance", &[]),
            ("cls_maintenance_node", "maintenance-node", &["node2"]),
            ("cls_unmaintenance_node", "unmaintenance-node", &["node2"]),
            ("cls_standby_node", "standby-node", &["node2"]),
            ("cls_unstandby_node", "unstandby-node", &["node2"]),
            ("cls_manage", "manage", &[]),
            ("cls_unmanage", "unmanage", &[]),
        ] {
            let expected = parse(&[&["expgsql", "cluster", new], rest].concat());
            assert!(matches!(expected, Request::Cluster(_)), "{expected:?}");
            assert_eq!(parse(&[&[old], rest].concat()), expected);
        }
        for words in [
            &["cls_standby_node"][..],
            &["cls_maintenance_node"],
            &["cls_start", "node2"],
            &["cls_reset_master", "--force"],
            &["cls_online_switch", "node2", "node3"],
            &["cls_stop", "--timeout", "-1"],
        ] {
            assert!(matches!(parse(words), Request::Misused(_)), "{words:?}");
        }
    }

    #[test]
    fn the_process_that_start_leaves_behind_is_told_what_to_do() {
        assert_eq!(
            parse(&["repair-standby", "rebuild"]),
            Request::RepairStandby(Work::Rebuild)
        );
        for words in [&["repair-standby"][..], &["repair-standby", "nothing"]] {
            assert!(matches!(parse(words), Request::Misused(_)), "{words:?}");
        }
    }

    #[test]
    fn no_log_is_named_after_a_word_that_may_hold_a_password() {
        for words in [
            &["expgsql", "distlock", "password=x", "status", "l"][..],
            &["/bin/distlock", "password=x", "status", "l"],
        ] {
            let request = Request::parse(words.iter().map(OsString::from));
            assert_eq!(request.log_name(), "distlock");
        }
        assert_eq!(parse(&["monitor"]).log_name(), "monitor");
    }

    #[test]
    fn an_action_that_does_not_exist_is_named() {
        for name in ["no_cmd", "migrate_to", "", "Start"] {
            assert_eq!(parse(&[name]), Request::UnknownAction(name.to_owned()));
        }
        // Not even text: the command line is wrong, not the action.
        let bytes = OsString::from_vec(vec![b'x', 0xff]);
        let request = Request::parse(["expgsql".into(), bytes]);
        assert!(matches!(request, Request::Misused(_)), "{request:?}");
    }

    #[test]
    fn parameters_takes_at_most_one_format() {
        let cases = [
            (&["parameters"][..], Format::Text),
            (&["parameters", "--json"], Format::Json),
            (&["parameters", "--markdown"], Format::Markdown),
        ];
        for (args, format) in cases {
            assert_eq!(parse(args), Request::Parameters(format));
        }
        let both = parse(&["parameters", "--json", "--markdown"]);
        assert!(matches!(both, Request::Misused(_)), "{both:?}");
    }

    #[test]
    fn help_and_version_are_shown_and_nonsense_is_misuse() {
        for args in [&["--help"][..], &["-h"], &["--version"], &["-V"]] {
            assert!(matches!(parse(args), Request::Show(_)), "{args:?}");
        }
        for args in [&[][..], &["--nonsense"], &["parameters", "--nonsense"]] {
            assert!(matches!(parse(args), Request::Misused(_)), "{args:?}");
        }
    }

    #[test]
    fn help_teaches_every_action_and_an_example() {
        let help = help();
        for action in Action::VARIANTS {
            assert!(
                help.contains(&format!("  {action} ")),
                "{action} is missing in:\n{help}"
            );
        }
        assert!(
            help.contains("pcs resource create pgsql ocf:heartbeat:expgsql"),
            "{help}"
        );
    }

    /// The example is what people copy.
    #[test]
    fn help_names_only_parameters_that_exist() {
        let example = help();
        let example = example.split("ocf:heartbeat:expgsql \\").nth(1).unwrap();
        let example = example.split(" op ").next().unwrap();
        for word in example.split_whitespace().filter(|word| word.contains('=')) {
            let name = word.split('=').next().unwrap();
            assert!(PARAMS.iter().any(|param| param.name == name), "{name}");
        }
    }

    #[test]
    fn methods_is_one_action_a_line() {
        assert_eq!(methods().lines().count(), Action::VARIANTS.len());
        assert!(methods().starts_with("start\nstop\n"));
    }

    #[test]
    fn every_format_shows_every_parameter() {
        for format in [Format::Text, Format::Json, Format::Markdown] {
            let table = parameters(format).unwrap();
            for param in PARAMS {
                assert!(
                    table.contains(param.name),
                    "{} is missing in {format:?}",
                    param.name
                );
            }
        }
    }

    #[test]
    fn each_markdown_row_has_five_cells() {
        for line in parameters(Format::Markdown).unwrap().lines() {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
        }
    }
}
