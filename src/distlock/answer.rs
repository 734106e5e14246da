//! What was heard, in the words in which it is decided on (`decide::lease`).

use super::error::LockError;
use crate::decide::lease::{Asked, Renewed, Verdict};
use crate::model::lock::{LockRow, Renewal, Taken};

/// The answer to a renewal; `check` asks the other nodes, only if this one does not reach the service.
pub fn renewed(
    first: Result<Renewal, LockError>,
    check: impl FnOnce() -> Verdict<Renewal>,
) -> (Renewed, Option<LockRow>) {
    match heard(first, check) {
        Heard::Answer(Renewal::Mine(row)) => (Renewed::Row, Some(row)),
        Heard::Answer(Renewal::Lost(row)) => {
            let why = Renewal::Lost(row.clone()).to_string();
            (Renewed::Lost { why }, row)
        }
        Heard::Dead(asked) => (Renewed::Dead { asked }, None),
        Heard::Silent(why) => (Renewed::Unreachable { why }, None),
        Heard::Wrong(why) => (Renewed::Misconfigured { why }, None),
    }
}

/// The same of a lock command.
pub fn renewed_by_command(
    first: Result<bool, LockError>,
    check: impl FnOnce() -> Verdict<bool>,
) -> Renewed {
    match heard(first, check) {
        Heard::Answer(true) => Renewed::Command,
        Heard::Answer(false) => Renewed::Lost {
            why: "distlock_lock_cmd says that another node holds it".to_owned(),
        },
        Heard::Dead(asked) => Renewed::Dead { asked },
        Heard::Silent(why) => Renewed::Unreachable { why },
        Heard::Wrong(why) => Renewed::Misconfigured { why },
    }
}

/// The answer to a promoter's wish.
pub fn asked(first: Result<Taken, LockError>, check: impl FnOnce() -> Verdict<Taken>) -> Asked {
    match heard(first, check) {
        Heard::Answer(taken) => Asked::Row(taken),
        Heard::Dead(asked) => Asked::Dead { asked },
        Heard::Silent(why) | Heard::Wrong(why) => Asked::Failed { why },
    }
}

/// The same of a lock command.
pub fn asked_by_command(
    first: Result<bool, LockError>,
    check: impl FnOnce() -> Verdict<bool>,
) -> Asked {
    match heard(first, check) {
        Heard::Answer(is_mine) => Asked::Command { is_mine },
        Heard::Dead(asked) => Asked::Dead { asked },
        Heard::Silent(why) | Heard::Wrong(why) => Asked::Failed { why },
    }
}

enum Heard<T> {
    Answer(T),
    Dead(std::collections::BTreeSet<String>),
    Silent(String),
    Wrong(String),
}

fn heard<T>(first: Result<T, LockError>, check: impl FnOnce() -> Verdict<T>) -> Heard<T> {
    match first {
        Ok(answer) => Heard::Answer(answer),
        Err(error) if error.is_unreachable() => match check() {
            Verdict::Answer { answer, .. } => Heard::Answer(answer),
            Verdict::Dead { asked } => Heard::Dead(asked),
            Verdict::Unknown { why } => Heard::Silent(format!("{error}; {why}")),
        },
        Err(error) if error.is_misconfigured() => Heard::Wrong(error.to_string()),
        Err(error) => Heard::Silent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_nodes_are_asked_only_where_the_service_is_silent() {
        let away = || LockError::Unreachable("x".to_owned());
        let never = || -> Verdict<bool> { panic!("asked") };
        let dead = || Verdict::Dead {
            asked: ["n".to_owned()].into(),
        };
        let unknown = || Verdict::Unknown {
            why: "y".to_owned(),
        };
        assert_eq!(renewed_by_command(Ok(true), never), Renewed::Command);
        assert!(matches!(
            renewed_by_command(Ok(false), never),
            Renewed::Lost { .. }
        ));
        assert!(matches!(
            renewed_by_command(Err(away()), dead),
            Renewed::Dead { .. }
        ));
        let found = renewed_by_command(Err(away()), unknown);
        assert!(
            matches!(&found, Renewed::Unreachable { why } if why.contains("x") && why.ends_with("; y"))
        );
        let wrong = LockError::NotWritable("z".to_owned());
        assert!(matches!(
            renewed_by_command(Err(wrong), never),
            Renewed::Misconfigured { .. }
        ));
        let blocked = LockError::Blocked("z".to_owned());
        assert!(matches!(
            renewed_by_command(Err(blocked), never),
            Renewed::Unreachable { .. }
        ));

        let lost = renewed(Ok(Renewal::Lost(None)), || panic!("asked"));
        assert!(matches!(lost, (Renewed::Lost { why }, None) if why.contains("deleted")));
        let relayed = asked_by_command(Err(away()), || Verdict::Answer {
            node: "n".to_owned(),
            answer: true,
        });
        assert_eq!(relayed, Asked::Command { is_mine: true });
        let failed = asked(Err(LockError::Failed("z".to_owned())), || panic!("asked"));
        assert!(matches!(failed, Asked::Failed { why } if why.contains('z')));
    }
}
