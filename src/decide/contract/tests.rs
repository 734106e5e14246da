//! Facts, and the step that they lead to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::decide::promote::Method;
use crate::decide::waited_for::Wishes;
use crate::model::claim::Claim;
use crate::model::status::{SenderState, SyncState};
use crate::model::sync_names::{self, StandbyName};

const STREAMING: Option<Link> = Some(Link {
    state: SenderState::Streaming,
    sync: SyncState::Async,
    keeps_up: true,
    caught_up: false,
});
const SYNC: Option<Link> = Some(Link {
    state: SenderState::Streaming,
    sync: SyncState::Sync,
    keeps_up: true,
    caught_up: true,
});
const LAGGING: Option<Link> = Some(Link {
    state: SenderState::Streaming,
    sync: SyncState::Sync,
    keeps_up: true,
    caught_up: false,
});
const CATCHUP: Option<Link> = Some(Link {
    state: SenderState::Catchup,
    sync: SyncState::Async,
    keeps_up: true,
    caught_up: false,
});
const S: fn(u64) -> Duration = Duration::from_secs;

/// A standby, and whether the CIB says that it may be promoted.
type Seen = (Standby, bool);

fn node(eligible: bool, link: Option<Link>) -> Seen {
    let place = Place::Node {
        present: true,
        fenced: false,
    };
    (Standby { place, link }, eligible)
}

fn absent(eligible: bool) -> Seen {
    let place = Place::Node {
        present: false,
        fenced: false,
    };
    (Standby { place, link: None }, eligible)
}

fn outside(link: Option<Link>) -> Seen {
    let place = Place::Outside;
    (Standby { place, link }, false)
}

fn put(facts: &mut Facts, name: &str, (standby, eligible): Seen) {
    if let (Some(partition), Place::Node { present, .. }) = (&mut facts.partition, standby.place) {
        partition.members.insert(name.to_owned(), present);
    }
    facts.standbys.insert(name.to_owned(), standby);
    facts.claim.members.remove(name);
    if eligible {
        facts.claim.members.insert(name.to_owned());
    }
    facts.claim.count = facts.claim.members.len();
}

/// Three nodes, all present and quorate, ten seconds after everything settled.
fn facts(in_force: &str, standbys: &[(&str, Seen)]) -> Facts {
    let mut facts = Facts {
        in_force: in_force.parse().unwrap(),
        standbys: BTreeMap::new(),
        claim: Claim::nothing(),
        doubts: BTreeSet::new(),
        silent: BTreeSet::new(),
        impostors: BTreeSet::new(),
        lock: Lock::Unused,
        partition: Some(Partition {
            quorate: true,
            ring: "1.4".to_owned(),
            members: BTreeMap::new(),
            voters: 3,
            votes: 3,
            nodes: 3,
            one_vote_each: true,
            has_device: false,
            has_missed: false,
            waits_for_all: false,
            others_stop_without_quorum: true,
            now: S(100),
            settle: Some(S(7)),
        }),
        copies: BTreeMap::new(),
        revoked: BTreeMap::new(),
        requested: BTreeSet::new(),
        wishes: Wishes::default(),
        options: Options {
            strict: false,
            unsafe_relax: false,
            everyone: false,
            method: sync_names::Method::First,
            count: 1,
        },
    };
    for (name, seen) in standbys {
        put(&mut facts, name, seen.clone());
    }
    facts
}

fn revoked(mut facts: Facts, name: &str, at: Duration) -> Facts {
    facts.revoked.insert(
        name.to_owned(),
        Revocation {
            at,
            ring: "1.4".to_owned(),
        },
    );
    facts
}

fn partition(mut facts: Facts, change: impl FnOnce(&mut Partition)) -> Facts {
    change(facts.partition.as_mut().unwrap());
    facts
}

/// Every member's own copy of the CIB has the revocations.
fn spread(mut facts: Facts) -> Facts {
    let members = facts.partition.iter().flat_map(|p| &p.members);
    let here = members
        .filter(|(_, is_here)| **is_here)
        .map(|(name, _)| name.clone());
    let all = here.chain(["node1".to_owned()]);
    facts.copies = all.map(|name| (name, BTreeSet::new())).collect();
    facts
}

fn set(names: &[&str]) -> BTreeSet<StandbyName> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn revoke(names: &[&str]) -> Vec<Step> {
    vec![Step::Revoke(set(names))]
}

fn contract(text: &str) -> Vec<Step> {
    vec![Step::Contract(text.parse().unwrap())]
}

fn grant(name: &str) -> Vec<Step> {
    vec![Step::Grant(set(&[name]))]
}

fn hold(facts: &Facts) -> Hold {
    match next(facts).as_slice() {
        [Step::Hold(hold)] => hold.clone(),
        other => panic!("expected a hold, got {other:?}"),
    }
}

