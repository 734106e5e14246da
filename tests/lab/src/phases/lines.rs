//! Lines of corosync's, Pacemaker's and PostgreSQL's logs, as events with a time.

use super::Millis;

const DAY: i64 = 86_400_000;

/// What has to be added to the times of a log that tells neither its year nor its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The year the log is of.
    pub year: i64,
    /// How far the machine's local time is ahead of UTC.
    pub ahead: Millis,
}

/// Something that a log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// corosync gave a node up and looks who is left.
    TokenLost,
    /// corosync has a membership that somebody has left.
    NodeLeft,
    /// A monitor found something else than it should.
    MonitorFailed { resource: String, node: String },
    /// The coordinator begins to plan.
    Planning,
    /// The scheduler is at work.
    Scheduling,
    /// A plan is carried out.
    Graph(u32),
    /// What was planned no longer holds, and why.
    Aborted(String),
    /// An operation is asked for.
    Begun(Operation),
    /// An operation of this plan and this number has ended.
    Ended { graph: u32, action: u32 },
    /// The machine's load makes the controller do one thing at a time.
    Throttled,
    /// PostgreSQL says something about itself.
    Server(Says),
}

/// An operation, as the coordinator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `start`, `promote`, `notify`, …
    pub name: String,
    /// `pgsql_pre_notify_promote_0`
    pub key: String,
    pub node: String,
    /// Its number in the plan.
    pub action: u32,
}

impl Operation {
    /// Whether it is one of this resource's.
    pub fn is_of(&self, resource: &str) -> bool {
        let rest = self.key.strip_prefix(resource);
        rest.is_some_and(|rest| rest.starts_with('_'))
    }
}

/// What PostgreSQL says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It was asked to shut down.
    StopAsked,
    /// It is down.
    Down,
    /// It was asked to leave its recovery.
    PromoteAsked,
    /// It takes writes.
    Writable,
    /// It has another list of standbys that commits wait for.
    OtherNames,
}

/// An event, when it was, and on which node's disk it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Millis,
    pub node: String,
    pub what: What,
}

/// The events of a part of Pacemaker's log.
pub fn pacemaker(node: &str, text: &str, calendar: Calendar) -> Vec<Event> {
    events(node, text, |line| {
        let (at, rest) = without_year(line, calendar)?;
        Some((at, pacemaker_says(rest)?))
    })
}

/// The events of a part of corosync's log.
pub fn corosync(node: &str, text: &str, calendar: Calendar) -> Vec<Event> {
    events(node, text, |line| {
        let (at, rest) = without_year(line, calendar)?;
        if rest.contains("A processor failed, forming new configuration") {
            Some((at, What::TokenLost))
        } else if rest.contains("A new membership") && rest.contains("Members left:") {
            Some((at, What::NodeLeft))
        } else {
            None
        }
    })
}

/// The events of a part of PostgreSQL's log, where it is in English and its times are UTC's: others are not read.
pub fn postgresql(node: &str, text: &str) -> Vec<Event> {
    events(node, text, |line| {
        let (date, rest) = line.split_once(' ')?;
        let (time, rest) = rest.split_once(' ')?;
        let (zone, rest) = rest.split_once(' ')?;
        if !["GMT", "UTC"].contains(&zone) {
            return None;
        }
        let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let at = days(year, month, day) * DAY + time_of_day(time)?;
        let (_, said) = rest.split_once("LOG:  ")?;
        let says = if said.contains("shutdown request") && said.starts_with("received") {
            Says::StopAsked
        } else if said == "database system is shut down" {
            Says::Down
        } else if said == "received promote request" {
            Says::PromoteAsked
        } else if said == "database system is ready to accept connections" {
            Says::Writable
        } else if said.starts_with("parameter \"synchronous_standby_names\"") {
            Says::OtherNames
        } else {
            return None;
        };
        Some((at, What::Server(says)))
    })
}

