//! Pacemaker's own tools, as these commands call them.
//!
//! Long options with `=` throughout: Pacemaker 2.1.5 takes a separate value that begins with a dash for options.

use std::time::Duration;

use crate::cluster::{Exit, Failure};
use crate::model::node_name::NodeName;
use crate::pacemaker::cib::exit_code;
use crate::pacemaker::xpath_literal;
use crate::sys::{Command, Deadline, RunError};
use crate::timing;

/// A node attribute of Pacemaker's own that takes a node out of its hands, or out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeMode {
    Maintenance,
    Standby,
}

impl NodeMode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Standby => "standby",
        }
    }

    /// As Pacemaker's own tools write it.
    const fn on(self) -> &'static str {
        match self {
            Self::Maintenance => "true",
            Self::Standby => "on",
        }
    }
}

/// A meta attribute of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    TargetRole,
    IsManaged,
}

impl Meta {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TargetRole => "target-role",
            Self::IsManaged => "is-managed",
        }
    }
}

/// Sets a meta attribute, where it stands or else on `resource`.
pub(super) fn set_meta(resource: &str, meta: Meta, value: &str) -> Result<(), Failure> {
    change(
        Command::new("crm_resource")
            .arg(format!("--resource={resource}"))
            .arg("--meta")
            .arg(format!("--set-parameter={}", meta.name()))
            .arg(format!("--parameter-value={value}")),
    )
}

