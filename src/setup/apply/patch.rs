//! A changed configuration is checked, made into a patch, and given to the cluster in one step.

use std::io::Write as _;

use tempfile::NamedTempFile;

use crate::cluster::{Exit, Failure};
use crate::pacemaker::cib::Cib;
use crate::setup::tree::Tree;
use crate::sys::{Command, Deadline, RunError};
use crate::timing;

/// A configuration, as a whole CIB without its status, in a file that only root reads: passwords may be in it.
fn file(cib: &Tree, configuration: &Tree) -> Result<NamedTempFile, Failure> {
    let mut whole = Tree::new(&cib.tag);
    whole.attributes.clone_from(&cib.attributes);
    whole.children = vec![configuration.clone(), Tree::new("status")];
    let mut file = NamedTempFile::new()
        .map_err(|error| Failure::plain(format!("no temporary file: {error}")))?;
    file.write_all(whole.to_text().as_bytes())
        .and_then(|()| file.flush())
        .map_err(|error| {
            Failure::plain(format!(
                "{} can't be written: {error}",
                file.path().display()
            ))
        })?;
    Ok(file)
}

/// Has Pacemaker say whether it would accept `configuration`.
///
/// # Errors
/// [`Failure`] with what it says, behind `done`: what was done before.
pub(super) fn verify(cib: &Tree, configuration: &Tree, done: &str) -> Result<(), Failure> {
    match errors(cib, configuration, done)? {
        None => Ok(()),
        Some(said) => Err(Failure::plain(format!(
            "{done}: Pacemaker would not accept the configuration: {said}"
        ))),
    }
}

/// The same where something is only taken out: errors that stand in the cluster as it is are no hindrance. The schema counts all the
/// same, when the cluster is given the change. `Some`: what Pacemaker has against the configuration as it is, `before`.
///
/// # Errors
/// [`Failure`], as [`verify`]: `after` has errors, and `before` has none.
pub(super) fn verify_removal(
    cib: &Tree,
    before: &Tree,
    after: &Tree,
    done: &str,
) -> Result<Option<String>, Failure> {
    match errors(cib, before, done)? {
        Some(said) => Ok(Some(said)),
        None => verify(cib, after, done).map(|()| None),
    }
}

/// What Pacemaker has against a configuration; `None`: it accepts it.
fn errors(cib: &Tree, configuration: &Tree, done: &str) -> Result<Option<String>, Failure> {
    let file = file(cib, configuration)?;
    let output = Command::new("crm_verify")
        .arg("--verbose")
        .arg("--xml-file")
        .arg(file.path())
        .output(Deadline::after(timing::CIB_READ))
        .map_err(|error| Failure::plain(format!("{done}: {error}")))?;
    let said = output.stderr_text();
    let is_accepted = output.status.success() || is_only_warned(&said);
    Ok((!is_accepted).then_some(said))
}

/// crm_verify ends with the same code for errors and for warnings, such as one about an old spelling in a constraint that
/// is not ours. The words are those of 2.1 and of 3.0.
fn is_only_warned(said: &str) -> bool {
    let warned = ["Warnings found during check", "(with warnings)"];
    warned.iter().any(|words| said.contains(words))
}

/// Gives the cluster the difference between two configurations, all of it or nothing. It fails where somebody has changed the
/// same elements meanwhile; changes to others, such as the agent's own attributes, are not touched.
///
/// # Errors
/// [`Failure`]; nothing was changed.
pub(super) fn apply(cib: &Tree, old: &Tree, new: &Tree) -> Result<(), Failure> {
    let (before, after) = (file(cib, old)?, file(cib, new)?);
    let diff = Command::new("crm_diff")
        // Of the element that the versions stand on; they are raised by the change itself.
        .arg("--no-version")
        .arg("--original")
        .arg(before.path())
        .arg("--new")
        .arg(after.path())
        .output(Deadline::after(timing::CIB_READ))
        .map_err(Failure::plain)?;
    // 0: no difference, 1: one.
    if !matches!(diff.status.code(), Some(0 | 1)) || diff.stdout.is_empty() {
        return Err(Failure::plain(format!(
            "the configuration was not changed: crm_diff failed ({}): {}",
            diff.status,
            diff.stderr_text()
        )));
    }
    let deadline = Deadline::after(timing::CIB_READ);
    Cib::live()
        .cibadmin(deadline)
        .args(["--patch", "--xml-pipe"])
        .stdin(diff.stdout)
        .run(deadline)
        .map(drop)
        .map_err(|error| match error.exit_code() {
            Some(102) => Failure::new(Exit::Unreachable, brief(&error)),
            _ => Failure::plain(format!(
                "the cluster did not accept the change: {}; where somebody else changed the configuration meanwhile, run this again",
                brief(&error)
            )),
        })
}

