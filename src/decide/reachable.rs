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

#[cfg(test)]
mod tests {
    use super::*;

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
