//! Who gets the lock, and who keeps it.

use std::time::Duration;

use expgsql::distlock::{Foreign, Renewal, Service, Take, Taken};

use crate::server::{Server, set, soon, wish};

const HOUR: Duration = Duration::from_secs(3600);

fn mine(epoch: u64, eligible: &[&str]) -> Taken {
    Taken::Mine {
        epoch,
        eligible: Some(set(eligible)),
        reports: 1,
    }
}

fn take(lock: &Service, wish: &Take) -> Taken {
    lock.take(wish, soon()).unwrap()
}

fn expire(server: &Server) {
    server.sql("update distlock set ts = now() - interval '2 h'");
}

#[test]
fn one_node_has_it_and_the_next_one_that_may_gets_it() {
    let (server, lock) = Server::ready();
    assert_eq!(take(&lock, &wish("node1")), mine(1, &["node1"]));
    // Again: the same holder, the same epoch, unless a higher one is asked for.
    assert_eq!(take(&lock, &wish("node1")), mine(1, &["node1"]));
    let higher = Take {
        min_epoch: 5,
        ..wish("node1")
    };
    assert_eq!(take(&lock, &higher), mine(5, &["node1"]));

    let refused = Taken::NotEligible {
        eligible: set(&["node1"]),
        reports: 1,
        seen: set(&["node2"]),
    };
    assert_eq!(take(&lock, &wish("node2")), refused);
    let both = set(&["node1", "node2"]);
    assert!(matches!(
        lock.set_eligible("pgsql_node1", 5, &both, 1, HOUR, soon()).unwrap(),
        Renewal::Mine(row) if row.eligible == Some(both.clone())
    ));
    let Taken::Held { owner, remaining } = take(&lock, &wish("node2")) else {
        panic!("held");
    };
    assert_eq!(owner, "pgsql_node1");
    assert!(
        remaining > Duration::ZERO && remaining <= HOUR,
        "{remaining:?}"
    );

    // Expired, but not renewed by its holder in time: still its holder's, until somebody takes it.
    expire(&server);
    assert!(matches!(
        lock.renew("pgsql_node1", 5, HOUR, soon()),
        Ok(Renewal::Mine(_))
    ));
    expire(&server);
    assert_eq!(take(&lock, &wish("node2")), mine(6, &["node2"]));
    let lost = lock.renew("pgsql_node1", 5, HOUR, soon()).unwrap();
    assert!(
        matches!(&lost, Renewal::Lost(Some(row)) if row.owner == "pgsql_node2" && row.epoch == 6),
        "{lost:?}"
    );
    assert_eq!(lock.release("pgsql_node1", None, soon()), Ok(false));
    // An older agent of the holder itself changes nothing either.
    assert!(matches!(
        lock.renew("pgsql_node2", 5, HOUR, soon()),
        Ok(Renewal::Lost(_))
    ));
    assert_eq!(lock.release("pgsql_node2", Some(5), soon()), Ok(false));
    assert_eq!(lock.release("pgsql_node2", Some(6), soon()), Ok(true));
    let row = lock.read(soon()).unwrap().unwrap();
    assert!(
        row.is_free() && row.eligible == Some(set(&["node2"])),
        "{row:?}"
    );
    // Given back is not given away: only who may be promoted gets it.
    assert!(matches!(
        take(&lock, &wish("node1")),
        Taken::NotEligible { .. }
    ));
    assert_eq!(take(&lock, &wish("node2")), mine(7, &["node2"]));
}

#[test]
fn an_operator_opens_a_row_that_bars_everybody_but_never_a_lease_that_runs() {
    let (server, lock) = Server::ready();
    take(&lock, &wish("node1"));
    let forget = |owner, epoch| lock.forget_eligible(owner, epoch, soon()).unwrap();
    assert!(!forget("pgsql_node1", 1), "its lease runs");
    expire(&server);
    assert!(matches!(
        take(&lock, &wish("node2")),
        Taken::NotEligible { .. }
    ));
    assert!(!forget("pgsql_node1", 2), "it was taken since");
    assert!(!forget("pgsql_node2", 1), "it is another's");
    assert!(forget("pgsql_node1", 1));
    assert_eq!(take(&lock, &wish("node2")), mine(2, &["node2"]));
    // Given back.
    assert_eq!(lock.release("pgsql_node2", Some(2), soon()), Ok(true));
    assert!(forget("", 2));
    assert_eq!(take(&lock, &wish("node1")), mine(3, &["node1"]));
}

#[test]
fn who_had_it_last_keeps_the_standbys_it_names() {
    let (_server, lock) = Server::ready();
    take(&lock, &wish("node1"));
    lock.set_eligible(
        "pgsql_node1",
        1,
        &set(&["node1", "node2", "node3"]),
        1,
        HOUR,
        soon(),
    )
    .unwrap();
    let keeping = Take {
        keep: set(&["node2", "node9"]),
        ..wish("node1")
    };
    assert_eq!(take(&lock, &keeping), mine(1, &["node1", "node2"]));
    lock.release("pgsql_node1", Some(1), soon()).unwrap();
    assert_eq!(take(&lock, &keeping), mine(2, &["node1", "node2"]));
    lock.release("pgsql_node1", Some(2), soon()).unwrap();
    let other = Take {
        keep: set(&["node1"]),
        ..wish("node2")
    };
    assert_eq!(take(&lock, &other), mine(3, &["node2"]));
}

