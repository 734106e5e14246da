//! R9: a standby that was outside a quorate partition does not believe its grant any more.
//!
//! The primary may have revoked it meanwhile, in a CIB that this node did not get, and the merge
//! may bring back the CIB in which it stands. So the version of the record that it saw then is noted,
//! in a file that survives a restart; only a later one counts.

use crate::model::sync_record::SyncRecord;

/// (epoch, seq) of the last record that is not believed.
pub type Version = (u64, u64);

/// The note after a look at the cluster: made while there is no quorum, dropped when the primary has
/// written a later record.
#[must_use]
pub fn note(is_quorate: bool, old: Option<Version>, seen: Option<&SyncRecord>) -> Option<Version> {
    let seen = seen.map(SyncRecord::version);
    if !is_quorate {
        return old.max(Some(seen.unwrap_or_default()));
    }
    old.filter(|old| seen.is_none_or(|seen| seen <= *old))
}

/// Whether the record, as it is now, is not to be believed.
#[must_use]
pub fn is_distrusted(note: Option<Version>, seen: Option<&SyncRecord>) -> bool {
    note.is_some_and(|note| seen.is_none_or(|seen| seen.version() <= note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_record_ends_the_distrust() {
        let record = |epoch, seq| -> SyncRecord {
            format!("{epoch}|{seq}|n1|FIRST|1|n2|n2").parse().unwrap()
        };
        let at = |quorate, old, seen: Option<(u64, u64)>| {
            let seen = seen.map(|(e, s)| record(e, s));
            let note = note(quorate, old, seen.as_ref());
            (note, is_distrusted(note, seen.as_ref()))
        };
        for (quorate, old, seen, expected, distrusted) in [
            (true, None, Some((5, 3)), None, false),
            (true, None, None, None, false),
            (false, None, Some((5, 3)), Some((5, 3)), true),
            (false, Some((5, 3)), Some((5, 2)), Some((5, 3)), true),
            (false, Some((4, 9)), Some((5, 1)), Some((5, 1)), true),
            (false, None, None, Some((0, 0)), true),
            // Back, with the record that was seen then, an older one, or none: not believed.
            (true, Some((5, 3)), Some((5, 3)), Some((5, 3)), true),
            (true, Some((5, 3)), Some((5, 2)), Some((5, 3)), true),
            (true, Some((5, 3)), Some((4, 9)), Some((5, 3)), true),
            (true, Some((5, 3)), None, Some((5, 3)), true),
            // Written since.
            (true, Some((5, 3)), Some((5, 4)), None, false),
            (true, Some((5, 3)), Some((6, 1)), None, false),
        ] {
            assert_eq!(
                at(quorate, old, seen),
                (expected, distrusted),
                "{quorate} {old:?} {seen:?}"
            );
        }
    }
}