#[test]
fn a_streaming_standby_is_waited_for_first_and_granted_after_it_caught_up() {
    let alone = [
        ("node2", node(false, STREAMING)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts("", &alone)), contract("node2"));
    let lagging = [
        ("node2", node(false, LAGGING)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(
        next(&facts("node2", &lagging)),
        vec![],
        "in sync, but not proven to have everything"
    );
    let proven = [
        ("node2", node(false, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts("node2", &proven)), grant("node2"));
    let granted = [
        ("node2", node(true, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts("node2", &granted)), vec![]);
}

#[test]
fn a_contract_is_called_by_the_method_once_everybody_is_granted() {
    let initial = "ANY 1 (node2)";
    let with = |two: Seen, method| {
        let mut facts = facts(initial, &[("node2", two)]);
        facts.options.method = method;
        next(&facts)
    };
    use sync_names::Method::{Any, First};
    assert_eq!(with(node(false, QUORUM), First), grant("node2"));
    assert_eq!(with(node(true, QUORUM), First), contract("node2"));
    assert_eq!(with(node(true, QUORUM), Any), vec![]);
    // Not proven yet: another contract would have to be proven from its own beginning.
    let lagging = QUORUM.map(|link| Link {
        caught_up: false,
        ..link
    });
    assert_eq!(with(node(false, lagging), First), vec![]);
    let mut named = facts("node2", &[("node2", node(true, SYNC))]);
    named.options.method = Any;
    assert_eq!(next(&named), contract(initial));
    named.options.method = First;
    assert_eq!(next(&named), vec![]);
}

#[test]
fn a_standby_far_behind_is_not_waited_for_but_one_that_falls_behind_is() {
    let far = Some(Link {
        keeps_up: false,
        ..STREAMING.unwrap()
    });
    assert_eq!(next(&facts("", &[("node2", node(false, far))])), vec![]);
    let both = [
        ("node2", node(false, far)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(
        next(&facts("ANY 1 (node2, node3)", &both)),
        contract("node3")
    );
    let fell_behind = Some(Link {
        keeps_up: false,
        ..SYNC.unwrap()
    });
    assert_eq!(
        next(&facts("node2", &[("node2", node(true, fell_behind))])),
        vec![]
    );
}

#[test]
fn a_standby_that_catches_up_is_not_waited_for() {
    assert_eq!(next(&facts("", &[("node2", node(false, CATCHUP))])), vec![]);
}

#[test]
fn a_lost_standby_is_revoked_then_outwaited_then_dropped() {
    let lost = [
        ("node2", node(true, None)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts("node2", &lost)), revoke(&["node2"]));
    let lost = [
        ("node2", node(false, None)),
        ("node3", node(false, STREAMING)),
    ];
    // The CIB says no, but nobody noted when: it may be from before a merge.
    assert_eq!(next(&facts("node2", &lost)), revoke(&["node2"]));
    let early = revoked(facts("node2", &lost), "node2", S(95));
    assert_eq!(
        hold(&early),
        Hold::Settling {
            standby: "node2".to_owned(),
            remaining: S(2)
        }
    );
    let settled = revoked(facts("node2", &lost), "node2", S(93));
    let unknown = Hold::NotSpread {
        standby: "node2".to_owned(),
    };
    assert_eq!(hold(&settled), unknown);
    assert_eq!(next(&spread(settled)), contract("node3"));
    let nobody = [("node2", node(false, None)), ("node3", node(false, None))];
    let nobody = revoked(facts("node2", &nobody), "node2", S(93));
    assert_eq!(hold(&nobody), unknown);
    assert_eq!(next(&spread(nobody)), contract(""));
}

#[test]
fn a_standby_that_returns_before_commits_stopped_waiting_is_granted_again() {
    let back = [
        ("node2", node(false, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(
        next(&revoked(facts("node2", &back), "node2", S(93))),
        grant("node2")
    );
}

#[test]
fn commits_keep_waiting_while_anything_is_uncertain() {
    let lost = [("node2", absent(false)), ("node3", node(false, STREAMING))];
    let settled = || revoked(facts("node2", &lost), "node2", S(50));
    assert_eq!(
        next(&spread(settled())),
        contract("node3"),
        "the base case is certain"
    );
    // Its node is outside, so its own copy says nothing; and Pacemaker does not run on node3, or its CIB is late.
    let unknown = Hold::NotSpread {
        standby: "node2".to_owned(),
    };
    assert_eq!(hold(&settled()), unknown);
    let mut late = spread(settled());
    late.copies.insert("node3".to_owned(), set(&["node2"]));
    assert_eq!(hold(&late), unknown);
    // Where votes are no copies there is nothing but the time.
    for change in [
        |p: &mut Partition| p.has_device = true,
        |p: &mut Partition| {
            p.one_vote_each = false;
        },
    ] {
        assert_eq!(next(&partition(settled(), change)), contract("node3"));
    }

    assert_eq!(
        hold(&partition(settled(), |p| p.quorate = false)),
        Hold::NoQuorum
    );
    let no_arbiter = Hold::NoArbiter {
        standby: "node2".to_owned(),
    };
    assert_eq!(hold(&partition(settled(), |p| p.voters = 2)), no_arbiter);
    assert_eq!(
        hold(&partition(settled(), |p| p.others_stop_without_quorum = false)),
        no_arbiter
    );
    assert_eq!(
        hold(&partition(settled(), |p| p.settle = None)),
        Hold::NoSettleTime
    );
    let anew = Hold::Settling {
        standby: "node2".to_owned(),
        remaining: S(7),
    };
    assert_eq!(
        hold(&partition(settled(), |p| p.ring = "1.8".to_owned())),
        anew
    );
    assert_eq!(
        hold(&partition(settled(), |p| p.now = S(40))),
        anew,
        "the machine was restarted"
    );
    let mut unread = settled();
    unread.partition = None;
    assert_eq!(hold(&unread), Hold::Unknown);
}

#[test]
fn a_lost_standby_stays_eligible_while_commits_can_only_wait_for_it() {
    let lost = [("node2", absent(true)), ("node3", node(false, STREAMING))];
    assert_eq!(
        next(&facts("node2", &lost)),
        revoke(&["node2"]),
        "the base case is revoked"
    );
    assert_eq!(
        hold(&partition(facts("node2", &lost), |p| p.quorate = false)),
        Hold::NoQuorum
    );
    let two = partition(facts("node2", &[("node2", absent(true))]), |p| p.voters = 2);
    assert_eq!(
        hold(&two),
        Hold::NoArbiter {
            standby: "node2".to_owned()
        }
    );
}

#[test]
fn the_copies_of_a_majority_or_the_standbys_own_make_waiting_needless() {
    let lost = || [("node2", absent(false)), ("node3", node(false, STREAMING))];
    let copies = |facts: Facts, read: &[(&str, &[&str])]| Facts {
        copies: read
            .iter()
            .map(|(n, e)| ((*n).to_owned(), set(e)))
            .collect(),
        ..facts
    };
    let early = || revoked(facts("node2", &lost()), "node2", S(100));
    let is_certain = |facts: &Facts| next(facts) == contract("node3");
    assert!(!is_certain(&early()), "the base case must wait");
    assert!(is_certain(&copies(
        early(),
        &[("node1", &[]), ("node3", &[])]
    )));
    assert!(is_certain(&copies(
        early(),
        &[("node1", &[]), ("node3", &["dr1"])]
    )));
    assert!(
        !is_certain(&copies(early(), &[("node1", &[])])),
        "one of three"
    );
    assert!(
        !is_certain(&copies(early(), &[("node1", &[]), ("node3", &["node2"])])),
        "node3 has not got it"
    );
    let both = &[("node1", &[][..]), ("node3", &[][..])];
    let of_five = partition(copies(early(), both), |p| p.voters = 5);
    assert!(!is_certain(&of_five), "two of five");
    let of_four = partition(copies(early(), both), |p| p.voters = 4);
    assert!(!is_certain(&of_four), "half is no majority");
    // Corosync expects fewer once nodes have left (last_man_standing), or were told to be gone.
    let shrunk = partition(copies(early(), both), |p| {
        (p.voters, p.nodes) = (3, 5);
    });
    assert!(!is_certain(&shrunk), "two of five, whoever is expected");
    let weighted = partition(copies(early(), both), |p| p.one_vote_each = false);
    assert!(!is_certain(&weighted));
    let nobody = [("node2", absent(false)), ("node3", node(false, None))];
    let alone = revoked(facts("node2", &nobody), "node2", S(100));
    let alone = copies(alone, &[("node1", &[]), ("node3", &[])]);
    assert!(
        matches!(hold(&alone), Hold::Settling { .. }),
        "to be alone takes its time"
    );
    // Its own node has it, in a hang of its receiver, say: no vote is needed.
    let here = [
        ("node2", node(false, None)),
        ("node3", node(false, STREAMING)),
    ];
    let here = revoked(facts("node2", &here), "node2", S(100));
    let here = partition(here, |p| p.voters = 2);
    assert!(is_certain(&copies(here.clone(), &[("node2", &[])])));
    assert!(!is_certain(&copies(here, &[("node2", &["node2"])])));
}

#[test]
fn two_nodes_relax_for_a_present_standby_only_unless_told_otherwise() {
    let two = |s| {
        partition(
            revoked(facts("node2", &[("node2", s)]), "node2", S(50)),
            |p| p.voters = 2,
        )
    };
    assert_eq!(
        next(&spread(two(node(false, None)))),
        contract(""),
        "R1 (b): the CIB write reached it"
    );
    let unknown = Hold::NotSpread {
        standby: "node2".to_owned(),
    };
    assert_eq!(hold(&two(node(false, None))), unknown, "it is not known to");
    // A device's vote does not say what a member's copy has.
    let device = partition(two(node(false, None)), |p| p.has_device = true);
    assert_eq!(hold(&device), unknown);
    assert_eq!(
        hold(&two(absent(false))),
        Hold::NoArbiter {
            standby: "node2".to_owned()
        }
    );
    for partition in [two(absent(false)).partition, None] {
        let mut allowed = facts("node2", &[("node2", absent(true))]);
        allowed.options.unsafe_relax = true;
        allowed.partition = partition;
        assert_eq!(next(&allowed), revoke(&["node2"]));
        put(&mut allowed, "node2", absent(false));
        assert_eq!(next(&allowed), contract(""), "without a note of when, too");
    }
}

#[test]
fn strict_never_goes_alone_but_may_change_standbys() {
    let mut lost = revoked(
        facts("node2", &[("node2", node(false, None))]),
        "node2",
        S(50),
    );
    lost.options.strict = true;
    assert_eq!(hold(&lost), Hold::Strict);
    put(&mut lost, "node3", node(false, STREAMING));
    assert_eq!(next(&spread(lost)), contract("node3"));
}

#[test]
fn a_new_primary_waits_for_any_standby_then_for_one() {
    let initial = "ANY 1 (node2, node3)";
    let streaming = [
        ("node2", node(false, None)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts(initial, &streaming)), contract("node3"));
    let nobody = [("node2", node(false, None)), ("node3", node(false, None))];
    assert_eq!(next(&facts(initial, &nobody)), revoke(&["node2", "node3"]));
    let noted = revoked(
        revoked(facts(initial, &nobody), "node2", S(50)),
        "node3",
        S(95),
    );
    assert_eq!(
        hold(&spread(noted)),
        Hold::Settling {
            standby: "node3".to_owned(),
            remaining: S(2)
        }
    );
    let settled = revoked(
        revoked(facts(initial, &nobody), "node2", S(50)),
        "node3",
        S(50),
    );
    assert_eq!(next(&spread(settled)), contract(""));
}

#[test]
fn a_restarted_primary_waits_for_whom_it_waited_before() {
    let others = || ["node2".to_owned(), "node3".to_owned()];
    for (recorded, eligible, expected) in [
        (true, set(&["node3"]), "node3"),
        (true, set(&["dr1", "node3"]), "FIRST 2 (dr1, node3)"),
        (true, set(&[]), "ANY 1 (node2, node3)"),
        // Another node's standbys are not this one's.
        (false, set(&["node3"]), "ANY 1 (node2, node3)"),
    ] {
        let got = at_start(recorded, &Claim::each_of(eligible.clone()), others());
        assert_eq!(got, expected.parse().unwrap(), "{recorded} {eligible:?}");
    }
    assert_eq!(at_start(false, &Claim::nothing(), []), SyncNames::Nobody);
}

#[test]
fn a_restarted_primary_by_quorum_waits_for_as_many_of_the_same() {
    let claim = Claim::some_of(1, set(&["node2", "node3"]));
    let others = || ["node2".to_owned(), "node3".to_owned(), "node4".to_owned()];
    let got = at_start(true, &claim, others());
    assert_eq!(got, "ANY 1 (node2, node3)".parse().unwrap());
    assert_eq!(kept_at_promotion(Method::SameTimeline, &got, &claim), claim);
    let other = "ANY 1 (node2, node3, node4)".parse().unwrap();
    assert!(kept_at_promotion(Method::SameTimeline, &other, &claim).is_empty());
}

#[test]
fn only_a_restart_keeps_standbys_eligible_and_only_those_waited_for() {
    for (method, in_force, expected) in [
        (Method::SameTimeline, "node3", set(&["node3"])),
        (
            Method::SameTimeline,
            "FIRST 2 (node2, node3)",
            set(&["node3"]),
        ),
        (Method::SameTimeline, "node2", set(&[])),
        (Method::SameTimeline, "ANY 1 (node2, node3)", set(&[])),
        (Method::SameTimeline, "", set(&[])),
        (Method::NewTimeline, "node3", set(&[])),
    ] {
        let claim = Claim::each_of(set(&["node3"]));
        let got = kept_at_promotion(method, &in_force.parse().unwrap(), &claim);
        assert_eq!(got, Claim::each_of(expected), "{method:?} {in_force}");
    }
}

#[test]
fn eligibility_without_a_contract_is_revoked_at_once() {
    // Somebody emptied or changed the setting by hand.
    let standbys = [
        ("node2", node(true, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    assert_eq!(next(&facts("", &standbys)), revoke(&["node2"]));
    assert_eq!(next(&facts("node3", &standbys)), revoke(&["node2"]));
    assert_eq!(
        next(&facts("ANY 1 (node2, node3)", &standbys)),
        revoke(&["node2"])
    );
    assert_eq!(next(&facts("*", &standbys)), revoke(&["node2"]));
}

#[test]
fn outside_standbys_join_and_leave_without_revocation() {
    let everyone = |in_force: &str, standbys: &[(&str, Seen)]| {
        let mut facts = facts(in_force, standbys);
        facts.options.everyone = true;
        facts
    };
    let both = [("dr1", outside(STREAMING)), ("node2", node(true, SYNC))];
    assert_eq!(
        next(&everyone("node2", &both)),
        contract("FIRST 2 (dr1, node2)")
    );
    let gone = [("dr1", outside(None)), ("node2", node(true, SYNC))];
    assert_eq!(
        next(&everyone("FIRST 2 (dr1, node2)", &gone)),
        contract("node2")
    );
    let node_gone = [("dr1", outside(SYNC)), ("node2", node(true, None))];
    assert_eq!(
        next(&everyone("FIRST 2 (dr1, node2)", &node_gone)),
        revoke(&["node2"])
    );
    // An outside standby is never promoted, so it is never granted.
    assert_eq!(next(&everyone("dr1", &[("dr1", outside(SYNC))])), vec![]);
}

const QUORUM: Option<Link> = Some(Link {
    state: SenderState::Streaming,
    sync: SyncState::Quorum,
    keeps_up: true,
    caught_up: true,
});

fn by_quorum(in_force: &str, claim: &[&str], standbys: &[(&str, Seen)]) -> Facts {
    let mut facts = facts(in_force, standbys);
    facts.options.method = sync_names::Method::Any;
    facts.claim = Claim::some_of(in_force.parse::<SyncNames>().unwrap().count(), set(claim));
    facts
}

#[test]
fn with_quorum_commit_a_lost_standby_changes_nothing() {
    let any = "ANY 1 (node2, node3)";
    let nobody = node(false, None);
    let link = |l| node(false, l);
    let both = ["node2", "node3"];
    for (in_force, claim, two, three, expected) in [
        // A new primary: as soon as one has caught up, somebody among them has everything.
        (any, &[][..], link(None), link(None), revoke(&both)),
        (any, &[], link(STREAMING), link(None), vec![]),
        (
            any,
            &[],
            link(QUORUM),
            link(None),
            vec![Step::Grant(set(&both))],
        ),
        (any, &both, link(QUORUM), link(QUORUM), vec![]),
        (any, &both, link(QUORUM), link(None), vec![]),
        (any, &both, link(QUORUM), absent(false), vec![]),
        (any, &both, link(CATCHUP), link(QUORUM), vec![]),
        // The last one is lost: revoke all, and only then be alone.
        (any, &both, link(None), link(None), revoke(&both)),
        (any, &both, nobody.clone(), absent(false), revoke(&both)),
        // Alone, and one comes back.
        (
            "",
            &[],
            link(STREAMING),
            link(None),
            vec![Step::Contract(any.parse().unwrap())],
        ),
        ("", &[], link(CATCHUP), link(None), vec![]),
        // The setting was edited.
        ("node2", &both, link(SYNC), link(QUORUM), revoke(&["node2"])),
        ("", &both, link(SYNC), link(QUORUM), revoke(&both)),
    ] {
        let mut facts = by_quorum(in_force, claim, &[("node2", two), ("node3", three)]);
        if !claim.is_empty() {
            facts.claim = Claim::some_of(1, set(claim));
        }
        assert_eq!(next(&facts), expected, "{facts:?}");
    }
}

#[test]
fn nobody_waits_for_a_machine_that_has_left_and_does_not_answer() {
    let lost = |link| {
        let (mut standby, eligible) = node(true, link);
        standby.place = Place::Node {
            present: false,
            fenced: false,
        };
        (standby, eligible)
    };
    let three = ("node3", node(false, STREAMING));
    let silent = |mut facts: Facts| {
        facts.silent = set(&["node2"]);
        facts
    };
    let gone = facts("node2", &[("node2", lost(SYNC)), three.clone()]);
    assert_eq!(next(&gone), vec![], "it has left corosync, and answers");
    let gone = silent(gone);
    assert_eq!(next(&gone), revoke(&["node2"]));
    let mut out = revoked(gone.clone(), "node2", S(50));
    out.claim = Claim::nothing();
    assert_eq!(
        next(&spread(out.clone())),
        contract("node3"),
        "after the settle time"
    );
    let early = revoked(out.clone(), "node2", S(95));
    assert!(matches!(hold(&early), Hold::Settling { .. }));
    // It hangs, or its line is slow; or corosync was not asked, or has no list.
    let here = silent(facts("node2", &[("node2", node(true, SYNC)), three]));
    assert_eq!(next(&here), vec![]);
    let mut unasked = gone.clone();
    unasked.partition = None;
    assert_eq!(next(&unasked), vec![]);
    let unlisted = partition(gone, |p| p.members.clear());
    assert_eq!(next(&unlisted), vec![]);
    // One outside of the cluster is none of corosync's.
    let mut away = silent(facts("node2", &[("node2", outside(SYNC))]));
    away.options.everyone = true;
    assert_eq!(next(&away), vec![]);
}

#[test]
fn with_quorum_commit_others_count_for_a_machine_that_has_left() {
    let any = "ANY 1 (node2, node3)";
    let both = ["node2", "node3"];
    let standbys = [("node2", absent(false)), ("node3", node(false, QUORUM))];
    let mut facts = by_quorum(any, &both, &standbys);
    facts.standbys.get_mut("node2").unwrap().link = QUORUM;
    facts.silent = set(&["node2"]);
    assert_eq!(next(&facts), vec![]);
    // Both are gone: nobody is left to wait for.
    put(&mut facts, "node3", absent(false));
    facts.standbys.get_mut("node3").unwrap().link = QUORUM;
    facts.silent = set(&both);
    facts.claim = Claim::some_of(1, set(&both));
    assert_eq!(next(&facts), revoke(&both));
}

#[test]
fn who_doubts_its_grant_is_granted_anew() {
    let any = "ANY 1 (node2, node3)";
    let both = ["node2", "node3"];
    let streaming = [("node2", node(false, QUORUM)), ("node3", node(false, None))];
    let mut facts = by_quorum(any, &both, &streaming);
    facts.doubts = set(&["node3"]);
    assert_eq!(next(&facts), vec![], "it is away");
    facts.doubts = set(&["node2"]);
    assert_eq!(next(&facts), vec![Step::Grant(set(&both))]);
}

#[test]
fn a_grant_adds_to_those_for_whom_commits_wait() {
    let seen = [("node2", node(true, SYNC)), ("node3", node(false, SYNC))];
    let both = facts("FIRST 2 (node2, node3)", &seen);
    assert_eq!(
        eligible_after_grant(&both, &set(&["node3"])),
        set(&["node2", "node3"])
    );
    let one = facts("node3", &seen);
    assert_eq!(
        eligible_after_grant(&one, &set(&["node3"])),
        set(&["node3"])
    );
    // Until now one of both had everything.
    let mut quorum = facts("node3", &seen);
    quorum.claim = Claim::some_of(1, set(&["node2", "node3"]));
    assert_eq!(next(&quorum), grant("node3"));
    assert_eq!(
        eligible_after_grant(&quorum, &set(&["node3"])),
        set(&["node3"])
    );
}

#[test]
fn a_quorum_of_two_needs_two_that_have_caught_up_and_shrinks_by_revocation() {
    let link = |l| node(false, l);
    let two = |in_force: &str, claim: &[&str], links: [Option<Link>; 3]| {
        let [b, c, d] = links.map(link);
        let mut facts = by_quorum(in_force, claim, &[("node2", b), ("node3", c), ("node4", d)]);
        facts.options.count = 2;
        next(&facts)
    };
    let any1 = "ANY 1 (node2, node3, node4)";
    let any2 = "ANY 2 (node2, node3, node4)";
    let all = ["node2", "node3", "node4"];
    let contract = |text: &str| vec![Step::Contract(text.parse().unwrap())];
    assert_eq!(two(any1, &[], [QUORUM, QUORUM, None]), contract(any2));
    assert_eq!(two(any2, &[], [QUORUM, LAGGING, None]), vec![]);
    assert_eq!(
        two(any2, &[], [QUORUM, QUORUM, None]),
        vec![Step::Grant(set(&all))]
    );
    assert_eq!(two(any2, &all, [QUORUM, QUORUM, None]), vec![]);
    assert_eq!(two(any2, &all, [QUORUM, None, None]), revoke(&all));
}

#[test]
fn whoever_has_a_nodes_name_proves_nothing_about_the_node() {
    let with = |mut facts: Facts| {
        facts.impostors = set(&["node2"]);
        facts
    };
    // It was granted, and the other one may confirm in its place: out of the claim at once, whether it streams itself or not, and
    // whether anything can be certain about it.
    for two in [node(true, SYNC), node(true, None), absent(true)] {
        let facts = facts(
            "node2",
            &[("node2", two), ("node3", node(false, STREAMING))],
        );
        assert_eq!(next(&with(facts)), revoke(&["node2"]));
    }
    // Then commits wait for one who is nobody else.
    let both = [
        ("node2", node(false, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    let revoked = spread(revoked(facts("node2", &both), "node2", S(50)));
    assert_eq!(next(&with(revoked)), contract("node3"));
    // It is not granted, and joins no contract.
    assert_eq!(
        next(&with(facts("node2", &[("node2", node(false, SYNC))]))),
        revoke(&["node2"])
    );
    let alone = facts("", &[("node2", node(false, STREAMING))]);
    assert_eq!(next(&with(alone)), vec![]);
    // By quorum the name itself leaves the list: each that is in it may be the one that confirms.
    let any = "ANY 1 (node2, node3)";
    let streaming = [
        ("node2", node(false, QUORUM)),
        ("node3", node(false, QUORUM)),
    ];
    let claimed = by_quorum(any, &["node2", "node3"], &streaming);
    assert_eq!(next(&with(claimed)), revoke(&["node2", "node3"]));
    let free = by_quorum(any, &[], &streaming);
    assert!(
        !next(&with(free))
            .iter()
            .any(|step| matches!(step, Step::Grant(_)))
    );
    let only = by_quorum("node3", &[], &streaming);
    assert_eq!(next(&with(only)), grant("node3"));
    // The lock's own record, too.
    let mut locked = facts("node2", &[("node2", node(false, SYNC))]);
    locked.lock = Lock::Held {
        eligible: set(&["node2"]),
    };
    assert_eq!(next(&with(locked)), revoke(&["node2"]));
}

#[test]
fn changing_the_method_leaves_nobody_eligible_in_between() {
    // From priority to quorum: a commit may from then on be on node3 alone.
    let streaming = [
        ("node2", node(true, SYNC)),
        ("node3", node(false, STREAMING)),
    ];
    let mut facts = facts("node2", &streaming);
    facts.options.method = sync_names::Method::Any;
    assert_eq!(next(&facts), revoke(&["node2"]));
    // And back: whoever waits for node2 keeps "one of both" true.
    let both = ["node2", "node3"];
    let streaming = [
        ("node2", node(false, QUORUM)),
        ("node3", node(false, QUORUM)),
    ];
    let mut facts = by_quorum("ANY 1 (node2, node3)", &both, &streaming);
    facts.options.method = sync_names::Method::First;
    assert_eq!(next(&facts), contract("node2"));
}

#[test]
fn with_the_lock_a_revocation_in_its_record_is_certain_at_once() {
    let two = |lock: Lock, eligible: bool| {
        let mut facts = facts("node2", &[("node2", absent(eligible))]);
        facts.partition = None;
        facts.lock = lock;
        facts
    };
    let held = |names: &[&str]| Lock::Held {
        eligible: set(names),
    };
    assert_eq!(next(&two(held(&["node2"]), true)), revoke(&["node2"]));
    assert_eq!(next(&two(held(&["node2"]), false)), revoke(&["node2"]));
    assert_eq!(next(&two(held(&[]), true)), revoke(&["node2"]));
    assert_eq!(next(&two(held(&[]), false)), contract(""), "R1 (a)");
    assert_eq!(hold(&two(Lock::Unsure, true)), Hold::LockUnsure);
    assert_eq!(hold(&two(Lock::Dead, true)), Hold::Unknown);
}

#[test]
fn a_dead_lock_service_leaves_presence_and_fencing() {
    let dead = |seen: Seen| {
        let mut facts = revoked(facts("node2", &[("node2", seen)]), "node2", S(50));
        facts.lock = Lock::Dead;
        facts
    };
    assert_eq!(
        next(&spread(dead(node(false, None)))),
        contract(""),
        "R1 (b)"
    );
    let outvoted = Hold::NoArbiter {
        standby: "node2".to_owned(),
    };
    assert_eq!(hold(&dead(absent(false))), outvoted, "not (c)");
    let (mut standby, eligible) = absent(false);
    standby.place = Place::Node {
        present: false,
        fenced: true,
    };
    let mut fenced = spread(dead((standby, eligible)));
    fenced.copies.insert("node3".to_owned(), BTreeSet::new());
    assert_eq!(next(&fenced), contract(""), "R1 (d)");
}

#[test]
fn of_three_a_fenced_node_finds_somebody_who_has_the_revocation() {
    let (mut standby, _) = absent(false);
    standby.place = Place::Node {
        present: false,
        fenced: true,
    };
    let fenced = facts(
        "node2",
        &[("node2", (standby, false)), ("node3", node(false, None))],
    );
    let copies = |names: &[&str]| {
        let mut facts = revoked(fenced.clone(), "node2", S(100));
        facts.copies = names
            .iter()
            .map(|name| ((*name).to_owned(), BTreeSet::new()))
            .collect();
        facts
    };
    // Confirmed here alone: what is larger does not get through. This node is lost, and the fenced one starts beside node3.
    for only in [&[][..], &["node1"]] {
        let standby = "node2".to_owned();
        assert_eq!(hold(&copies(only)), Hold::NotSpread { standby }, "{only:?}");
    }
    assert_eq!(next(&copies(&["node1", "node3"])), contract(""));
    // Copies are no votes: then the votes are all there is, as for one that is outvoted.
    let uneven = partition(copies(&["node1"]), |p| p.one_vote_each = false);
    assert_eq!(next(&uneven), contract(""));
}

#[test]
fn a_fenced_node_needs_no_settle_time() {
    let (mut standby, _) = absent(false);
    standby.place = Place::Node {
        present: false,
        fenced: true,
    };
    let fenced = facts("node2", &[("node2", (standby, false))]);
    let fenced = partition(revoked(fenced, "node2", S(100)), |p| {
        p.voters = 2;
        p.waits_for_all = true;
        p.settle = None;
    });
    assert_eq!(next(&fenced), contract(""));
    // If this node is lost, too, and that one starts first, it goes by what it knew.
    let alone = partition(fenced, |p| p.waits_for_all = false);
    let standby = "node2".to_owned();
    assert_eq!(hold(&alone), Hold::StartsAlone { standby });
}

#[test]
fn nobody_is_granted_while_the_lock_is_unsure_and_the_lock_is_told_too() {
    let streaming = |eligible| [("node2", node(eligible, SYNC))];
    let with = |lock: Lock, eligible| {
        let mut facts = facts("node2", &streaming(eligible));
        facts.lock = lock;
        next(&facts)
    };
    let held = |names: &[&str]| Lock::Held {
        eligible: set(names),
    };
    assert_eq!(with(Lock::Unsure, false), vec![]);
    assert_eq!(with(Lock::Dead, false), grant("node2"));
    assert_eq!(with(held(&[]), false), grant("node2"));
    assert_eq!(
        with(held(&[]), true),
        grant("node2"),
        "the lock's record was lost"
    );
    assert_eq!(with(held(&["node2"]), true), vec![]);
    // Somebody it names that commits do not wait for.
    assert_eq!(with(held(&["node2", "node3"]), true), revoke(&["node3"]));
}

#[test]
fn who_is_asked_for_joins_and_nobody_leaves_for_it() {
    let asked = |in_force: &str, two: Seen, three: Seen, who: &str| {
        let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
        facts.requested = set(&[who]);
        next(&facts)
    };
    let (sync, streaming) = (node(true, SYNC), node(false, STREAMING));
    assert_eq!(
        asked("node2", sync.clone(), streaming.clone(), "node3"),
        contract("FIRST 2 (node2, node3)")
    );
    // In force, and it has caught up.
    let both = "FIRST 2 (node2, node3)";
    assert_eq!(
        asked(both, sync.clone(), node(false, SYNC), "node3"),
        grant("node3")
    );
    assert_eq!(asked(both, sync.clone(), node(true, SYNC), "node3"), vec![]);
    // Who can't keep up, does not stream, or is unknown holds no commit up.
    let slow = STREAMING.map(|link| Link {
        keeps_up: false,
        ..link
    });
    for three in [slow, CATCHUP, None] {
        assert_eq!(
            asked("node2", sync.clone(), node(false, three), "node3"),
            vec![]
        );
    }
    assert_eq!(
        asked("node2", sync.clone(), streaming.clone(), "nosuch"),
        vec![]
    );
    // Taken back: as without it, first out of the claim, then out of the contract.
    assert_eq!(
        asked(both, sync.clone(), node(true, SYNC), "nosuch"),
        revoke(&["node3"])
    );
    // It was there already.
    assert_eq!(asked("node2", sync, streaming, "node2"), vec![]);
    // Alone: whoever is asked for, and the first.
    let (two, three) = (node(false, STREAMING), node(false, STREAMING));
    assert_eq!(
        asked("", two, three, "node3"),
        contract("FIRST 2 (node2, node3)")
    );
    // With quorum commit all are in it anyway.
    let mut quorum = by_quorum(
        "ANY 1 (node2, node3)",
        &["node2", "node3"],
        &[
            ("node2", node(false, QUORUM)),
            ("node3", node(false, QUORUM)),
        ],
    );
    quorum.requested = set(&["node3"]);
    assert_eq!(next(&quorum), vec![]);
}

/// A standby that would not replay all it has still keeps a copy; whoever may be promoted is waited for before it.
#[test]
fn a_standby_that_is_held_up_is_not_granted_and_gives_way_to_one_that_is_not() {
    let with = |in_force: &str, two: Seen, three: Seen, held: &[&str]| {
        let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
        facts.wishes.held = set(held);
        next(&facts)
    };
    let (sync, streaming) = (node(true, SYNC), node(false, STREAMING));
    let gone = absent(false);
    for (what, in_force, two, three, held, expected) in [
        ("nobody", "node2", &sync, &streaming, &[][..], vec![]),
        (
            "the one that counts",
            "node2",
            &sync,
            &streaming,
            &["node2"],
            revoke(&["node2"]),
        ),
        ("the other", "node2", &sync, &streaming, &["node3"], vec![]),
        (
            "both",
            "node2",
            &sync,
            &streaming,
            &["node2", "node3"],
            vec![],
        ),
        // Rather it than nobody: what it has flushed outlives this machine.
        ("the only one", "node2", &sync, &gone, &["node2"], vec![]),
        (
            "the only one, new",
            "",
            &streaming,
            &gone,
            &["node2"],
            contract("node2"),
        ),
        (
            "the only one, not granted",
            "node2",
            &node(false, SYNC),
            &gone,
            &["node2"],
            vec![],
        ),
    ] {
        let got = with(in_force, two.clone(), three.clone(), held);
        assert_eq!(got, expected, "{what}");
    }
    let mut quorum = by_quorum(
        "ANY 1 (node2, node3)",
        &[],
        &[
            ("node2", node(false, QUORUM)),
            ("node3", node(false, LAGGING)),
        ],
    );
    assert_eq!(next(&quorum), vec![Step::Grant(set(&["node2", "node3"]))]);
    quorum.wishes.held = set(&["node2"]);
    assert_eq!(next(&quorum), vec![]);
}

/// A node that Pacemaker does not promote is not the one that commits wait for while another keeps up.
#[test]
fn a_barred_standby_gives_way_when_another_has_everything() {
    let with = |in_force: &str, two: Seen, three: Seen, barred: &[&str]| {
        let mut facts = facts(in_force, &[("node2", two), ("node3", three)]);
        facts.wishes.barred = set(barred);
        next(&facts)
    };
    let streaming = |eligible| node(eligible, STREAMING);
    let sync = |eligible| node(eligible, SYNC);
    let slow = STREAMING.map(|link| Link {
        keeps_up: false,
        ..link
    });
    let both = "FIRST 2 (node2, node3)";
    for (what, in_force, two, three, barred, expected) in [
        (
            "right after a promotion",
            "ANY 1 (node2, node3)",
            streaming(false),
            streaming(false),
            &["node2"][..],
            contract("node3"),
        ),
        (
            "the one that counts: another comes beside it",
            "node2",
            sync(true),
            streaming(false),
            &["node2"],
            contract(both),
        ),
        (
            "which is granted",
            both,
            sync(true),
            sync(false),
            &["node2"],
            grant("node3"),
        ),
        (
            "and then the other leaves",
            both,
            sync(true),
            sync(true),
            &["node2"],
            revoke(&["node2"]),
        ),
        (
            "nobody else keeps up",
            "node2",
            sync(true),
            node(false, slow),
            &["node2"],
            vec![],
        ),
        (
            "nobody else is there: it is granted, should the bar be lifted",
            "node2",
            sync(false),
            absent(false),
            &["node2"],
            grant("node2"),
        ),
        (
            "both are barred",
            "node2",
            sync(true),
            streaming(false),
            &["node2", "node3"],
            vec![],
        ),
    ] {
        assert_eq!(with(in_force, two, three, barred), expected, "{what}");
    }
}

/// Else the last commits may be on a node that nobody promotes.
#[test]
fn a_barred_standby_is_no_part_of_a_quorum_while_others_are_enough() {
    let links = [QUORUM, QUORUM, None];
    let any2 = "ANY 2 (node2, node3, node4)";
    let all = ["node2", "node3", "node4"];
    let with = |in_force: &str, claim: &[&str], links: [Option<Link>; 3], count| {
        let [b, c, d] = links.map(|link| node(false, link));
        let seen = [("node2", b), ("node3", c), ("node4", d)];
        let mut facts = by_quorum(in_force, claim, &seen);
        facts.options.count = count;
        facts.wishes.barred = set(&["node2"]);
        next(&facts)
    };
    let to = |text: &str| vec![Step::Contract(text.parse().unwrap())];
    let any = "ANY 1 (node2, node3, node4)";
    assert_eq!(with(any, &[], links, 1), to("ANY 1 (node3, node4)"));
    assert_eq!(
        with(any, &all, links, 1),
        to("ANY 1 (node3, node4)"),
        "it says more"
    );
    assert_eq!(with(any2, &all, links, 2), vec![], "two are asked for");
    let alone = [QUORUM, None, None];
    assert_eq!(
        with("ANY 1 (node3, node4)", &["node3", "node4"], alone, 1),
        revoke(&["node3", "node4"])
    );
}

#[test]
fn a_priority_of_two_takes_two_where_there_are_two() {
    let three = |links: [Option<Link>; 3]| {
        let names = ["node2", "node3", "node4"];
        let seen: Vec<_> = names
            .into_iter()
            .zip(links.map(|l| node(false, l)))
            .collect();
        let mut facts = facts("ANY 1 (node2, node3, node4)", &seen);
        facts.options.count = 2;
        facts
    };
    let both = |text: &str| vec![Step::Contract(text.parse().unwrap())];
    assert_eq!(
        next(&three([None, STREAMING, STREAMING])),
        both("FIRST 2 (node3, node4)")
    );
    assert_eq!(next(&three([None, None, STREAMING])), contract("node4"));
}

/// Whatever is seen, no step breaks the invariant: nobody is dropped while eligible, nobody
/// is granted outside the contract.
#[test]
fn no_combination_breaks_the_invariant() {
    let links = [None, STREAMING, LAGGING, SYNC, CATCHUP];
    let standbys: Vec<Seen> = links
        .into_iter()
        .flat_map(|l| [node(true, l), node(false, l)])
        .chain([absent(true), absent(false)])
        .collect();
    let mut seen = 0;
    for in_force in [
        "",
        "node2",
        "node3",
        "FIRST 2 (node2, node3)",
        "ANY 1 (node2, node3)",
        "*",
    ] {
        for two in &standbys {
            for three in &standbys {
                for (noted, asked, barred, order) in [
                    (S(50), None, "", ""),
                    (S(95), None, "", ""),
                    (S(50), Some("node3"), "", ""),
                    (S(95), Some("node3"), "", ""),
                    (S(50), None, "node2", ""),
                    (S(95), None, "node2", ""),
                    (S(50), Some("node2"), "", "node3"),
                    (S(95), None, "", "node3"),
                    (S(95), None, "node2", "node3 node2"),
                ] {
                    let facts = facts(
                        in_force,
                        &[("node2", two.clone()), ("node3", three.clone())],
                    );
                    let mut facts = revoked(revoked(facts, "node2", noted), "node3", S(50));
                    facts.requested = asked.into_iter().map(str::to_owned).collect();
                    facts.wishes.barred = barred.split_whitespace().map(str::to_owned).collect();
                    facts.wishes.order = order.split_whitespace().map(str::to_owned).collect();
                    for step in next(&facts) {
                        seen += 1;
                        let members = facts.in_force.certain().unwrap_or_default();
                        match step {
                            Step::Contract(new) => {
                                let kept =
                                    new.certain().expect("the agent writes certain contracts");
                                assert!(facts.claim.members.is_subset(&kept), "{facts:?} -> {new}");
                                let early = members.contains("node2")
                                    && !kept.contains("node2")
                                    && noted == S(95);
                                assert!(!early, "dropped before it settled: {facts:?} -> {new}");
                            }
                            Step::Grant(names) => {
                                assert!(names.is_subset(&members), "{facts:?} -> {names:?}");
                                let is_new = |name: &&StandbyName| {
                                    !facts.claim.members.contains(*name)
                                        && !facts.wishes.allow(name)
                                };
                                let refused = names.iter().find(is_new);
                                assert_eq!(refused, None, "{facts:?} -> {names:?}");
                            }
                            Step::Revoke(_) | Step::Hold(_) => {}
                        }
                    }
                }
            }
        }
    }
    assert!(
        seen > 500,
        "the table must have exercised the function: {seen}"
    );
}
