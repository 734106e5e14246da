//! What a node learns from the primary.

use std::sync::atomic::{AtomicBool, Ordering};

use expgsql::model::lsn::Lsn;
use expgsql::model::timeline::TimelineId;
use expgsql::postgres::base_backup::BaseBackup;
use expgsql::postgres::control;
use expgsql::postgres::source::SourceError;

use crate::node::{Node, Site, diverged, soon};

#[test]
fn the_primary_says_who_it_is_where_it_came_from_and_which_wal_it_has() {
    let site = Site::new();
    let (old, new) = diverged(&site, "");
    let source = old.source(&new);
    let control = control::read(&old.programs(), &old.data, soon()).unwrap();
    assert_eq!(control.wal_segment_size, 1 << 20);
    assert!(control.wal_log_hints && !control.checksums);

    let identity = source.identify(soon()).unwrap();
    assert_eq!(identity.system, control.system_identifier);
    assert_eq!(identity.timeline.get(), 2);
    let lineage = source.lineage(identity.timeline, soon()).unwrap();
    let fork = lineage.end_of(TimelineId::FIRST).unwrap();
    assert!(fork <= identity.flushed, "{lineage} {}", identity.flushed);
    let first = source.lineage(TimelineId::FIRST, soon()).unwrap();
    assert_eq!(first.ancestors, []);

    let size = control.wal_segment_size;
    let has = |timeline, from| source.has_wal(timeline, from, size, soon()).unwrap();
    assert!(has(identity.timeline, identity.flushed));
    assert!(has(TimelineId::FIRST, fork));
    assert!(!has(TimelineId::FIRST, Lsn::new(size)), "initdb's WAL");
    // A position at the very end of all WAL, and of a file, is no reason to wait for ever.
    new.sql("select pg_switch_wal()");
    let end = source.identify(soon()).unwrap().flushed;
    assert!(has(identity.timeline, end));
    new.forget_wal();
    assert!(!has(TimelineId::FIRST, fork));
    assert!(has(
        identity.timeline,
        source.identify(soon()).unwrap().flushed
    ));

    source
        .settle_timeline("postgres", identity.timeline, soon())
        .unwrap();
    let settled = new.sql("select timeline_id from pg_control_checkpoint()");
    assert_eq!(settled, "2");
}

/// A server that archives leaves the file in which a timeline ended under another name (`.partial`).
#[test]
fn an_archive_takes_no_wal_from_a_standby_where_two_timelines_end_in_one_file() {
    let site = Site::new();
    let archives = "archive_mode = on\narchive_command = 'true'\n";
    let primary = Node::primary(&site, "primary", archives);
    let first = Node::standby(&site, "first", &primary, &[]);
    let second = Node::standby(&site, "second", &primary, &[]);
    let size = control::read(&primary.programs(), &primary.data, soon())
        .unwrap()
        .wal_segment_size;
    primary.write("primary");
    primary.wait_streaming(&first);
    primary.wait_streaming(&second);
    first.promote();
    second.follow(&first);
    second.sql("select pg_reload_conf()");
    first.wait_streaming(&second);
    second.promote();
    let away = Node::empty(&site, "away");
    let source = away.source(&second);
    let identity = source.identify(soon()).unwrap();
    let lineage = source.lineage(identity.timeline, soon()).unwrap();
    let ends: Vec<Lsn> = lineage.ancestors.iter().map(|left| left.end).collect();
    let file = |end: &Lsn| end.bytes_past(Lsn::new(0)).unwrap() / size;
    assert!(
        matches!(&ends[..], [first, second] if file(first) == file(second)),
        "{lineage}"
    );
    let left = TimelineId::new(2).unwrap();
    assert!(source.has_wal(left, ends[1], size, soon()).unwrap());
    assert!(source.has_wal(left, ends[0], size, soon()).unwrap());
}

#[test]
fn what_keeps_a_node_from_the_primary_is_told_apart() {
    let site = Site::new();
    let mut primary = Node::primary(&site, "primary", "");
    let as_repl = |more: &str| primary.source_as(&primary, "repl", more).identify(soon());
    assert!(as_repl("password=zq7x").is_ok());
    let refused = as_repl("password=wrong").unwrap_err();
    assert!(matches!(refused, SourceError::Denied(_)), "{refused}");
    let refused = as_repl("user=nobody_there password=zq7x").unwrap_err();
    assert!(matches!(refused, SourceError::Denied(_)), "{refused}");

    let source = primary.source_as(&primary, "repl", "password=zq7x");
    let refused = source.tablespaces("no_such_database", soon()).unwrap_err();
    assert!(matches!(refused, SourceError::Denied(_)), "{refused}");
    assert!(
        refused.to_string().contains("no_such_database"),
        "{refused}"
    );
    // It may not order a checkpoint, and has to wait for one.
    source
        .settle_timeline("postgres", TimelineId::FIRST, soon())
        .unwrap();
    let waits = expgsql::sys::Deadline::after(std::time::Duration::from_millis(700));
    let second = TimelineId::new(2).unwrap();
    let late = source
        .settle_timeline("postgres", second, waits)
        .unwrap_err();
    assert!(late.is_passing(), "{late}");

    // Its rights are those that a standby needs, and not those of pg_rewind; what the error says helps.
    let refused = source.rewind_rights("postgres", soon()).unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, SourceError::Denied(_)), "{words}");
    let grant = words
        .split_once("GRANT")
        .map(|(_, rest)| format!("GRANT{rest}"));
    primary.sql(&grant.expect("the statement to run"));
    source.rewind_rights("postgres", soon()).unwrap();

    primary.stop();
    let away = source.identify(soon()).unwrap_err();
    assert!(matches!(away, SourceError::Unreachable(_)), "{away}");
    assert!(away.is_passing());
}

#[test]
fn a_password_is_in_no_argument_list_and_no_environment() {
    let site = Site::new();
    let primary = Node::primary(&site, "primary", "");
    let away = Node::standby(&site, "node", &primary, &[]);
    let (data, programs) = (away.dir.join("copy"), away.programs());
    let source = away.source_as(&primary, "repl", "password=zq7x");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    let env = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                    let shown = String::from_utf8_lossy(&[words, env].concat()).into_owned();
                    // Before exec a child still shows this very program.
                    seen += usize::from(shown.contains("service=expgsql"));
                    assert!(!shown.contains("zq7x"), "{shown:?}");
                }
            }
            seen
        });
        source.identify(soon()).unwrap();
        let copy = BaseBackup {
            programs: &programs,
            pgdata: &data,
            source: &source,
            database: "postgres",
        };
        copy.take(&mut |_| {}).unwrap().swap_in().unwrap();
        is_over.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0, "it has seen the programs");
    });
    source.remove(&crate::node::owner()).unwrap();
}
