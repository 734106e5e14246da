//! The address at which standbys find the primary.

use std::net::UdpSocket;

use crate::sys::addresses;
use crate::timing;

use crate::agent::context::Context;

/// Whether this machine has it. A cluster resource brings it up after a promotion; where it is no address of a machine but
/// of a load balancer, it never is.
///
/// Only an address of this machine can be bound to (unless `ip_nonlocal_bind` is set: then this says yes).
pub(crate) fn is_here(ctx: &Context<'_>) -> bool {
    let Some(host) = ctx.params.master_ip.as_deref() else {
        return false;
    };
    let found = addresses(host, 0, ctx.deadline.min(timing::NAME_SERVICE));
    found.is_ok_and(|all| {
        all.into_iter()
            .any(|address| UdpSocket::bind(address).is_ok())
    })
}
