//! Every reason, and what is said where it counts.

use std::collections::BTreeSet;

use super::*;
use crate::decide::barred::Bar;
use crate::decide::election;
use crate::decide::observed::example::{documented, healthy, lock_row, name, quorum_of_three};
use crate::decide::observed::{
    FailCount, FailedAction, LockSeen, Placement, Presence, TargetRole, Votes,
};
use crate::decide::witness::{Coverage, Statement};
use crate::model::cluster_view::{NoQuorumPolicy, Quorum};
use crate::model::status::DataStatus;
use crate::model::timeline::WalPosition;

type Change = fn(&mut Observed);

/// What is the matter, how it comes about; the answer, and the codes of what is against all, and against each node.
type Case = (
    &'static str,
    Change,
    &'static str,
    &'static [&'static str],
    [&'static [&'static str]; 3],
);

fn node<'a>(seen: &'a mut Observed, node: &str) -> &'a mut NodeSeen {
    seen.nodes.get_mut(&name(node)).unwrap()
}

/// As after a failure of the machine.
fn lose(seen: &mut Observed, lost: &str) {
    let node = node(seen, lost);
    node.presence = Presence::Lost;
    node.status = None;
    node.streams = None;
}

fn position(text: &str, lsn: u64) -> WalPosition {
    WalPosition {
        lineage: text.parse().unwrap(),
        end: crate::model::lsn::Lsn::new(lsn),
    }
}

fn silent_lock(deadcheck: &[&str]) -> LockSeen {
    LockSeen::Silent {
        name: "l".to_owned(),
        why: "timeout".to_owned(),
        deadcheck: deadcheck.iter().map(|n| (*n).to_owned()).collect(),
    }
}