fn events(node: &str, text: &str, read: impl Fn(&str) -> Option<(Millis, What)>) -> Vec<Event> {
    let event = |(at, what)| Event {
        at,
        node: node.to_owned(),
        what,
    };
    text.lines().filter_map(read).map(event).collect()
}

/// What a line of Pacemaker's log says, behind its time.
fn pacemaker_says(line: &str) -> Option<What> {
    // The information base's differences quote everything else.
    if line.contains("(cib_perform_op)") {
        return None;
    }
    if line.contains(" pacemaker-schedulerd") {
        return Some(What::Scheduling);
    }
    let (function, said) = line.split_once(") \t")?;
    let (_, function) = function.rsplit_once('(')?;
    let (_, said) = said.split_once(": ")?;
    match function {
        "do_state_transition" => said
            .contains("-> S_POLICY_ENGINE")
            .then_some(What::Planning),
        "do_te_invoke" => {
            let (_, rest) = said.split_once("Processing graph ")?;
            Some(What::Graph(number(rest)?))
        }
        "execute_rsc_action" => begun(said).map(What::Begun),
        "process_graph_event" => {
            let rest = said.strip_prefix("Transition ")?;
            let (graph, rest) = (number(rest)?, rest.split_once(" action ")?.1);
            said.contains(" confirmed: ").then_some(What::Ended {
                graph,
                action: number(rest)?,
            })
        }
        "abort_transition_graph" => {
            let (_, why) = said.split_once(" aborted")?;
            let why = why.split(" | ").next().unwrap_or(why);
            Some(What::Aborted(why.trim_start_matches([' ', ':']).to_owned()))
        }
        "log_executor_event" => monitor_failed(said),
        "throttle_check_thresholds" => said.starts_with("High CPU load").then_some(What::Throttled),
        _ => None,
    }
}

/// `Initiating notify operation pgsql_pre_notify_demote_0 locally on node2 | action 64`
fn begun(said: &str) -> Option<Operation> {
    let rest = said.strip_prefix("Initiating ")?;
    let (name, rest) = rest.split_once(" operation ")?;
    let (whom, rest) = rest.split_once(" | action ")?;
    let (key, node) = whom.split_once(" on ")?;
    Some(Operation {
        name: name.to_owned(),
        key: key.trim_end_matches(" locally").to_owned(),
        node: node.to_owned(),
        action: number(rest)?,
    })
}

/// `Result of monitor operation for pgsql on node1: not running (why) | CIB update 31, …; call=20 key=pgsql_monitor_3000 rc=7`
fn monitor_failed(said: &str) -> Option<What> {
    let rest = said.strip_prefix("Result of monitor operation for ")?;
    let (resource, rest) = rest.split_once(" on ")?;
    let (node, result) = rest.split_once(": ")?;
    // As OCF has them: running, promoted, and the two degraded ones.
    let is_well = [
        "ok",
        "promoted",
        "Cancelled",
        "degraded",
        "promoted (degraded)",
    ]
    .iter()
    .any(|well| {
        result.split([' ', '(']).next() == Some(*well) || result.starts_with(&format!("{well} |"))
    });
    (!is_well).then(|| What::MonitorFailed {
        resource: resource.to_owned(),
        node: node.to_owned(),
    })
}

/// The number that a text begins with.
fn number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    text[..digits.unwrap_or(text.len())].parse().ok()
}

/// `Dec 01 04:49:42.665 …`: the time, and what follows it.
fn without_year(line: &str, calendar: Calendar) -> Option<(Millis, &str)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (month, rest) = line.split_once(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let month = i64::try_from(month).ok()? + 1;
    let local = days(calendar.year, month, day.parse().ok()?) * DAY + time_of_day(time)?;
    Some((local - calendar.ahead, rest))
}

