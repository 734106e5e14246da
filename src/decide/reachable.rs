//! Whether the others could follow a node, and clients reach it, if it were the primary: by two settings that show only then.

use core::net::IpAddr;

/// PostgreSQL's own `listen_addresses`, where nobody sets it.
pub const DEFAULT_ADDRESSES: &str = "localhost";

/// Whether a server with these `listen_addresses` takes connections from other machines. A name that says nothing is taken for
/// an address of this machine that others know.
#[must_use]
pub fn lets_others_in(listen_addresses: &str) -> bool {
    listen_addresses.split(',').any(|one| {
        let one = one.trim().trim_matches('"');
        let is_own_name = ["localhost", "localhost.localdomain", "ip6-localhost"]
            .iter()
            .any(|name| one.eq_ignore_ascii_case(name));
        let is_loopback = one.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        !one.is_empty() && !is_own_name && !is_loopback
    })
}

/// Whether a server with these `listen_addresses` takes connections at an address that its machine gets later, when it has been started
/// already. `None`: a name in there may be that address. `binds_foreign`: it may listen at what the machine does not have yet.
///
/// Source: PostgreSQL, `listen_addresses`: `0.0.0.0` is every IPv4 address, `::` every IPv6 address, and no other.
#[must_use]
pub fn listens_later(listen_addresses: &str, address: IpAddr, binds_foreign: bool) -> Option<bool> {
    let mut may_be = false;
    for one in listen_addresses.split(',') {
        let one = one.trim().trim_matches('"');
        match one.parse::<IpAddr>() {
            _ if one == "*" => return Some(true),
            Ok(it) if it.is_unspecified() && it.is_ipv4() == address.is_ipv4() => {
                return Some(true);
            }
            Ok(it) if it == address && binds_foreign => return Some(true),
            Ok(_) => {}
            Err(_) => may_be |= lets_others_in(one),
        }
    }
    (!may_be).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_comes_later_is_listened_at_by_the_wildcard_of_its_kind() {
        let four: IpAddr = "192.0.2.9".parse().unwrap();
        let six: IpAddr = "2001:db8::9".parse().unwrap();
        for (addresses, at, binds_foreign, expected) in [
            ("*", four, false, Some(true)),
            ("0.0.0.0", four, false, Some(true)),
            ("0.0.0.0", six, false, Some(false)),
            ("::", four, false, Some(false)),
            ("localhost, ::", six, false, Some(true)),
            ("10.0.0.1", four, true, Some(false)),
            ("10.0.0.1, 192.0.2.9", four, false, Some(false)),
            ("10.0.0.1, 192.0.2.9", four, true, Some(true)),
            ("localhost", four, true, Some(false)),
            ("localhost,db.example", four, false, None),
            ("db.example,0.0.0.0", four, false, Some(true)),
            ("", four, true, Some(false)),
        ] {
            assert_eq!(
                listens_later(addresses, at, binds_foreign),
                expected,
                "{addresses:?} {at}"
            );
        }
    }

    #[test]
    fn only_an_address_that_is_not_this_machines_own_lets_others_in() {
        for (addresses, expected) in [
            ("*", true),
            ("0.0.0.0", true),
            ("::", true),
            ("10.0.0.1", true),
            ("node1", true),
            ("localhost, 10.0.0.1", true),
            ("fe80::1", true),
            ("", false),
            (" , ", false),
            ("localhost", false),
            ("Localhost, 127.0.0.1", false),
            ("127.0.0.2,::1", false),
            ("ip6-localhost", false),
            (DEFAULT_ADDRESSES, false),
        ] {
            assert_eq!(lets_others_in(addresses), expected, "{addresses:?}");
        }
    }
}