/// Removes a meta attribute of `resource` itself. One that is not there is no error.
pub(super) fn delete_meta(resource: &str, meta: Meta) -> Result<(), Failure> {
    let command = Command::new("crm_resource")
        .arg(format!("--resource={resource}"))
        .args(["--meta", "--force"])
        .arg(format!("--delete-parameter={}", meta.name()));
    match command.run(Deadline::after(timing::CHANGE)) {
        Ok(_) => Ok(()),
        // From Pacemaker 3.0 on. The resource itself is there: its name was read from the CIB.
        Err(error) if error.exit_code() == Some(exit_code::NO_SUCH) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// `maintenance-mode`
pub(super) fn set_maintenance_mode(is_on: bool) -> Result<(), Failure> {
    let property =
        Command::new("crm_attribute").args(["--type=crm_config", "--name=maintenance-mode"]);
    change(property.arg(if is_on { "--update=true" } else { "--delete" }))
}

/// Sets or removes a node's mode, for as long as it is not changed again.
pub(super) fn set_node_mode(node: &NodeName, mode: NodeMode, is_on: bool) -> Result<(), Failure> {
    let act = |lifetime: &str, act: String| {
        change(
            Command::new("crm_attribute")
                .arg(format!("--node={node}"))
                .arg(format!("--name={}", mode.name()))
                .arg(format!("--lifetime={lifetime}"))
                .arg(act),
        )
    };
    if is_on {
        return act("forever", format!("--update={}", mode.on()));
    }
    act("forever", "--delete".to_owned())?;
    // Somebody may have set it until the next reboot.
    act("reboot", "--delete".to_owned())
}

/// Has Pacemaker forget the failures of a resource on all nodes, and find out anew what runs where it had failed.
pub(super) fn cleanup(resource: &str) -> Result<(), Failure> {
    let command = Command::new("crm_resource")
        .arg("--cleanup")
        .arg(format!("--resource={resource}"));
    run(&command, timing::CLEANUP)
}

/// Waits until Pacemaker has done what it is about to do. False: it had not in time.
pub(super) fn is_settled(within: Duration) -> Result<bool, Failure> {
    let seconds = within.as_secs().max(1);
    let result = Command::new("crm_resource")
        .arg("--wait")
        .arg(format!("--timeout={seconds}s"))
        // Its own limit comes first.
        .run(Deadline::after(within + timing::CIB_READ));
    match result {
        Ok(_) => Ok(true),
        Err(RunError::TimedOut { .. }) => Ok(false),
        Err(error) if error.exit_code() == Some(exit_code::TIMEOUT) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

/// Has Pacemaker make `node` the primary, for as long as the constraint lives that this writes.
pub(super) fn prefer(clone: &str, node: &NodeName, lifetime: Duration) -> Result<(), Failure> {
    change(
        Command::new("crm_resource")
            .args(["--move", "--promoted"])
            .arg(format!("--resource={clone}"))
            .arg(format!("--node={node}"))
            .arg(format!("--lifetime=PT{}S", lifetime.as_secs())),
    )
}

/// The constraint's id.
pub(super) fn preference(clone: &str) -> String {
    format!("cli-prefer-{clone}")
}

/// Removes what [`prefer`] wrote. Not by `crm_resource --clear`, which clears everybody's constraints, or with `--node` only
/// those without an end. One of the same id that prefers another node is another operator's by now.
pub(super) fn stop_preferring(clone: &str, node: &NodeName) -> Result<(), Failure> {
    let path = preference_of(clone, node)
        .ok_or_else(|| Failure::plain(format!("{clone} or {node} can't be named in a search")))?;
    change(
        Command::new("cibadmin")
            .args(["--delete-all", "--force"])
            .arg(format!("--xpath={path}")),
    )
}

/// Where the constraint is, if it prefers `node`.
fn preference_of(clone: &str, node: &NodeName) -> Option<String> {
    let id = xpath_literal(&preference(clone))?;
    let node = xpath_literal(node.as_str())?;
    Some(format!(
        "//constraints/rsc_location[@id={id}][.//expression[@attribute='#uname' and @value={node}]]"
    ))
}

/// Removes the constraints of Pacemaker's own commands that have ended: nothing counts on them any more.
pub(super) fn clear_expired(clone: &str) -> Result<(), Failure> {
    change(
        Command::new("crm_resource")
            .args(["--clear", "--expired"])
            .arg(format!("--resource={clone}")),
    )
}

fn change(command: Command) -> Result<(), Failure> {
    run(&command, timing::CHANGE)
}

fn run(command: &Command, limit: Duration) -> Result<(), Failure> {
    match command.run(Deadline::after(limit)) {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &RunError) -> Failure {
    let exit = match error.exit_code() {
        Some(exit_code::NOT_CONNECTED) => Exit::Unreachable,
        Some(_) | None => Exit::Failed,
    };
    Failure::new(exit, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the library that Pacemaker evaluates it with.
    #[test]
    fn only_the_constraint_of_the_own_switchover_is_taken_away() {
        crate::pacemaker::programs_are_there();
        let node = |name: &str| NodeName::new(name).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cib.xml");
        let three = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
        let constraint = |of: &str, to: &str| {
            format!(
                r##"<rsc_location id="cli-prefer-{of}" rsc="{of}" role="Promoted"><rule id="r-{of}" score="INFINITY" boolean-op="and">
                <expression id="e-{of}" attribute="#uname" operation="eq" value="{to}" type="string"/>
                <date_expression id="d-{of}" operation="lt" end="2999-11-21 19:00:00Z"/></rule></rsc_location></constraints>"##
            )
        };
        for (of, to, is_left) in [
            ("msPostgresql", "node3", false),
            // Another operator's; another resource's.
            ("msPostgresql", "node2", true),
            ("vip-slave", "node3", true),
        ] {
            let text = three.replace("</constraints>", &constraint(of, to));
            std::fs::write(&file, text).unwrap();
            let path = preference_of("msPostgresql", &node("node3")).unwrap();
            let cibadmin = |args: &[&str]| {
                Command::new("cibadmin")
                    .args(args.iter().copied())
                    .env("CIB_file", &file)
                    .run(Deadline::after(Duration::from_secs(20)))
                    .unwrap()
                    .stdout_text()
            };
            let path = format!("--xpath={path}");
            cibadmin(&["--delete-all", "--force", &path]);
            let left = cibadmin(&["--query"]);
            let found = left.contains(&format!("cli-prefer-{of}"));
            assert_eq!(found, is_left, "{of} {to}");
        }
    }
}