/// What cibadmin says of a change that was refused, without the CIB, which it prints along with it: passwords may be in that.
pub(super) fn brief(error: &RunError) -> String {
    let text = error.to_string();
    let Some((head, said)) = text.split_once("): ") else {
        return text;
    };
    let call = said.split("; ").filter(|part| part.starts_with("Call "));
    let said = call.last().map_or_else(
        || {
            let plain = said.split("; ").filter(|part| !part.contains('<'));
            plain.collect::<Vec<_>>().join("; ")
        },
        str::to_owned,
    );
    format!("{head}): {said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_without_the_configuration() {
        use std::os::unix::process::ExitStatusExt as _;
        let failed = |stderr: &str| RunError::Failed {
            program: "cibadmin".to_owned(),
            status: std::process::ExitStatus::from_raw(78 << 8),
            stderr: stderr.to_owned(),
        };
        for (said, expected) in [
            (
                "1 <cib epoch=\"15\">; 2   <nvpair value=\"password=hush\"/>; 3 </cib>; Call failed: Update does not conform to the configured schema",
                "cibadmin failed (exit status: 78): Call failed: Update does not conform to the configured schema",
            ),
            (
                "Call cib_apply_diff failed (-205): Update was older than existing configuration",
                "cibadmin failed (exit status: 78): Call cib_apply_diff failed (-205): Update was older than existing configuration",
            ),
            (
                "what nobody knows; <nvpair value=\"password=hush\"/>; and more",
                "cibadmin failed (exit status: 78): what nobody knows; and more",
            ),
        ] {
            assert_eq!(brief(&failed(said)), expected);
        }
        assert_eq!(
            brief(&RunError::NotFound("cibadmin".to_owned())),
            RunError::NotFound("cibadmin".to_owned()).to_string()
        );
    }

    #[test]
    fn warnings_are_no_errors() {
        for (said, expected) in [
            (
                "(get_ordering_type) warning: Support for 'score' in rsc_order is deprecated\ncrm_verify: Warnings found during check: config may not be valid",
                true,
            ),
            (
                "crm_verify: Errors found during check: config not valid",
                false,
            ),
            ("Configuration invalid (with warnings)", true),
            ("Configuration invalid (with errors)", false),
            ("", false),
        ] {
            assert_eq!(is_only_warned(said), expected, "{said}");
        }
    }

    #[test]
    fn what_is_wrong_already_is_no_reason_to_keep_the_rest() {
        crate::pacemaker::programs_are_there();
        let text = include_str!("../../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
        let cib = Tree::parse(text).unwrap();
        let sound = cib.child("configuration").unwrap().clone();
        // Fencing is on, and there is no device.
        let unfenced = text.replace(
            "name=\"stonith-enabled\" value=\"false\"",
            "name=\"stonith-enabled\" value=\"true\"",
        );
        assert_ne!(unfenced, text);
        let unfenced = Tree::parse(&unfenced).unwrap();
        let unfenced = unfenced.child("configuration").unwrap().clone();
        // (before, after; whether it is refused, whether something is noted)
        for (before, after, is_refused, is_noted) in [
            (&sound, &sound, false, false),
            (&unfenced, &unfenced, false, true),
            (&unfenced, &sound, false, true),
            (&sound, &unfenced, true, false),
        ] {
            let found = verify_removal(&cib, before, after, "nothing was done");
            assert_eq!(found.is_err(), is_refused);
            assert_eq!(found.is_ok_and(|said| said.is_some()), is_noted);
        }
    }
}
