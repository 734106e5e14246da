//! From a command line and an environment to an exit code.

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::cli::{self, Request};
use crate::log;
use crate::ocf::{Action, OcfCode, OcfEnv, Outcome, Vars, reason};
use crate::params::{ParamError, Params, Resolved, check_consistency};
use crate::{agent, check, cluster, distlock, links, metadata, setup};

/// The check level from which validate-all looks at this machine too. Source: OCF 1.1, check levels.
const LOCAL_CHECKS: u32 = 10;

/// Does what `args` ask for in the environment `vars`, and prints to standard output and standard error.
///
/// A panic is a bug. It becomes an exit reason and [`OcfCode::ErrGeneric`], after the message the panic itself printed.
///
/// The operator's commands have exit codes of their own ([`cluster::Exit`]); everything else ends with an [`OcfCode`].
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let vars = Vars::new(vars);
    let request = Request::parse(args);
    if let Request::Check(args) = &request {
        // Once a second or so: nothing of it goes to the journal.
        return check::run(args);
    }
    log::init(request.log_name(), request.log_reader());
    if let Request::Cluster(command) = &request {
        return cluster::run(command).into();
    }
    if let Request::Setup(command) = &request {
        return setup::run(command, &links::names()).into();
    }
    let mut streams = Streams {
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        prefix: vars.exit_reason_prefix(),
    };
    guarded(&mut streams, |streams| {
        respond(&request, &vars, streams, agent::dispatch)
    })
    .into()
}

/// What does the action once it is known what Pacemaker said.
///
/// The last: what is wrong with the parameters, in spite of which an action goes on.
type Agent = fn(Action, &OcfEnv, &Params, Option<&ParamError>) -> Outcome;

/// Where things are printed.
struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// See [`reason::report`].
    prefix: &'a str,
}

impl Streams<'_> {
    fn conclude(&mut self, outcome: &Outcome) -> io::Result<OcfCode> {
        if let Some(text) = &outcome.reason {
            reason::report(self.err, self.prefix, text)?;
        }
        Ok(outcome.code)
    }

    fn print(&mut self, text: &str) -> io::Result<OcfCode> {
        match self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
        {
            // The reader has seen enough, as in `expgsql parameters | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(OcfCode::Success),
            Err(error) => Err(error),
            Ok(()) => Ok(OcfCode::Success),
        }
    }
}

