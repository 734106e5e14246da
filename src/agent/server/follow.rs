//! A surviving standby turns to the new primary at once. In sync mode commits wait for that, so it
//! is part of the outage.
//!
//! PostgreSQL by itself notices after wal_receiver_timeout that the old primary is gone; and a
//! connection that it tries before the new primary has taken over the address hangs on the old
//! one's hardware address for seconds.

use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::log::say;
use crate::postgres::process::{self, Postmaster};
use crate::postgres::{server, views};
use crate::sys::{Command, Deadline, addresses, poll_until};
use crate::timing;
use crate::trial::point;

use crate::agent::context::Context;
use crate::agent::server::answering::Server;
use crate::agent::step::{Step, failed};

/// Ends the old primary's WAL receiver and leaves the rest to a process of its own: Pacemaker
/// brings the address up only after the notifications of a promotion have ended.
pub(crate) fn begin(ctx: &Context<'_>, server: &Server) -> Step<()> {
    let old = server.state.receiver.as_ref().map(|r| r.pid);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?).arg("follow-primary");
    if let Some(pid) = old {
        say!(
            INFO,
            "ending the WAL receiver of the old primary",
            pid = pid
        );
        server
            .running
            .signal_child(pid, Signal::SIGTERM)
            .map_err(failed)?;
        point!(FollowReceiver);
        command = command.arg(pid.to_string());
    }
    if ctx.params.master_ip.is_some() {
        command.spawn_detached(None).map_err(failed)?;
    }
    Ok(())
}

/// Waits for the new primary's address, and makes PostgreSQL connect the moment it answers.
pub(crate) fn follow(ctx: &Context<'_>, old_receiver: Option<i32>) -> Step<()> {
    let deadline = Deadline::after(timing::FOLLOW);
    let mut started = Deadline::after(timing::RECEIVER_START);
    let mut was_reachable = false;
    poll_until(deadline, timing::FOLLOW_POLL, || {
        let Some((server, receiver)) = standby(ctx) else {
            return Some(());
        };
        match receiver {
            Some(r) if r.is_streaming && Some(r.pid) != old_receiver => return Some(()),
            // One that was started after the address had answered is about to stream.
            Some(_) if was_reachable && !started.is_past() => return None,
            _ => {}
        }
        if !is_reachable(ctx) {
            return None;
        }
        was_reachable = true;
        started = Deadline::after(timing::RECEIVER_START);
        // Hangs in a connection to the old primary.
        if let Some(receiver) = receiver {
            server.signal_child(receiver.pid, Signal::SIGTERM).ok()?;
        }
        // Wakes the startup process where it sleeps before its next try.
        server::reload(&server).ok()?;
        point!(FollowConnects);
        None
    });
    Ok(())
}

/// The local server, while it is a standby.
fn standby(ctx: &Context<'_>) -> Option<(process::Running, Option<views::Receiver>)> {
    let Ok(Postmaster::Running(running)) = ctx.postmaster() else {
        return None;
    };
    let state = views::server_state(&mut ctx.connect(&running).ok()?).ok()?;
    state.in_recovery.then_some((running, state.receiver))
}

fn is_reachable(ctx: &Context<'_>) -> bool {
    let Some(host) = &ctx.params.master_ip else {
        return false;
    };
    let limit = Deadline::after(timing::NAME_SERVICE);
    addresses(host, ctx.params.pgport, limit).is_ok_and(|all| {
        all.iter()
            .any(|a| TcpStream::connect_timeout(a, timing::FOLLOW_POLL).is_ok())
    })
}