fn cases() -> Vec<Case> {
    vec![
        (
            "all is well",
            |_| {},
            "node1 is the primary. If it fails now, node3 takes over.",
            &[],
            [&[], &["ineligible"], &[]],
        ),
        (
            "the eligible node would not replay all it has",
            |seen| node(seen, "node3").held = Some("recovery_target_time".to_owned()),
            "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not wait for this node; node3: recovery_target_time is set there: a promotion would drop the WAL behind that point.",
            &[],
            [&[], &["ineligible"], &["held"]],
        ),
        (
            "the only eligible node is gone, and the primary, too",
            |seen| {
                lose(seen, "node1");
                lose(seen, "node3");
                seen.no_quorum_policy = NoQuorumPolicy::Ignore;
            },
            "There is no primary: nobody but node1 (offline) and node3 (offline) is known to have every acknowledged commit.",
            &[],
            [&["offline"], &["ineligible"], &["offline"]],
        ),
        (
            "the primary is gone and the eligible node is about to be promoted",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
            },
            "There is no primary yet: node3 may be promoted, and nothing is seen that keeps Pacemaker from it.",
            &[],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "somebody is offered, and Pacemaker promotes nobody",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.is_planned = Some(false);
            },
            "There is no primary: node3 may be promoted, and Pacemaker itself plans no promotion.",
            &[],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "another resource may hold it back",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.is_planned = Some(false);
                seen.held_by = vec!["with-app".to_owned(), "after-app".to_owned()];
            },
            "There is no primary: node3 may be promoted, and Pacemaker itself plans no promotion; another resource may hold it back, by with-app and after-app.",
            &[],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "Pacemaker is about to promote it",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.is_planned = Some(true);
            },
            "There is no primary yet: node3 may be promoted, and nothing is seen that keeps Pacemaker from it.",
            &[],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "everything is to stop",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.stops_all = true;
            },
            "There is no primary: Pacemaker is to stop everything (stop-all-resources=true).",
            &["stops-all"],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "no instance may be promoted",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.promotes_none = true;
            },
            "There is no primary: no instance of the clone may be promoted (promoted-max=0).",
            &["promotes-none"],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "another site has the ticket",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = Some(Score::new(1000));
                seen.tickets = vec![("site".to_owned(), "T".to_owned())];
            },
            "There is no primary: the ticket T is not granted here, and the constraint site asks for it.",
            &["ticket"],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "the writer's address may not follow",
            |seen| {
                let ban = |node: &str| crate::decide::observed::CompanionBan {
                    companion: "vip-master".to_owned(),
                    node: name(node),
                    id: format!("not-{node}"),
                };
                seen.companion_bans = vec![ban("node2"), ban("node3")];
            },
            "node1 is the primary. If it fails now, node3 takes over; but the constraint not-node3 keeps vip-master away from node3, so clients would not reach it there.",
            &[],
            [&[], &["ineligible"], &[]],
        ),
        (
            "it has not asked to be promoted yet",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").score = None;
            },
            "There is no primary: nobody but node1 (offline) and node3 (it is not offered (promotion score not set)) is known to have every acknowledged commit.",
            &[],
            [&["offline"], &["ineligible"], &["not-offered"]],
        ),
        (
            "no quorum",
            |seen| {
                lose(seen, "node1");
                lose(seen, "node2");
                seen.quorum = Quorum::No;
            },
            "There is no primary: this partition has no quorum, and no-quorum-policy is stop.",
            &["no-quorum"],
            [&["offline"], &["offline", "ineligible"], &[]],
        ),
        (
            "one of two is back after both lost power",
            |seen| {
                lose(seen, "node1");
                lose(seen, "node2");
                seen.quorum = Quorum::No;
                seen.votes = Some(Votes {
                    expected: 3,
                    one_each: true,
                    awaits_all: true,
                });
            },
            "There is no primary: this partition has no quorum before every node was seen since it started (corosync's wait_for_all), and no-quorum-policy is stop.",
            &["awaits-all"],
            [&["offline"], &["offline", "ineligible"], &[]],
        ),
        (
            "the lost primary is not fenced",
            |seen| {
                lose(seen, "node1");
                seen.fencing = true;
            },
            "There is no primary: node1 vanished and is not fenced: Pacemaker waits for that before it promotes anybody.",
            &["unfenced"],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "an operator stopped it",
            |seen| {
                seen.target_role = TargetRole::Stopped;
                for node in seen.nodes.values_mut() {
                    node.role = RecordedRole::Stopped;
                    node.status = Some(NodeStatus::Stopped);
                }
            },
            "There is no primary: an operator stopped the resource (target-role=Stopped).",
            &["target-role"],
            [
                &["not-running"],
                &["not-running", "ineligible"],
                &["not-running"],
            ],
        ),
        (
            "a ban on the one that could",
            |seen| {
                node(seen, "node3").placements.push(Placement {
                    id: "cli-ban-ms-on-node3".to_owned(),
                    node: name("node3"),
                    score: Score::MINUS_INFINITY,
                    promoted_only: true,
                    until: None,
                });
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: the constraint cli-ban-ms-on-node3 keeps the \
             primary away.",
            &[],
            [&[], &["ineligible"], &["banned"]],
        ),
        (
            "the parameters keep the one that could away",
            |seen| node(seen, "node3").bar = Some(Bar::NoFailover),
            "node1 is the primary. If it fails now, nobody can take over: node3: nofailover_node_list names it: it is never promoted.",
            &[],
            [&[], &["ineligible"], &["banned"]],
        ),
        (
            "in standby, in maintenance",
            |seen| {
                node(seen, "node3").standby = true;
                node(seen, "node2").maintenance = true;
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: in standby.",
            &[],
            [&[], &["node-maintenance", "ineligible"], &["standby"]],
        ),
        (
            "the cluster is in maintenance, the resource unmanaged",
            |seen| {
                seen.maintenance = true;
                seen.managed = false;
            },
            "node1 is the primary. If it fails now, nobody can take over: the cluster is in maintenance: Pacemaker promotes nobody.",
            &["maintenance", "unmanaged"],
            [&[], &["ineligible"], &[]],
        ),
        (
            "given up after too many failures",
            |seen| {
                let node = node(seen, "node3");
                node.fail_count = FailCount(3);
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: failed 3 times (migration-threshold=3): \
             Pacemaker keeps the resource away.",
            &[],
            [&[], &["ineligible"], &["given-up"]],
        ),
        (
            "an unreadable record",
            |seen| seen.sync = Err("the record is nonsense".to_owned()),
            "node1 is the primary. If it fails now, nobody can take over: node2: the record is nonsense; node3: the record is \
             nonsense.",
            &[],
            [&[], &["unreadable"], &["unreadable"]],
        ),
        (
            "a node that was cut off does not believe its grant",
            |seen| node(seen, "node3").distrusted = Some(true),
            "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not \
             wait for this node; node3: this node was cut off from the quorate partition since it was granted, and the grant \
             may have been revoked meanwhile.",
            &[],
            [&[], &["ineligible"], &["ineligible"]],
        ),
        (
            "two on record",
            |seen| {
                let node = node(seen, "node2");
                node.role = RecordedRole::Promoted;
                node.status = Some(NodeStatus::Primary);
            },
            "node1 and node2 are both on record as the primary: look at each at once.",
            &[],
            [&[], &[], &[]],
        ),
        (
            "a node is being promoted",
            |seen| {
                lose(seen, "node1");
                node(seen, "node3").role = RecordedRole::Promoted;
            },
            "There is no primary yet: node3 is being promoted.",
            &[],
            [&["offline"], &["ineligible"], &[]],
        ),
        (
            "Pacemaker promotes nobody",
            |seen| seen.promise = None,
            "Pacemaker promotes nobody here: rep_mode is none or slave.",
            &[],
            [&[], &[], &[]],
        ),
        (
            "nobody was ever promoted, and one has more",
            |seen| {
                seen.record = Ok(None);
                seen.sync = Ok(None);
                for (who, end) in [("node1", 0x100), ("node2", 0x200), ("node3", 0x300)] {
                    let node = node(seen, who);
                    node.role = RecordedRole::Unpromoted;
                    node.status = Some(NodeStatus::Alone);
                    node.data = Ok(None);
                    node.score = Some(Score::new(100));
                    node.report = Some(position("1", end));
                }
            },
            "There is no primary yet: node3 may be promoted, and nothing is seen that keeps Pacemaker from it.",
            &[],
            [&["election"], &["election"], &[]],
        ),
        (
            "in asynchronous mode whoever streams may be promoted",
            |seen| {
                seen.promise = Some(Promise::Async);
                seen.sync = Ok(None);
            },
            "node1 is the primary. If it fails now, node3 takes over.",
            &[],
            [&[], &["not-offered"], &[]],
        ),
        (
            "its Pacemaker joins, and its data are repaired",
            |seen| {
                node(seen, "node2").presence = Presence::Joining;
                node(seen, "node3").repair = Some("rewind: copying".to_owned());
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: its data are being repaired (rewind: copying).",
            &[],
            [&[], &["joining", "ineligible"], &["repairing"]],
        ),
        (
            "one is not of the cluster, the start of the other failed",
            |seen| {
                node(seen, "node2").is_replica = false;
                let failed = node(seen, "node3");
                failed.role = RecordedRole::Stopped;
                failed.failures.push(FailedAction {
                    operation: "start".to_owned(),
                    code: 1,
                    timed_out: true,
                    reason: None,
                    at: None,
                });
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: its start failed: no reason was given, see the \
             log.",
            &[],
            [&[], &["not-listed"], &["start-failed"]],
        ),
        (
            "with quorum commit too few could say what they have",
            |seen| {
                *seen = quorum_of_three();
                lose(seen, "node2");
            },
            "node1 is the primary. If it fails now, nobody can take over: node2: offline: it left without a word, and may run \
             out of reach; node3: the last commits may be on node2 only: 1 more of them must say how much it has.",
            &[],
            [&[], &["offline"], &["too-few-witnesses"]],
        ),
        (
            "with quorum commit one has stated less than the other",
            |seen| {
                *seen = quorum_of_three();
                lose(seen, "node1");
                for (who, end) in [("node2", 0x300), ("node3", 0x200)] {
                    node(seen, who).statement = Some(Statement {
                        position: position("2<1:0000000000000100", end),
                        is_witness: true,
                    });
                }
            },
            "There is no primary yet: node2 may be promoted, and nothing is seen that keeps Pacemaker from it.",
            &[],
            [&["offline"], &[], &["coverage"]],
        ),
        (
            "a stranger holds the lock, whose row lets it be promoted",
            |seen| seen.lock = lock_row("pgsql_node2", &["node2", "node3"]),
            "node1 is the primary. If it fails now, nobody can take over: node3: pgsql_node2 holds the lock for 7 s more.",
            &[],
            [&[], &["ineligible"], &["lock-held"]],
        ),
        (
            "the lock's row lets others be promoted",
            |seen| seen.lock = lock_row("pgsql_node1", &["node1"]),
            "node1 is the primary. If it fails now, nobody can take over: node2: data status is STREAMING|ASYNC: commits did not \
             wait for this node; node3: the lock's row lets only node1 be promoted.",
            &[],
            [
                &[],
                &["ineligible", "lock-not-eligible"],
                &["lock-not-eligible"],
            ],
        ),
        (
            "the lock can't be used",
            |seen| {
                seen.lock = LockSeen::Unusable {
                    name: "l".to_owned(),
                    why: "no table".to_owned(),
                };
            },
            "node1 is the primary. If it fails now, nobody can take over: node3: the lock can't be used: no table.",
            &[],
            [&[], &["ineligible", "lock-unusable"], &["lock-unusable"]],
        ),
        (
            "the lock service is silent, and who had the lock is gone",
            |seen| {
                lose(seen, "node1");
                seen.lock = silent_lock(&["node1", "node3"]);
            },
            "There is no primary: nobody but node1 (offline) and node3 (the lock is not taken) is known to have \
             every acknowledged commit.",
            &[],
            [&["offline"], &["ineligible", "lock"], &["lock"]],
        ),
    ]
}

/// The clusters of the cases, for who shows them.
pub(crate) fn pictures() -> Vec<Observed> {
    let picture = |(_, change, ..): Case| {
        let mut seen = healthy();
        change(&mut seen);
        seen
    };
    cases().into_iter().map(picture).collect()
}

#[test]
fn what_is_documented_keeps_a_primary_away_and_what_does_is_documented() {
    let found: BTreeSet<String> = pictures()
        .iter()
        .map(explain)
        .flat_map(|found| {
            let each = found.nodes.into_values().flat_map(|node| node.reasons);
            found.cluster.into_iter().chain(each).collect::<Vec<_>>()
        })
        .map(|reason| reason.code().to_owned())
        .collect();
    assert_eq!(found, documented("Codes of reasons: "));
}

/// The first sentence, and each node's reasons by name.
#[test]
fn everything_that_can_keep_a_primary_away_is_named() {
    for ((what, _, answer, cluster, reasons), seen) in cases().into_iter().zip(pictures()) {
        let found = explain(&seen);
        assert_eq!(found.answer, *answer, "{what}");
        let codes = |reasons: &[Reason]| reasons.iter().map(Reason::code).collect::<Vec<_>>();
        assert_eq!(codes(&found.cluster), *cluster, "{what}");
        for (node, expected) in ["node1", "node2", "node3"].iter().zip(reasons) {
            assert_eq!(
                codes(&found.nodes[&name(node)].reasons),
                *expected,
                "{what}: {node}"
            );
        }
    }
}

#[test]
fn a_refused_start_is_answered_with_the_command_that_helps() {
    let mut seen = healthy();
    let failed = node(&mut seen, "node3");
    failed.role = RecordedRole::Stopped;
    failed.status = Some(NodeStatus::Stopped);
    failed.data = Ok(Some(DataStatus::Disconnected));
    failed.fail_count = FailCount::NEVER_AGAIN;
    failed.failures.push(FailedAction {
        operation: "start".to_owned(),
        code: 1,
        timed_out: false,
        reason: Some(
            "run '/usr/bin/expgsql cluster rewind': own WAL 3@0/2 is past fork 3@0/1 of node1"
                .to_owned(),
        ),
        at: Some(1),
    });
    let found = explain(&seen);
    let reason = &found.nodes[&name("node3")].reasons[0];
    assert_eq!(reason.code(), "start-failed");
    assert_eq!(
        reason.fix(&name("node3"), "ms").as_deref(),
        Some("on node3: /usr/bin/expgsql cluster rewind")
    );
}

#[test]
fn a_quorum_needs_its_witnesses() {
    let seen = quorum_of_three();
    let found = explain(&seen);
    let candidates: Vec<&str> = found.candidates().map(NodeName::as_str).collect();
    assert_eq!(candidates, ["node2", "node3"]);
    assert!(
        found
            .answer
            .ends_with("node2 or node3 takes over, whichever has more."),
        "{}",
        found.answer
    );
    let mut seen = quorum_of_three();
    lose(&mut seen, "node2");
    let found = explain(&seen);
    assert_eq!(found.candidates().count(), 0);
    let reasons = &found.nodes[&name("node3")].reasons;
    assert_eq!(
        reasons[..],
        [Reason::TooFewWitnesses {
            more: 1,
            away: vec!["node2".to_owned()]
        }]
    );
    assert!(
        found
            .answer
            .contains("the last commits may be on node2 only"),
        "{}",
        found.answer
    );
}

/// What was stated counts more than what is recorded, as for the agent.
#[test]
fn statements_settle_who_has_everything() {
    let history = "2<1:0000000000000100";
    let state = |seen: &mut Observed, who: &str, end: u64, is_witness: bool| {
        let position = position(history, end);
        node(seen, who).statement = Some(Statement {
            position,
            is_witness,
        });
    };
    let mut seen = quorum_of_three();
    lose(&mut seen, "node1");
    state(&mut seen, "node2", 0x300, true);
    state(&mut seen, "node3", 0x200, true);
    let found = explain(&seen);
    assert_eq!(
        found.candidates().map(NodeName::as_str).collect::<Vec<_>>(),
        ["node2"]
    );
    let behind = Coverage::Behind {
        better: "node2".to_owned(),
    };
    assert_eq!(
        found.nodes[&name("node3")].reasons[..],
        [Reason::Coverage(behind)]
    );
}

#[test]
fn the_loss_of_the_whole_machine_may_cost_the_quorum() {
    let mut seen = healthy();
    seen.votes = Some(Votes {
        expected: 3,
        one_each: true,
        awaits_all: false,
    });
    assert!(!explain(&seen).answer.contains("quorum"));
    lose(&mut seen, "node2");
    let answer = explain(&seen).answer;
    assert!(
        answer.contains("would leave 1 of 3 votes, which is no quorum"),
        "{answer}"
    );
    seen.no_quorum_policy = NoQuorumPolicy::Ignore;
    assert!(!explain(&seen).answer.contains("would leave"));
}

#[test]
fn the_lock_is_asked_as_a_promotion_would_ask_it() {
    let cases: &[(&str, Change, Option<&str>)] = &[
        ("the failing primary holds it", |_| {}, None),
        (
            "its row names others",
            |seen| {
                let LockSeen::Row { row, .. } = &mut seen.lock else {
                    panic!()
                };
                row.eligible = Some(["node1".to_owned()].into());
            },
            Some("the lock's row lets only node1 be promoted"),
        ),
        (
            "a stranger holds it",
            |seen| {
                let LockSeen::Row { row, .. } = &mut seen.lock else {
                    panic!()
                };
                row.owner = "pgsql_node2".to_owned();
            },
            Some("pgsql_node2 holds the lock for 7 s more"),
        ),
        (
            "it can't be used",
            |seen| {
                seen.lock = LockSeen::Unusable {
                    name: "l".to_owned(),
                    why: "no table".to_owned(),
                }
            },
            Some("the lock can't be used: no table"),
        ),
        (
            "it is silent, and the old primary's machine is gone",
            |seen| {
                lose(seen, "node1");
                seen.lock = silent_lock(&["node1", "node3"]);
            },
            Some(
                "the lock is not taken: the lock service does not answer; node1 can't be asked: it is offline",
            ),
        ),
        (
            "it is silent, and all nodes can be asked",
            |seen| {
                let old = node(seen, "node1");
                old.status = Some(NodeStatus::Alone);
                old.role = RecordedRole::Unpromoted;
                seen.lock = silent_lock(&["node1", "node3"]);
            },
            None,
        ),
    ];
    for (what, change, expected) in cases {
        let mut seen = healthy();
        seen.lock = lock_row("pgsql_node1", &["node1", "node3"]);
        change(&mut seen);
        let reasons = &explain(&seen).nodes[&name("node3")].reasons;
        let lock = reasons.iter().map(ToString::to_string).next();
        assert_eq!(lock.as_deref(), *expected, "{what}");
    }
}

#[test]
fn commits_that_wait_are_explained_where_the_agent_said_why() {
    let mut seen = healthy();
    assert_eq!(explain(&seen).waiting, None);
    node(&mut seen, "node3").streams = Some(false);
    let waiting = explain(&seen).waiting.unwrap();
    assert!(waiting.starts_with("node3 does not stream"), "{waiting}");
    seen.hold = Some("with two votes neither side can prove it is alone".to_owned());
    assert_eq!(explain(&seen).waiting, seen.hold);
    // Said by the agent of another node than this.
    seen.me = Some(name("node2"));
    let waiting = explain(&seen).waiting.unwrap();
    assert!(
        waiting.contains("expgsql cluster why on node1"),
        "{waiting}"
    );
    // The primary can't be asked: its agent's word counts.
    seen.in_force = None;
    assert_eq!(explain(&seen).waiting, None);
    node(&mut seen, "node1").degraded = Some(("waiting".to_owned(), None));
    assert!(explain(&seen).waiting.is_some());
}

#[test]
fn in_asynchronous_mode_positions_decide() {
    let history = "2<1:0000000000000100";
    let report = |seen: &mut Observed, who: &str, end: u64| {
        node(seen, who).report = Some(position(history, end));
    };
    let mut seen = healthy();
    seen.promise = Some(Promise::Async);
    seen.sync = Ok(None);
    seen.in_force = None;
    for standby in ["node2", "node3"] {
        node(&mut seen, standby).data = Ok(Some("STREAMING|ASYNC".parse().unwrap()));
        node(&mut seen, standby).score = Some(Score::new(100));
    }
    let answer = explain(&seen).answer;
    assert!(
        answer.ends_with("node2 or node3 takes over, whichever has more."),
        "{answer}"
    );
    // The primary has said that this one is further behind than maxlag allows.
    node(&mut seen, "node2").score = Some(Score::MINUS_INFINITY);
    let reasons = &explain(&seen).nodes[&name("node2")].reasons;
    assert_eq!(
        reasons[..],
        [Reason::NotOffered(Some(Score::MINUS_INFINITY))]
    );

    lose(&mut seen, "node1");
    report(&mut seen, "node2", 0x300);
    let missing = |found: &Explanation, who: &str| {
        let reasons = &found.nodes[&name(who)].reasons;
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let waits = "no position reported yet by node1, node3";
    assert_eq!(missing(&explain(&seen), "node2"), [waits]);
    report(&mut seen, "node3", 0x200);
    let lost = &explain(&seen).nodes[&name("node3")].reasons;
    assert!(
        matches!(&lost[..], [Reason::Election(election::Outcome::Lost { better })] if better.as_str() == "node2"),
        "{lost:?}"
    );
}

#[test]
fn what_is_said_of_primary_and_successor_needs_no_repetition() {
    for (answer, bare_answer) in [
        ("There is no primary: no quorum.", "no quorum"),
        (
            "There is no primary yet: node1 is being promoted.",
            "node1 is being promoted",
        ),
        (
            "There is no primary, and no node may become one: x.",
            "no node may become one: x",
        ),
        ("node1 is the primary.", "node1 is the primary"),
    ] {
        assert_eq!(bare(answer), bare_answer);
    }
}

/// To make another node the primary gives commits up: that is no advice for a forgotten ban.
#[test]
fn giving_commits_up_is_the_last_advice_and_only_where_somebody_is_gone() {
    let gives_up = |seen: &Observed| {
        let advice = explain(seen).advice;
        let at = advice.iter().position(|a| a.contains("reset-master"));
        assert!(at.is_none_or(|at| at + 1 == advice.len()), "{advice:?}");
        at.is_some()
    };
    let mut seen = healthy();
    for who in ["node1", "node2", "node3"] {
        let node = node(&mut seen, who);
        node.role = RecordedRole::Unpromoted;
        node.status = Some(NodeStatus::Alone);
        node.placements.push(Placement {
            id: format!("cli-ban-ms-on-{who}"),
            node: name(who),
            score: Score::MINUS_INFINITY,
            promoted_only: true,
            until: None,
        });
    }
    assert!(!gives_up(&seen));
    assert!(
        explain(&seen)
            .answer
            .contains("nobody but node1 (banned) and node3 (banned) is known")
    );
    lose(&mut seen, "node1");
    assert!(gives_up(&seen));
}

/// As seen on a real cluster: node3 was refused, since what node2 has nobody knew.
#[test]
fn without_the_witnesses_of_a_quorum_it_is_said_whom_it_takes() {
    let mut seen = quorum_of_three();
    for who in ["node1", "node2"] {
        let node = node(&mut seen, who);
        node.standby = true;
        node.role = RecordedRole::Stopped;
        node.status = Some(NodeStatus::Stopped);
    }
    let alone = position("2<1:0000000000000100", 0x300);
    node(&mut seen, "node3").statement = Some(Statement {
        position: alone,
        is_witness: true,
    });
    let found = explain(&seen);
    assert_eq!(
        found.answer,
        "There is no primary: it takes node1 (in standby) or node2 (in standby) to know every acknowledged commit."
    );
    assert_eq!(found.nodes[&name("node3")].reasons[0].code(), "coverage");
}
