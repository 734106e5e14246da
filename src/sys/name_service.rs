//! Questions to the name service (accounts, groups, addresses), each with a limit. Behind it may be LDAP or DNS on a machine
//! that is silent, and the C library's calls take no limit.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;

use nix::unistd::{Uid, User};

use super::deadline::Deadline;

/// The answer of `question`, or [`io::ErrorKind::TimedOut`]. One that is still waited for then goes on in a thread of its
/// own, which ends with this process.
///
/// # Errors
/// No answer in time, or no thread.
pub fn within<T: Send + 'static>(
    deadline: Deadline,
    question: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("name service".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = answer.send(question());
        })?;
    answered
        .recv_timeout(deadline.remaining())
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name service does not answer"))
}

/// The addresses of a host; of one that is an address that very one, without asking.
///
/// # Errors
/// It has none, or that is not to be found out in time.
pub fn addresses(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    within(deadline, move || {
        let found = (host.as_str(), port).to_socket_addrs();
        found.map(Iterator::collect)
    })?
}

/// The account of a user id, where it can be found out in time.
#[must_use]
pub fn account(uid: Uid, deadline: Deadline) -> Option<User> {
    within(deadline, move || User::from_uid(uid).ok().flatten()).ok()?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_service_that_is_silent_is_not_waited_for() {
        let (never, silence) = mpsc::channel::<()>();
        let question = move || silence.recv();
        let error = within(Deadline::after(Duration::from_millis(20)), question).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // It was still being asked.
        assert!(never.send(()).is_ok());
        let soon = Deadline::after(Duration::from_secs(20));
        assert_eq!(within(soon, || 7).unwrap(), 7);
    }

    #[test]
    fn an_address_needs_no_service() {
        let past = Deadline::after(Duration::ZERO);
        let found = addresses("192.0.2.1", 5432, past).unwrap();
        assert_eq!(found, ["192.0.2.1:5432".parse().unwrap()]);
        assert_eq!(
            addresses("::1", 1, past).unwrap(),
            ["[::1]:1".parse().unwrap()]
        );
        let soon = Deadline::after(Duration::from_secs(20));
        assert!(
            addresses("localhost", 1, soon)
                .unwrap()
                .iter()
                .all(|a| a.ip().is_loopback())
        );
    }
}
