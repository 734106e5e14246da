//! Nothing waits past its deadline, and a service that is back is used again.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use expgsql::distlock::{LockError, Renewal, Service, Taken};
use expgsql::sys::Deadline;
use expgsql::timing;
use nix::sys::signal::Signal;

use crate::server::{LIMIT, Server, service, soon, wish};

const SHORT: Duration = Duration::from_millis(800);

/// It ends by its deadline, and far from the test's own limit.
fn ends<T: std::fmt::Debug>(call: impl FnOnce(Deadline) -> Result<T, LockError>) -> LockError {
    let start = Instant::now();
    let error = call(Deadline::after(SHORT)).unwrap_err();
    assert!(
        start.elapsed() < LIMIT / 4,
        "{:?}: {error}",
        start.elapsed()
    );
    error
}

fn renew(lock: &Service) -> impl FnOnce(Deadline) -> Result<Renewal, LockError> {
    |deadline| lock.renew("pgsql_node1", 1, Duration::from_secs(3600), deadline)
}

#[test]
fn a_blocked_row_ends_by_the_deadline_and_changes_nothing_later() {
    let (server, lock) = Server::ready();
    lock.take(&wish("node1"), soon()).unwrap();
    let before = lock.read(soon()).unwrap().unwrap();
    let blocking = server.session("begin; select 1 from distlock for update");
    let error = ends(renew(&lock));
    assert!(matches!(error, LockError::Blocked(_)), "{error}");
    assert!(error.to_string().contains("pg_stat_activity"), "{error}");
    assert!(!error.is_unreachable());
    let error = ends(|deadline| server.service().take(&wish("node1"), deadline));
    assert!(matches!(error, LockError::Blocked(_)), "{error}");
    drop(blocking);
    let after = lock.read(soon()).unwrap().unwrap();
    assert_eq!(
        before.since, after.since,
        "what was given up was done later"
    );
    assert!(matches!(renew(&lock)(soon()), Ok(Renewal::Mine(_))));
}

#[test]
fn a_service_that_hangs_ends_by_the_deadline_and_is_used_again_when_it_is_back() {
    let (server, lock) = Server::ready();
    lock.take(&wish("node1"), soon()).unwrap();
    server.signal(Signal::SIGSTOP);
    for hung in [ends(renew(&lock)), ends(renew(&server.service()))] {
        assert!(hung.is_unreachable(), "{hung}");
    }
    // A promotion has a minute, and the other nodes are still to be asked in it.
    let minute = Deadline::after(Duration::from_secs(60));
    let hung = server.service().take(&wish("node1"), minute).unwrap_err();
    assert!(hung.is_unreachable(), "{hung}");
    assert!(minute.remaining() > timing::LOCK_CHECK, "{minute:?}");
    server.signal(Signal::SIGCONT);
    assert!(matches!(renew(&lock)(soon()), Ok(Renewal::Mine(_))));
    // Its end is noticed at the next call, which connects anew by itself.
    server.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'expgsql'",
    );
    assert!(matches!(renew(&lock)(soon()), Ok(Renewal::Mine(_))));
}

#[test]
fn what_is_no_service_ends_by_the_deadline() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let lock = service(&format!("host=127.0.0.1 port={port} user=u"), "pgsql");
    assert!(ends(renew(&lock)).is_unreachable());
    drop(silent);
    let refused = ends(renew(&lock));
    assert!(
        refused.to_string().contains("can't be reached"),
        "{refused}"
    );
    let unknown = service("host=no-such-host.invalid user=u", "pgsql");
    assert!(ends(renew(&unknown)).is_unreachable());
    let no_socket = service("host=/nonexistent user=u", "pgsql");
    assert!(ends(renew(&no_socket)).is_unreachable());
}

#[test]
fn of_several_hosts_the_one_that_answers_is_used() {
    let (server, _) = Server::ready();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = silent.local_addr().unwrap().port();
    let conninfo = format!(
        "host=127.0.0.1,127.0.0.1 port={gone},{} user=postgres dbname=postgres connect_timeout=1",
        server.port
    );
    let lock = service(&conninfo, "pgsql");
    assert!(matches!(
        lock.take(&wish("node1"), soon()),
        Ok(Taken::Mine { .. })
    ));
}

#[test]
fn what_is_wrong_with_the_service_is_told_apart() {
    let (server, _) = Server::ready();
    let at = |user: &str, database: &str, more: &str| {
        let conninfo = format!(
            "host=127.0.0.1 port={} user={user} dbname={database} {more}",
            server.port
        );
        service(&conninfo, "pgsql").read(soon()).unwrap_err()
    };
    for error in [
        at("agent", "postgres", "password=wrong"),
        at("agent", "postgres", ""),
        at("nobody", "postgres", ""),
    ] {
        assert!(matches!(error, LockError::Authentication(_)), "{error}");
        assert!(
            !error.is_unreachable() && error.is_misconfigured(),
            "{error}"
        );
    }
    let error = at("postgres", "nodb", "");
    assert!(matches!(error, LockError::TableMissing(_)), "{error}");
    let error = at("postgres", "template1", "");
    assert!(matches!(error, LockError::TableMissing(_)), "{error}");
    let error = at("postgres", "postgres", "sslmode=require");
    assert!(matches!(error, LockError::Certificate(_)), "{error}");
    let missing = service(&server.conninfo(), "other");
    assert_eq!(missing.read(soon()), Ok(None));
    assert!(matches!(
        missing.take(&wish("node1"), soon()),
        Err(LockError::RowMissing(_))
    ));
}