#[test]
fn a_promoter_needs_the_reports_the_row_asks_for() {
    let (server, lock) = Server::ready();
    take(&lock, &wish("node1"));
    lock.set_eligible(
        "pgsql_node1",
        1,
        &set(&["node1", "node2", "node3"]),
        2,
        HOUR,
        soon(),
    )
    .unwrap();
    expire(&server);
    let of = |seen: &[&str]| Take {
        seen: set(seen),
        ..wish("node2")
    };
    for too_few in [&["node2"][..], &["node2", "node4"]] {
        assert!(
            matches!(
                take(&lock, &of(too_few)),
                Taken::NotEligible { reports: 2, .. }
            ),
            "{too_few:?}"
        );
    }
    assert_eq!(take(&lock, &of(&["node2", "node3"])), mine(2, &["node2"]));
    // Its own commits are all there without anybody's report.
    lock.set_eligible(
        "pgsql_node2",
        2,
        &set(&["node1", "node2", "node3"]),
        2,
        HOUR,
        soon(),
    )
    .unwrap();
    assert!(matches!(
        take(&lock, &wish("node2")),
        Taken::Mine {
            epoch: 2,
            reports: 2,
            ..
        }
    ));
    lock.release("pgsql_node2", None, soon()).unwrap();
    assert!(matches!(
        take(&lock, &wish("node2")),
        Taken::Mine { epoch: 3, .. }
    ));
}

#[test]
fn async_asks_for_no_eligibility_and_forgets_what_was_recorded() {
    let (server, lock) = Server::ready();
    take(&lock, &wish("node1"));
    expire(&server);
    let anyone = Take {
        needs_eligibility: false,
        ..wish("node2")
    };
    let none = Taken::Mine {
        epoch: 2,
        eligible: None,
        reports: 1,
    };
    assert_eq!(take(&lock, &anyone), none);
}

#[test]
fn another_clusters_lock_is_refused_even_if_it_has_expired() {
    let (server, lock) = Server::ready();
    server.sql("update distlock set owner = 'other_node1', ts = now() - interval '1 day', expired_time = interval '9 s'");
    let refused = take(&lock, &wish("node1"));
    let expected = Taken::Foreign {
        whose: Foreign::Owner("other_node1".to_owned()),
    };
    assert_eq!(refused, expected);
    assert!(
        refused
            .to_string()
            .contains("two clusters use the same lock name"),
        "{refused}"
    );

    server.sql("update distlock set owner = ''");
    assert_eq!(take(&lock, &wish("node1")), mine(2, &["node1"]));
    let elsewhere = Take {
        system: "7001".to_owned(),
        ..wish("node1")
    };
    let refused = take(&lock, &elsewhere);
    assert!(
        matches!(&refused, Taken::Foreign { whose: Foreign::System { theirs, .. } } if theirs == "7000")
    );
    assert!(refused.to_string().contains("two clusters"), "{refused}");
}

#[test]
fn a_wait_ends_when_the_lease_does() {
    let (server, lock) = Server::ready();
    let brief = Take {
        needs_eligibility: false,
        ttl: Duration::from_secs(1),
        ..wish("node1")
    };
    take(&lock, &brief);
    let patient = Take {
        needs_eligibility: false,
        patience: Duration::from_secs(50),
        ..wish("node2")
    };
    assert!(matches!(
        take(&lock, &patient),
        Taken::Mine { epoch: 2, .. }
    ));
    // Without patience there is one try.
    server.sql("update distlock set expired_time = interval '1 h'");
    assert!(matches!(
        take(
            &lock,
            &Take {
                needs_eligibility: false,
                ..wish("node3")
            }
        ),
        Taken::Held { .. }
    ));
}

#[test]
fn a_lease_from_the_future_ends_after_a_lease_of_this_nodes_own_time() {
    let (server, lock) = Server::ready();
    let brief = |node| Take {
        needs_eligibility: false,
        ttl: Duration::from_secs(1),
        patience: Duration::from_secs(50),
        ..wish(node)
    };
    take(&lock, &brief("node1"));
    // The service's clock went back by a day.
    server.sql("update distlock set ts = now() + interval '1 day'");
    assert!(matches!(
        take(&lock, &brief("node2")),
        Taken::Mine { epoch: 2, .. }
    ));
    let row = lock.read(soon()).unwrap().unwrap();
    assert!(row.remaining <= row.lease, "{row:?}");

    // A holder that still renews is never taken over from: the row changes under the waiting one.
    server.sql("update distlock set ts = now() + interval '1 day'");
    let busy = server.session(
        "create procedure renew() language plpgsql as $$ begin for i in 1..20 loop
           update distlock set ts = now() + interval '1 day'; commit; perform pg_sleep(0.2); end loop; end $$",
    );
    drop(busy);
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| server.sql("call renew()"));
        let short = Take {
            patience: Duration::from_millis(2500),
            ..brief("node3")
        };
        let waited = server.service().take(&short, soon()).unwrap();
        let was_renewing = !renewing.is_finished();
        assert!(
            matches!(waited, Taken::Held { .. }) || !was_renewing,
            "{waited:?}"
        );
    });
}

#[test]
fn of_many_that_ask_at_once_one_gets_it() {
    let (server, lock) = Server::ready();
    let winners: Vec<Taken> = std::thread::scope(|scope| {
        let asking: Vec<_> = ["node1", "node2", "node3"]
            .iter()
            .cycle()
            .take(9)
            .map(|node| {
                let server = &server;
                scope.spawn(move || {
                    let wish = Take {
                        needs_eligibility: false,
                        ..wish(node)
                    };
                    server.service().take(&wish, soon()).unwrap()
                })
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let row = lock.read(soon()).unwrap().unwrap();
    assert_eq!(row.epoch, 1, "{row:?}");
    let won = winners
        .iter()
        .filter(|taken| matches!(taken, Taken::Mine { .. }))
        .count();
    assert_eq!(won, 3, "the three calls of one node: {winners:?}");
}
