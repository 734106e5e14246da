//! The server's configuration: can it be read, and does it leave to the agent what is the agent's to set?

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::conninfo::words::keyword_values;
use crate::decide::reachable::{DEFAULT_ADDRESSES, lets_others_in};
use crate::ocf::{OcfCode, Outcome};
use crate::params::RepMode;
use crate::postgres::address::names_socket;
use crate::postgres::config::{self, ConfigError, Contents, Setting};
use crate::postgres::owner::as_owner;
use crate::trial::is_out;

use crate::agent::context::Context;
use crate::agent::server::own_files;
use crate::agent::step::{Step, failed, installed, permission};

/// Settings that the agent writes itself; anywhere else they would override or contradict it.
const MANAGED: [&str; 2] = ["primary_conninfo", "synchronous_standby_names"];

/// In postgresql.auto.conf and among the options of the server these would win over the agent's, too.
const MANAGED_AUTO: [&str; 5] = [
    "primary_conninfo",
    "synchronous_standby_names",
    "primary_slot_name",
    "recovery_target_timeline",
    "restore_command",
];

const ADDRESSES: &str = "listen_addresses";

const UNREACHABLE: &str = "set listen_addresses to '*', or the parameter pghost; nobody else could reach it as the primary";

/// Recovery stops there, and a promotion drops what lies behind. A standby replays all it has.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
];

/// Why a target is refused.
const DROPS: &str =
    "a standby's replay would end there, and a promotion would drop all commits behind that point";

/// A file of that name promotes a standby, also where it is left over and the standby has just started. PostgreSQL 12 to 15 have it.
const TRIGGER: &str = "promote_trigger_file";

/// Why it is refused.
const PROMOTES: &str = "a file of that name, also one that is left over, makes a primary of this standby, with a timeline of its own";

pub(crate) fn check(ctx: &Context<'_>) -> Step<()> {
    let config = &ctx.params.config;
    if config.exists() && !config.is_file() {
        return Err(installed(format!(
            "config={} is not a file: look what it is, or correct config",
            config.display()
        )));
    }
    if !config.is_file() {
        return Err(installed(format!(
            "config={} does not exist: correct config; on Debian it is in /etc/postgresql/VERSION/NAME",
            config.display()
        )));
    }
    let contents = read(ctx, config)?;
    same_data_directory(ctx, &contents)?;
    same_places(ctx)?;
    if ctx.params.rep_mode == RepMode::None {
        return Ok(());
    }
    let auto = auto_conf(ctx)?;
    own_name(ctx)?;
    replication(ctx, &contents, &auto)?;
    if ctx.is_promotable() && !is_out!(TargetUnseen) {
        no_target(&contents, &auto)?;
    }
    none_of(&[TRIGGER], PROMOTES, &contents, &auto)?;
    options(ctx)?;
    includable(ctx, config)
}

/// A file with everything it includes but our own files, in whichever mode those were written.
fn read(ctx: &Context<'_>, file: &Path) -> Step<Contents> {
    let ours = match ctx.params.rep_mode {
        // They are not written in this mode: one that is included must be there.
        RepMode::None => Vec::new(),
        RepMode::Slave | RepMode::Async | RepMode::Sync => own_files::files(ctx).to_vec(),
    };
    as_owner(&ctx.owner, || config::read(file, &ours))
        .map_err(failed)?
        .map_err(|error| unusable(ctx, error))
}

fn unusable(ctx: &Context<'_>, error: ConfigError) -> Outcome {
    let (file, cause) = match &error {
        ConfigError::Read { file, error } => (file.display(), error.kind()),
        ConfigError::Syntax { .. } => return installed(format!("{error}: correct the line")),
        ConfigError::Depth { .. } => {
            return installed(format!("{error}: look for a file that includes itself"));
        }
    };
    if cause == io::ErrorKind::PermissionDenied {
        return permission(format!(
            "{file} is not readable for {}: chown or chmod it",
            ctx.owner.name
        ));
    }
    if cause == io::ErrorKind::NotFound {
        return installed(format!(
            "{file} is not there, but the configuration has an include of it: create it, or remove that line"
        ));
    }
    installed(error)
}