/// `04:49:42.665`; a time without a fraction is none that could be compared.
fn time_of_day(text: &str) -> Option<Millis> {
    let (whole, fraction) = text.split_once('.')?;
    let mut parts = whole.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if fraction.len() != 3 {
        return None;
    }
    let fraction: i64 = fraction.parse().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their odd day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALENDAR: Calendar = Calendar {
        year: 2026,
        ahead: 0,
    };

    /// One line of Pacemaker's log.
    fn said(daemon_and_text: &str) -> Option<What> {
        let line = format!("Dec 01 04:49:42.665 node2 {daemon_and_text}");
        let mut events = pacemaker("node2", &line, CALENDAR);
        events.pop().map(|event| event.what)
    }

    #[test]
    fn times_of_all_logs_are_on_one_scale() {
        let corosync_line = "Dec 01 04:51:30.313 [45] node1 corosync notice  [TOTEM ] A processor failed, forming new configuration: token timed out (3650ms), waiting 4380ms for consensus.";
        let server_line = "2026-12-01 04:51:30.313 GMT [194]  LOG:  received promote request";
        let by_corosync = corosync("node1", corosync_line, CALENDAR);
        let by_server = postgresql("node1", server_line);
        assert_eq!(by_corosync[0].at, by_server[0].at);
        // 2026-12-01T04:51:30Z
        assert_eq!(by_server[0].at, 1_796_100_690_313);
        let ahead = Calendar {
            year: 2026,
            ahead: 3_600_000,
        };
        let earlier = corosync("node1", corosync_line, ahead);
        assert_eq!(earlier[0].at, by_server[0].at - 3_600_000);
    }

    #[test]
    fn times_without_milliseconds_or_of_another_zone_are_not_read() {
        let seconds = "Dec 01 04:51:30 [45] node1 corosync notice  [TOTEM ] A processor failed, forming new configuration: token";
        assert_eq!(corosync("node1", seconds, CALENDAR), []);
        let other = "2026-12-01 05:51:30.313 CET [194]  LOG:  received promote request";
        assert_eq!(postgresql("node1", other), []);
    }

    #[test]
    fn a_membership_counts_when_somebody_has_left_it() {
        let line = |text: &str| {
            let line = format!("Dec 01 04:51:34.697 [45] node1 corosync notice  [TOTEM ] {text}");
            corosync("node1", &line, CALENDAR)
                .into_iter()
                .map(|event| event.what)
                .collect::<Vec<_>>()
        };
        let left = "A new membership (1.d) was formed. Members left: 3";
        assert_eq!(line(left), [What::NodeLeft]);
        assert_eq!(
            line("A new membership (1.11) was formed. Members joined: 3"),
            []
        );
        assert_eq!(line("Token has not been received in 2737 ms "), []);
    }

    #[test]
    fn an_operation_is_asked_for_here_or_there_and_ends() {
        let begun = |whom: &str| {
            said(&format!(
                "pacemaker-controld  [75] (execute_rsc_action) \tnotice: Initiating notify operation {whom} | action 64"
            ))
        };
        let operation = What::Begun(Operation {
            name: "notify".to_owned(),
            key: "pgsql_pre_notify_demote_0".to_owned(),
            node: "node2".to_owned(),
            action: 64,
        });
        let here = begun("pgsql_pre_notify_demote_0 locally on node2");
        assert_eq!(here, Some(operation.clone()));
        assert_eq!(begun("pgsql_pre_notify_demote_0 on node2"), Some(operation));
        let ended = said(
            "pacemaker-controld  [75] (process_graph_event) \tinfo: Transition 5 action 64 (pgsql_notify_0 on node2) confirmed: ok | rc=0 call-id=24",
        );
        let expected = What::Ended {
            graph: 5,
            action: 64,
        };
        assert_eq!(ended, Some(expected));
    }

    #[test]
    fn a_monitor_that_found_what_it_should_is_no_sign() {
        let result = |result: &str| {
            said(&format!(
                "pacemaker-controld  [77] (log_executor_event) \tnotice: Result of monitor operation for pgsql on node1: {result}"
            ))
        };
        let failed = Some(What::MonitorFailed {
            resource: "pgsql".to_owned(),
            node: "node1".to_owned(),
        });
        assert_eq!(
            result(
                "not running (PostgreSQL does not run) | CIB update 31, graph action unconfirmed; call=20 key=pgsql_monitor_3000 rc=7"
            ),
            failed
        );
        assert_eq!(
            result(
                "promoted | CIB update 42, graph action unconfirmed; call=34 key=pgsql_monitor_3000 rc=8"
            ),
            None
        );
        assert_eq!(result("ok | CIB update 8; call=9 key=k rc=0"), None);
        assert_eq!(
            result("Cancelled | graph action confirmed; call=20 key=pgsql_monitor_3000"),
            None
        );
    }

    #[test]
    fn the_coordinator_s_and_the_scheduler_s_steps_are_told_apart() {
        assert_eq!(
            said(
                "pacemaker-controld  [75] (do_state_transition) \tnotice: State transition S_IDLE -> S_POLICY_ENGINE | input=I_PE_CALC cause=C_FSA_INTERNAL origin=abort_transition_graph"
            ),
            Some(What::Planning)
        );
        assert_eq!(
            said(
                "pacemaker-controld  [75] (do_state_transition) \tinfo: State transition S_POLICY_ENGINE -> S_TRANSITION_ENGINE | input=I_PE_SUCCESS cause=C_IPC_MESSAGE origin=handle_reply"
            ),
            None
        );
        assert_eq!(
            said("pacemaker-schedulerd[74] (determine_online_status) \tinfo: node3 is online"),
            Some(What::Scheduling)
        );
        assert_eq!(
            said(
                "pacemaker-controld  [75] (do_te_invoke) \tinfo: Processing graph 5 (ref=pe_calc-pacemaker-controld-1796100582-57) derived from /var/lib/pacemaker/pengine/pe-input-5.bz2"
            ),
            Some(What::Graph(5))
        );
        assert_eq!(
            said(
                "pacemaker-controld  [75] (throttle_check_thresholds) \tnotice: High CPU load detected: 12.750000"
            ),
            Some(What::Throttled)
        );
    }

    #[test]
    fn what_makes_a_plan_void_is_told_without_its_technical_end() {
        assert_eq!(
            said("pacemaker-controld  [75] (abort_transition_graph) \tnotice: Transition 8 aborted by status-1-pgsql-status doing modify pgsql-status=HS:alone: Transient attribute change | cib=101.13.6 source=abort_unless_down:299 path=/cib/status"),
            Some(What::Aborted("by status-1-pgsql-status doing modify pgsql-status=HS:alone: Transient attribute change".to_owned()))
        );
        assert_eq!(
            said(
                "pacemaker-controld  [75] (abort_transition_graph) \tinfo: Transition 15 aborted: Node failure | source=peer_update_callback:303 complete=true"
            ),
            Some(What::Aborted("Node failure".to_owned()))
        );
        assert_eq!(
            said(
                "pacemaker-based     [70] (cib_perform_op) \tinfo: +  /cib/status/x: Transition 5 aborted"
            ),
            None
        );
    }

    #[test]
    fn a_server_tells_when_it_takes_writes() {
        let says = |text: &str| {
            let line = format!("2026-12-01 04:51:03.315 GMT [191]  LOG:  {text}");
            let mut events = postgresql("node3", &line);
            events.pop().map(|event| event.what)
        };
        let server = |says| Some(What::Server(says));
        assert_eq!(
            says("database system is ready to accept connections"),
            server(Says::Writable)
        );
        assert_eq!(
            says("database system is ready to accept read-only connections"),
            None
        );
        assert_eq!(
            says("received fast shutdown request"),
            server(Says::StopAsked)
        );
        assert_eq!(says("received promote request"), server(Says::PromoteAsked));
        assert_eq!(
            says("parameter \"synchronous_standby_names\" changed to \"\"node1\"\""),
            server(Says::OtherNames)
        );
    }
}