fn guarded(
    streams: &mut Streams<'_>,
    body: impl FnOnce(&mut Streams<'_>) -> io::Result<OcfCode>,
) -> OcfCode {
    let outcome = match catch_unwind(AssertUnwindSafe(|| body(streams))) {
        Ok(Ok(code)) => return code,
        Ok(Err(error)) => {
            Outcome::because(OcfCode::ErrGeneric, format!("writing the answer: {error}"))
        }
        Err(panic) => Outcome::because(
            OcfCode::ErrGeneric,
            format!(
                "bug in expgsql: {}; please report it with the log of this action",
                panic_message(&*panic)
            ),
        ),
    };
    // Nothing is left to tell it to when standard error is closed as well.
    let _ = streams.conclude(&outcome);
    outcome.code
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

fn respond(
    request: &Request,
    vars: &Vars,
    streams: &mut Streams<'_>,
    agent: Agent,
) -> io::Result<OcfCode> {
    match request {
        // These three need nothing: no parameter, no cluster, no PostgreSQL. A broken value must not keep Pacemaker from
        // reading the metadata.
        Request::Act(Action::MetaData) => streams.print(&metadata::render()?),
        Request::Act(Action::Methods) => streams.print(&cli::methods()),
        Request::Act(Action::Usage) => streams.print(&cli::help()),
        Request::Act(action) => act(*action, vars, streams, agent),
        Request::UnknownAction(name) => streams.conclude(&Outcome::because(
            OcfCode::ErrUnimplemented,
            format!("{name:?} is not an action of expgsql; expgsql methods lists them"),
        )),
        Request::Distlock(words) => match distlock::cli::run(&words.0) {
            Ok(text) => streams.print(&text),
            // pha4pgsql's scripts know 1 for everything that is no answer.
            Err(text) => {
                writeln!(streams.err, "{text}")?;
                Ok(OcfCode::ErrGeneric)
            }
        },
        Request::FollowPrimary { old_receiver } => detached(vars, streams, |env, params| {
            agent::follow_primary(env, params, *old_receiver)
        }),
        Request::RepairStandby(work) => detached(vars, streams, |env, params| {
            agent::repair_standby(env, params, *work)
        }),
        Request::TryStorage => detached(vars, streams, agent::try_storage),
        // Have exit codes that are not OCF's, see `run`.
        Request::Cluster(_) | Request::Setup(_) | Request::Check(_) => {
            Ok(OcfCode::ErrUnimplemented)
        }
        Request::Parameters(format) => streams.print(&cli::parameters(*format)?),
        Request::Show(text) => streams.print(text),
        // The older agents end with 1 here. OCF has a code for a wrong command line: 2.
        Request::Misused(text) => {
            streams.err.write_all(text.as_bytes())?;
            Ok(OcfCode::ErrArgs)
        }
    }
}

/// A process that an action left behind: whatever is wrong with the parameters, the action has seen it.
fn detached(
    vars: &Vars,
    streams: &mut Streams<'_>,
    work: impl FnOnce(&OcfEnv, &Params) -> Outcome,
) -> io::Result<OcfCode> {
    match OcfEnv::from_vars(vars) {
        Ok(env) => streams.conclude(&work(&env, &Params::resolve(vars).params)),
        Err(error) => streams.conclude(&Outcome::because(error.ocf_code(), error)),
    }
}

fn act(
    action: Action,
    vars: &Vars,
    streams: &mut Streams<'_>,
    agent: Agent,
) -> io::Result<OcfCode> {
    let env = match OcfEnv::from_vars(vars) {
        Ok(env) => env,
        Err(error) => return streams.conclude(&Outcome::because(error.ocf_code(), error)),
    };
    let Resolved {
        params,
        mut problems,
    } = Params::resolve(vars);
    problems.extend(check_consistency(&params, &env).err());
    if action == Action::ValidateAll {
        for name in Params::unknown(vars) {
            writeln!(
                streams.err,
                "{name} is not a parameter of expgsql and is ignored; look for a typing error"
            )?;
        }
    }
    // The first problem becomes the exit reason, which has room for one.
    for problem in problems.iter().skip(1) {
        writeln!(streams.err, "{problem}")?;
    }
    let outcome = match problems.first() {
        Some(problem) if on_problem(action) == OnProblem::Refuse => {
            Outcome::because(problem.ocf_code(), problem)
        }
        None if action == Action::ValidateAll && env.check_level < LOCAL_CHECKS => {
            Outcome::of(OcfCode::Success)
        }
        problem => agent(action, &env, &params, problem),
    };
    streams.conclude(&outcome)
}

/// What an action does when something is wrong with the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnProblem {
    Refuse,
    /// Work with the parameters that can be read.
    GoOn,
}

/// A typing error made while the database runs must not end it.
///
/// Were stop to fail, the node would be fenced; were demote to fail, a primary would stay where it must not; and code 6
/// from monitor or reload-agent would make Pacemaker stop the resource on every node. What needs a restart is refused by
/// the start.
const fn on_problem(action: Action) -> OnProblem {
    match action {
        Action::Start | Action::Promote | Action::ValidateAll => OnProblem::Refuse,
        Action::Stop
        | Action::Status
        | Action::Monitor
        | Action::Demote
        | Action::Notify
        | Action::ReloadAgent
        | Action::MetaData
        | Action::Methods
        | Action::Usage => OnProblem::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::os::unix::ffi::OsStringExt;

    use strum::VariantArray;

    use super::{Agent, OnProblem, Streams, guarded, on_problem, respond};
    use crate::cli::Request;
    use crate::ocf::{Action, OcfCode, Outcome, Vars};

    struct Answer {
        code: OcfCode,
        out: String,
        err: String,
    }

    fn call(args: &[&str], vars: &Vars, agent: Agent) -> Answer {
        let request = Request::parse(["expgsql"].iter().chain(args).map(OsString::from));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let prefix = vars.exit_reason_prefix();
        let mut streams = Streams {
            out: &mut out,
            err: &mut err,
            prefix,
        };
        let code = guarded(&mut streams, |streams| {
            respond(&request, vars, streams, agent)
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer {
            code,
            out: text(out),
            err: text(err),
        }
    }

    /// `given` on top of a resource named pgsql, on a node, in a monitor that recurs.
    fn scheduled(given: &[(&str, &str)]) -> Vars {
        let always = [
            ("OCF_RESOURCE_INSTANCE", "pgsql"),
            ("OCF_RESKEY_CRM_meta_on_node", "node1"),
            ("OCF_RESKEY_CRM_meta_interval", "4000"),
        ];
        Vars::new(always.iter().chain(given).copied())
    }

    const UNREACHABLE: Agent = |action, _, _, _| panic!("{action} reached the agent");

    #[test]
    fn self_descriptions_need_no_environment_and_survive_a_broken_one() {
        let broken = Vars::new([
            (
                OsString::from("OCF_RESKEY_pgport"),
                OsString::from("nonsense"),
            ),
            (
                OsString::from("OCF_RESKEY_pgdata"),
                OsString::from_vec(vec![0xff]),
            ),
            (
                OsString::from("OCF_RESKEY_CRM_meta_timeout"),
                OsString::from("soon"),
            ),
        ]);
        for vars in [Vars::default(), broken] {
            for (action, part) in [
                ("meta-data", "<resource-agent name=\"expgsql\""),
                ("methods", "validate-all\n"),
                ("usage", "pcs resource create"),
                ("help", "pcs resource create"),
            ] {
                let answer = call(&[action, "extra"], &vars, UNREACHABLE);
                assert_eq!(answer.code, OcfCode::Success, "{action}");
                assert!(answer.out.contains(part), "{action}: {}", answer.out);
                assert_eq!(answer.err, "", "{action}");
            }
        }
    }

    #[test]
    fn an_unknown_action_is_unimplemented_even_where_nothing_else_is_right() {
        let answer = call(&["no_cmd"], &Vars::default(), UNREACHABLE);
        assert_eq!(answer.code, OcfCode::ErrUnimplemented);
        assert!(
            answer
                .err
                .starts_with("ocf-exit-reason:\"no_cmd\" is not an action"),
            "{}",
            answer.err
        );
    }

    #[test]
    fn no_action_shows_the_usage_and_is_an_argument_error() {
        let answer = call(&[], &Vars::default(), UNREACHABLE);
        assert_eq!(answer.code, OcfCode::ErrArgs);
        assert!(answer.err.contains("expgsql ACTION"), "{}", answer.err);
        assert_eq!(answer.out, "");
    }

    #[test]
    fn an_action_without_a_resource_name_says_so() {
        let answer = call(&["monitor"], &Vars::default(), UNREACHABLE);
        assert_eq!(answer.code, OcfCode::ErrArgs);
        let line = answer.err.lines().last().unwrap();
        assert!(
            line.starts_with("ocf-exit-reason:OCF_RESOURCE_INSTANCE is not set"),
            "{line}"
        );
    }

    #[test]
    fn a_bad_parameter_is_refused_only_where_that_cannot_end_a_running_database() {
        let refuse = [Action::Start, Action::Promote, Action::ValidateAll];
        for action in Action::VARIANTS {
            let expected = if refuse.contains(action) {
                OnProblem::Refuse
            } else {
                OnProblem::GoOn
            };
            assert_eq!(on_problem(*action), expected, "{action}");
        }
    }

    #[test]
    fn start_with_bad_parameters_gives_one_reason_and_all_problems() {
        let vars = scheduled(&[("OCF_RESKEY_pgport", "x"), ("OCF_RESKEY_maxlag", "much")]);
        let answer = call(&["start"], &vars, UNREACHABLE);
        assert_eq!(answer.code, OcfCode::ErrConfigured);
        assert!(answer.err.contains("maxlag=\"much\""), "{}", answer.err);
        let last = answer.err.lines().last().unwrap();
        assert!(
            last.starts_with("ocf-exit-reason:pgport=\"x\" is not a port number"),
            "{last}"
        );
        assert_eq!(answer.err.matches("ocf-exit-reason:").count(), 1);
    }

    #[test]
    fn stop_works_with_the_parameters_that_can_be_read() {
        let vars = scheduled(&[
            ("OCF_RESKEY_rep_mode", "bogus"),
            ("OCF_RESKEY_pgdata", "/data"),
        ]);
        let answer = call(&["stop"], &vars, |_, _, params, _| {
            assert_eq!(params.pgdata, std::path::Path::new("/data"));
            Outcome::of(OcfCode::Success)
        });
        assert_eq!(answer.code, OcfCode::Success);
        assert_eq!(answer.err, "");
    }

    #[test]
    fn validate_all_looks_at_the_machine_only_from_level_ten() {
        let failing: Agent = |_, _, _, _| Outcome::because(OcfCode::ErrInstalled, "no pg_ctl");
        for (level, code) in [
            ("0", OcfCode::Success),
            ("5", OcfCode::Success),
            ("10", OcfCode::ErrInstalled),
            ("20", OcfCode::ErrInstalled),
        ] {
            let answer = call(
                &["validate-all"],
                &scheduled(&[("OCF_CHECK_LEVEL", level)]),
                failing,
            );
            assert_eq!(answer.code, code, "level {level}");
        }
    }

    #[test]
    fn validate_all_warns_of_a_misspelt_parameter() {
        let answer = call(
            &["validate-all"],
            &scheduled(&[("OCF_RESKEY_node_lst", "a")]),
            UNREACHABLE,
        );
        assert_eq!(answer.code, OcfCode::Success);
        assert!(
            answer.err.starts_with("node_lst is not a parameter"),
            "{}",
            answer.err
        );
    }

    #[test]
    fn a_panic_becomes_a_reason_and_the_generic_error() {
        let answer = call(&["monitor"], &scheduled(&[]), UNREACHABLE);
        assert_eq!(answer.code, OcfCode::ErrGeneric);
        let last = answer.err.lines().last().unwrap();
        assert!(
            last.starts_with("ocf-exit-reason:bug in expgsql: monitor reached the agent"),
            "{last}"
        );
    }

    #[test]
    fn a_reader_that_stops_reading_is_no_failure_and_a_full_disk_is_one() {
        struct Failing(io::ErrorKind);
        impl io::Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, code) in [
            (io::ErrorKind::BrokenPipe, OcfCode::Success),
            (io::ErrorKind::StorageFull, OcfCode::ErrGeneric),
        ] {
            let mut err = Vec::new();
            let mut streams = Streams {
                out: &mut Failing(kind),
                err: &mut err,
                prefix: "why:",
            };
            let request = Request::Act(Action::MetaData);
            let found = guarded(&mut streams, |streams| {
                respond(&request, &Vars::default(), streams, UNREACHABLE)
            });
            assert_eq!(found, code, "{kind}");
        }
    }
}