/// pg_ctl starts the server that the configuration names, wherever pgdata points.
fn same_data_directory(ctx: &Context<'_>, contents: &Contents) -> Step<()> {
    let set = |setting: &&Setting| setting.name == "data_directory";
    let Some(other) = contents.settings.iter().rfind(set) else {
        return Ok(());
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(Path::new(&other.value)) == real(ctx.pgdata()) {
        return Ok(());
    }
    Err(installed(format!(
        "pgdata={} is not data_directory={} of the configuration: correct one of the two ({} line {})",
        ctx.pgdata().display(),
        other.value,
        other.file.display(),
        other.line,
    )))
}

/// What the options name is what is started, whatever the parameters say.
fn same_places(ctx: &Context<'_>) -> Step<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (name, value) in places_among(&ctx.params.start_opt, &ctx.params.ctl_opt) {
        let (param, ours) = match name.as_str() {
            "-D" | "data_directory" => ("pgdata", ctx.pgdata()),
            // Without replication nothing is written to it.
            "config_file" if ctx.params.rep_mode.is_replicated() => {
                ("config", ctx.params.config.as_path())
            }
            _ => continue,
        };
        let path = Path::new(&value);
        if real(path) != real(ours) {
            return Err(Outcome::because(
                OcfCode::ErrConfigured,
                format!(
                    "start_opt or ctl_opt names {name} {value}, and {param} is {}: remove it there, and set {param} to what is meant",
                    ours.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Directories and settings as the server and pg_ctl take them from their words: what stands within a word is a part of a value, an archive_command
/// say, which may have options of its own.
fn places_among(start_opt: &[String], ctl_opt: &[String]) -> Vec<(String, String)> {
    let mut words = start_opt.to_vec();
    let mut of_pg_ctl = ctl_opt.iter();
    while let Some(word) = of_pg_ctl.next() {
        let Some(rest) = word.strip_prefix("-o").or(word.strip_prefix("--options=")) else {
            words.push(word.clone());
            continue;
        };
        let options = if rest.is_empty() {
            of_pg_ctl.next().map_or("", String::as_str)
        } else {
            rest
        };
        words.extend(shell_words::split(options).unwrap_or_default());
    }
    let setting = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_lowercase().replace('-', "_"), value.to_owned()))
    };
    let mut found = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if let Some(dir) = word.strip_prefix("-D").or(word.strip_prefix("--pgdata=")) {
            let dir = if dir.is_empty() {
                words.next()
            } else {
                Some(dir)
            };
            found.extend(dir.map(|dir| ("-D".to_owned(), dir.to_owned())));
        } else if let Some(text) = word.strip_prefix("-c") {
            let text = if text.is_empty() {
                words.next()
            } else {
                Some(text)
            };
            found.extend(text.and_then(setting));
        } else if let Some(text) = word.strip_prefix("--") {
            found.extend(setting(text));
        }
    }
    found
}

/// What ALTER SYSTEM has written; it wins over every other file.
fn auto_conf(ctx: &Context<'_>) -> Step<Contents> {
    let auto = ctx.pgdata().join("postgresql.auto.conf");
    if auto.exists() {
        read(ctx, &auto)
    } else {
        Ok(Contents::default())
    }
}

/// Both, for whoever wants to know what a setting will be.
pub(crate) fn all(ctx: &Context<'_>) -> Step<(Contents, Contents)> {
    Ok((read(ctx, &ctx.params.config)?, auto_conf(ctx)?))
}

/// A target that a restore of a backup has left behind would end this standby's replay for good.
fn no_target(contents: &Contents, auto: &Contents) -> Step<()> {
    none_of(&TARGETS, DROPS, contents, auto)
}

/// None of these settings may be in force at the next start, which `why` is the reason for.
fn none_of(names: &[&str], why: &str, contents: &Contents, auto: &Contents) -> Step<()> {
    // The last line counts, and an empty value means none.
    let in_force = |target: &str| {
        let mut all = contents.settings.iter().chain(&auto.settings);
        let last = all.rfind(|s| s.name == target)?;
        (!last.value.is_empty()).then_some(last)
    };
    let Some(set) = names.iter().copied().find_map(in_force) else {
        return Ok(());
    };
    let how = if auto.settings.contains(set) {
        format!(
            "ALTER SYSTEM RESET {} (or delete {} line {} while the server is down)",
            set.name,
            set.file.display(),
            set.line
        )
    } else {
        format!(
            "remove {} from {} line {}",
            set.name,
            set.file.display(),
            set.line
        )
    };
    Err(installed(format!("{how}: {why}")))
}

/// By that name the primary knows whose confirmation it is.
fn own_name(ctx: &Context<'_>) -> Step<()> {
    let Some(more) = ctx.params.primary_conninfo_opt.as_ref() else {
        return Ok(());
    };
    let words = keyword_values(more.reveal()).unwrap_or_default();
    let me = ctx.me.lower();
    match words.get("application_name").filter(|name| *name != me) {
        Some(name) if ctx.is_promotable() => Err(Outcome::because(
            OcfCode::ErrConfigured,
            format!(
                "remove application_name={name} from primary_conninfo_opt: the primary waits for this standby under its node's name, {me}"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn replication(ctx: &Context<'_>, contents: &Contents, contents_auto: &Contents) -> Step<()> {
    let is_own = |s: &&Setting| MANAGED.contains(&s.name.as_str()) && !s.value.is_empty();
    if let Some(own) = contents.settings.iter().find(is_own) {
        return Err(installed(format!(
            "remove {} from {} line {}: expgsql sets it itself",
            own.name,
            own.file.display(),
            own.line
        )));
    }
    leaves_ours_in_force(ctx, contents)?;
    // In this file even an empty value overrides ours.
    let is_own = |s: &&Setting| MANAGED_AUTO.contains(&s.name.as_str());
    if let Some(own) = contents_auto.settings.iter().find(is_own) {
        return Err(installed(format!(
            "ALTER SYSTEM RESET {} (or delete {} line {} while the server is down): expgsql sets it itself",
            own.name,
            own.file.display(),
            own.line
        )));
    }
    let last = |name: &str| {
        let mut all = contents.settings.iter().chain(&contents_auto.settings);
        all.rfind(|s| s.name == name)
    };
    for name in [
        "hot_standby",
        "max_replication_slots",
        "max_wal_senders",
        "wal_level",
        ADDRESSES,
    ] {
        // The options win over every file, and are looked at by themselves.
        let is_an_option = name == ADDRESSES && is_said_by_options(ctx);
        let Some(set) = last(name).filter(|_| !is_an_option) else {
            continue;
        };
        if let Some(what) = allows_no_standby(ctx, name, &set.value) {
            return Err(installed(format!(
                "{} line {}: {what}",
                set.file.display(),
                set.line
            )));
        }
    }
    let is_set = last(ADDRESSES).is_some() || is_said_by_options(ctx);
    match allows_no_standby(ctx, ADDRESSES, DEFAULT_ADDRESSES).filter(|_| !is_set) {
        Some(what) => Err(installed(format!(
            "{ADDRESSES} has PostgreSQL's default ({DEFAULT_ADDRESSES}): {what}"
        ))),
        None => Ok(()),
    }
}

/// The last line counts: what comes behind the agent's include line wins over what the agent has written, an empty value as well.
fn leaves_ours_in_force(ctx: &Context<'_>, contents: &Contents) -> Step<()> {
    for file in own_files::includes(ctx) {
        let is_contract = file == ctx.tmp(own_files::REP_MODE_CONF);
        let Some(set) = contents
            .behind(&file)
            .iter()
            .find(|s| overrides(s, is_contract))
        else {
            continue;
        };
        return Err(installed(format!(
            "remove {} from {} line {}: it comes behind expgsql's own include line, and would win over what that sets",
            set.name,
            set.file.display(),
            set.line
        )));
    }
    Ok(())
}

/// Whether a setting overrides what the agent writes: in the file with the contract, or in the other one.
fn overrides(setting: &Setting, is_contract: bool) -> bool {
    let name = setting.name.as_str();
    match name {
        // How WAL is fetched from an archive is the operator's to say.
        "restore_command" => false,
        "recovery_target_timeline" if setting.value.eq_ignore_ascii_case("latest") => false,
        "synchronous_standby_names" => is_contract,
        _ => !is_contract && MANAGED_AUTO.contains(&name),
    }
}

/// The settings among the server's options, which win over every file: `-c NAME=VALUE`, `-cNAME=VALUE` or `--NAME=VALUE`.
fn among_options<'a>(ctx: &'a Context<'_>) -> impl Iterator<Item = (String, &'a str)> {
    option_words(ctx).filter_map(|word| {
        let setting = word.trim_start_matches("--").trim_start_matches("-c");
        let (name, value) = setting.split_once('=')?;
        // The server takes dashes for underscores here.
        Some((
            name.to_lowercase().replace('-', "_"),
            value.trim_matches('\''),
        ))
    })
}

/// What is given to the server beside the parameters, word by word.
fn option_words<'a>(ctx: &'a Context<'_>) -> impl Iterator<Item = &'a str> {
    let words = ctx.params.start_opt.iter().chain(&ctx.params.ctl_opt);
    words.flat_map(|word| word.split_whitespace())
}

/// The number that an option gives to a setting.
pub(crate) fn option(ctx: &Context<'_>, name: &str) -> Option<u64> {
    let last = among_options(ctx).filter(|(n, _)| n == name).last();
    last?.1.parse().ok()
}

/// Whether the server listens where `listen_addresses` says, and that is for others: the parameter pghost wins over it, and says that this is meant so.
pub(crate) fn listens(ctx: &Context<'_>) -> bool {
    let host = ctx.params.pghost.as_deref();
    ctx.is_promotable() && host.is_none_or(names_socket)
}

/// `-h`, `-i` and their long forms.
fn is_said_by_options(ctx: &Context<'_>) -> bool {
    let words = ctx.params.start_opt.iter().chain(&ctx.params.ctl_opt);
    let mut words = words.flat_map(|word| word.split_whitespace());
    let is_by_letter = words.any(|word| word.starts_with("-h") || word.starts_with("-i"));
    is_by_letter || among_options(ctx).any(|(name, _)| name == ADDRESSES)
}

/// What no standby can do without, as the files of a server are held to it, and what is wrong with it.
fn allows_no_standby(ctx: &Context<'_>, name: &str, value: &str) -> Option<&'static str> {
    let by_slot = ctx.params.rep_mode == RepMode::Sync;
    match name {
        "hot_standby" if config::boolean(value) == Some(false) => {
            Some("set hot_standby to on, a standby can't be watched without it")
        }
        "max_wal_senders" if ctx.is_promotable() && value.parse() == Ok(0_u32) => {
            Some("set max_wal_senders to 10 or more, no standby can follow this node without")
        }
        ADDRESSES if listens(ctx) && !lets_others_in(value) => Some(UNREACHABLE),
        "max_replication_slots" if by_slot && value.parse() == Ok(0_u32) => {
            Some("set max_replication_slots to 10 or more, each standby streams by a slot")
        }
        "wal_level" if value.eq_ignore_ascii_case("minimal") => {
            Some("set wal_level to replica, minimal allows no standby")
        }
        _ => None,
    }
}

/// The value that a setting has at the next reading of the files, and where it is set. `None`: nowhere.
pub(crate) fn in_force(ctx: &Context<'_>, name: &str) -> Step<Option<(String, String)>> {
    if let Some((_, value)) = among_options(ctx).filter(|(n, _)| n == name).last() {
        return Ok(Some((value.to_owned(), "start_opt or ctl_opt".to_owned())));
    }
    let (contents, auto) = all(ctx)?;
    let mut settings = contents.settings.iter().chain(&auto.settings);
    let last = settings.rfind(|s| s.name == name);
    Ok(last.map(|s| {
        let place = format!("{} line {}", s.file.display(), s.line);
        (s.value.clone(), place)
    }))
}

fn options(ctx: &Context<'_>) -> Step<()> {
    for (name, value) in among_options(ctx) {
        let is_target = TARGETS.contains(&name.as_str()) && !value.is_empty();
        let is_trigger = name == TRIGGER && !value.is_empty();
        if is_trigger || ctx.is_promotable() && is_target {
            let why = if is_trigger { PROMOTES } else { DROPS };
            return Err(Outcome::because(
                OcfCode::ErrConfigured,
                format!("remove {name} from start_opt or ctl_opt: {why}"),
            ));
        }
        if let Some(what) = allows_no_standby(ctx, &name, value) {
            return Err(Outcome::because(
                OcfCode::ErrConfigured,
                format!("start_opt or ctl_opt sets {name}={value}: {what}"),
            ));
        }
        if MANAGED_AUTO.contains(&name.as_str()) {
            return Err(Outcome::because(
                OcfCode::ErrConfigured,
                format!("start_opt or ctl_opt sets {name}: remove that, expgsql sets it itself"),
            ));
        }
    }
    Ok(())
}

/// The include lines have to be there, or the file's directory must let them be added.
fn includable(ctx: &Context<'_>, config: &Path) -> Step<()> {
    let includes = own_files::includes(ctx);
    let missing = as_owner(&ctx.owner, || config::with_includes(config, &includes))
        .map_err(failed)?
        .map_err(installed)?;
    let real = config.canonicalize().unwrap_or_else(|_| config.to_owned());
    let dir = real.parent().unwrap_or(Path::new("/"));
    if missing.is_none() || access(dir, AccessFlags::W_OK) != Err(Errno::EROFS) {
        return Ok(());
    }
    Err(permission(format!(
        "{} is on a read-only file system: {}",
        config.display(),
        own_files::by_hand(ctx)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(file: &str, lines: &[(&str, &str)]) -> Contents {
        let setting = |(line, (name, value)): (usize, &(&str, &str))| Setting {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            file: file.into(),
            line: line + 1,
        };
        Contents {
            settings: lines.iter().enumerate().map(setting).collect(),
            ..Contents::default()
        }
    }

    #[test]
    fn a_place_is_named_by_a_word_of_its_own() {
        for (start_opt, ctl_opt, expected) in [
            ("-D /elsewhere", "", vec![("-D", "/elsewhere")]),
            (
                "-D/elsewhere -c port=1",
                "",
                vec![("-D", "/elsewhere"), ("port", "1")],
            ),
            ("-c data_directory=/d", "", vec![("data_directory", "/d")]),
            (
                "-cconfig_file=/c --data-directory=/d",
                "",
                vec![("config_file", "/c"), ("data_directory", "/d")],
            ),
            (
                "",
                "-D /other -o '-c config_file=/c'",
                vec![("config_file", "/c"), ("-D", "/other")],
            ),
            ("", "--pgdata=/other -t 600", vec![("-D", "/other")]),
            // Options of a command, and none of the server's.
            (
                "-c 'archive_command=install -D %p /arch/%f'",
                "",
                vec![("archive_command", "install -D %p /arch/%f")],
            ),
            (
                "--archive_command='x --pgdata=/y -c data_directory=/z'",
                "-o \"-c 'restore_command=cp -D %f %p'\"",
                vec![
                    ("archive_command", "x --pgdata=/y -c data_directory=/z"),
                    ("restore_command", "cp -D %f %p"),
                ],
            ),
            ("-D", "-o", vec![]),
        ] {
            let split = |text: &str| shell_words::split(text).unwrap();
            let mut found = places_among(&split(start_opt), &split(ctl_opt));
            let mut expected: Vec<(String, String)> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{start_opt} {ctl_opt}");
        }
    }

    #[test]
    fn a_recovery_target_is_refused_where_it_would_be_in_force() {
        type Lines<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(Lines<'_>, Lines<'_>, Option<&str>)] = &[
            (&[("port", "5432")], &[], None),
            (
                &[("port", "5432"), ("recovery_target_time", "2026-01-01")],
                &[],
                Some("remove recovery_target_time from main.conf line 2"),
            ),
            (
                &[("recovery_target", "immediate")],
                &[],
                Some("remove recovery_target from main.conf line 1"),
            ),
            // What a restore writes there wins over everything else.
            (
                &[],
                &[("recovery_target_lsn", "0/1")],
                Some("ALTER SYSTEM RESET recovery_target_lsn (or delete auto.conf line 1"),
            ),
            // The last line counts.
            (
                &[("recovery_target_xid", "7"), ("recovery_target_xid", "")],
                &[],
                None,
            ),
            (
                &[("recovery_target_name", "before")],
                &[("recovery_target_name", "")],
                None,
            ),
            // Which timeline, and what happens at the target, ends nothing by itself.
            (
                &[
                    ("recovery_target_timeline", "latest"),
                    ("recovery_target_action", "shutdown"),
                    ("recovery_target_inclusive", "off"),
                ],
                &[],
                None,
            ),
        ];
        for (main, auto, expected) in cases {
            let refused = no_target(&contents("main.conf", main), &contents("auto.conf", auto));
            match (refused, expected) {
                (Ok(()), None) => {}
                (Err(outcome), Some(words)) => {
                    assert_eq!(outcome.code, OcfCode::ErrInstalled);
                    assert!(outcome.text().contains(words), "{}", outcome.text());
                }
                (refused, _) => panic!("{main:?} {auto:?}: {refused:?}"),
            }
        }
    }
}
