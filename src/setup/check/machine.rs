//! What the machine itself does to a server that works on it: systemd's ways, and the C library's order of texts.

use std::fs;

use super::facts::Machine;
use super::findings::{Findings, Seen};
use crate::sys::{Command, Deadline, Owner};

/// The last number of an account of the system's. Source: login.defs(5), SYS_UID_MAX.
const LAST_OF_THE_SYSTEM: u32 = 999;

pub(super) fn look(owner: Option<&Owner>, deadline: Deadline) -> Machine {
    let said = |command: Command| {
        let output = command.run(deadline).ok()?;
        let text = output.stdout_text();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let systemctl = Command::new("systemctl").args([
        "show",
        "--property=OOMPolicy",
        "--value",
        "pacemaker.service",
    ]);
    let is_persons = owner.is_some_and(|owner| owner.uid.as_raw() > last_of_the_system());
    let removes_ipc = || {
        said(Command::new("busctl").args([
            "get-property",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.login1.Manager",
            "RemoveIPC",
        ]))
    };
    Machine {
        oom_policy: said(systemctl),
        removes_ipc: is_persons && removes_ipc().as_deref() == Some("b true"),
        libc: said(Command::new("getconf").arg("GNU_LIBC_VERSION")),
        binds_foreign_v4: binds_foreign("ipv4"),
        binds_foreign_v6: binds_foreign("ipv6"),
    }
}

fn binds_foreign(family: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"))
        .is_ok_and(|text| text.trim() == "1")
}

fn last_of_the_system() -> u32 {
    let text = fs::read_to_string("/etc/login.defs").unwrap_or_default();
    let last = text.lines().find_map(|line| {
        let number = line.trim().strip_prefix("SYS_UID_MAX")?;
        number.trim().parse().ok()
    });
    last.unwrap_or(LAST_OF_THE_SYSTEM)
}

pub(super) fn judge(findings: &mut Findings, seen: &[Seen]) {
    for it in seen {
        let machine = &it.facts.machine;
        if let Some(policy @ ("stop" | "kill")) = machine.oom_policy.as_deref() {
            findings.warning(
                &it.node,
                format!(
                    "OOMPolicy={policy} of pacemaker.service: the server belongs to that unit, so where the kernel kills one of its processes for want of \
                     memory, systemd stops Pacemaker, and the node leaves the cluster"
                ),
                "mkdir -p /etc/systemd/system/pacemaker.service.d; printf '[Service]\\nOOMPolicy=continue\\n' \
                 >/etc/systemd/system/pacemaker.service.d/oom.conf; systemctl daemon-reload",
            );
        }
        if machine.removes_ipc {
            findings.warning(
                &it.node,
                "RemoveIPC=yes of systemd-logind, and the server's account is none of the system's: when a person who is logged in as it leaves, the \
                 running server loses its shared memory",
                "RemoveIPC=no in /etc/systemd/logind.conf, and systemctl restart systemd-logind",
            );
        }
    }
    let mut known = seen
        .iter()
        .filter_map(|it| Some((it, it.facts.machine.libc.as_deref()?)));
    let Some((first, libc)) = known.next() else {
        return;
    };
    for (other, theirs) in known.filter(|(_, theirs)| *theirs != libc) {
        findings.warning(
            &other.node,
            format!(
                "{theirs} here, {libc} on {}: the two may sort texts in different ways, and an index on text that was made on one is wrong on the other",
                first.node
            ),
            "bring the nodes to the same release of the system; where a node of the other one has been the primary, reindex what is sorted by a \
             collation of libc",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::check::facts::Facts;

    fn told(machines: &[Machine]) -> Vec<(String, String)> {
        let seen: Vec<Seen> = machines
            .iter()
            .zip(["a", "b", "c"])
            .map(|(machine, node)| Seen {
                node: node.to_owned(),
                facts: Facts {
                    machine: machine.clone(),
                    ..Facts::default()
                },
                ahead: 0,
            })
            .collect();
        let mut findings = Findings(Vec::new());
        judge(&mut findings, &seen);
        let told = findings.0.into_iter();
        told.map(|it| (it.node.unwrap_or_default(), it.what))
            .collect()
    }

    #[test]
    fn systemd_and_the_c_library_are_judged_by_what_they_do() {
        let plain = || Machine {
            libc: Some("glibc 2.36".to_owned()),
            ..Machine::default()
        };
        let policy = |policy: &str| Machine {
            oom_policy: Some(policy.to_owned()),
            ..plain()
        };
        let newer = || Machine {
            libc: Some("glibc 2.41".to_owned()),
            ..Machine::default()
        };
        let ipc = || Machine {
            removes_ipc: true,
            ..plain()
        };
        for (machines, expected) in [
            (vec![plain(), plain(), Machine::default()], vec![]),
            (vec![policy("continue"), policy("")], vec![]),
            (
                vec![policy("stop"), policy("kill")],
                vec![("a", "OOMPolicy=stop"), ("b", "OOMPolicy=kill")],
            ),
            (vec![plain(), ipc()], vec![("b", "RemoveIPC")]),
            (
                vec![Machine::default(), plain(), newer()],
                vec![("c", "glibc 2.41 here, glibc 2.36 on b")],
            ),
        ] {
            let told = told(&machines);
            assert_eq!(told.len(), expected.len(), "{told:?}");
            for ((node, what), (on, says)) in told.iter().zip(expected) {
                assert_eq!(node, on);
                assert!(what.contains(says), "{what}");
            }
        }
    }
}
