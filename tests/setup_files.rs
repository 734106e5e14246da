//! `expgsql setup` reads what root is to do only where nobody else can have written it, and says which file that is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};

const CONFIG: &str = "node1=a\nnode2=b\nwriter_vip=192.0.2.9\npgsql_pgctl=/zq7x/pg_ctl\npgsql_pgdata=/data\npgsql_repuser=r\n\
                      pgsql_enable_distlock=false\n";

fn render(dir: &Path, more: &[&str]) -> Output {
    Command::new("timeout")
        .arg("20")
        .arg(env!("CARGO_BIN_EXE_expgsql"))
        .arg("setup")
        .args(more)
        .arg("render")
        .current_dir(dir)
        .output()
        .expect("it runs")
}

fn stranger(path: &Path) {
    chown(path, Some(Uid::from_raw(65534)), None).expect("the test runs as root");
}

type Prepare = fn(&Path, &Path);

#[test]
fn a_file_of_the_current_directory_is_used_only_if_nobody_else_wrote_it() {
    let cases: [(&str, Prepare, &str); 8] = [
        ("one's own", |_, _| {}, ""),
        (
            "in a directory of a stranger",
            |dir, _| stranger(dir),
            "belongs to",
        ),
        ("of a stranger", |_, file| stranger(file), "is not used"),
        (
            "for all to write",
            |_, file| fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap(),
            "can be written by others",
        ),
        (
            "a link",
            |dir, file| {
                fs::rename(file, dir.join("other")).unwrap();
                symlink("other", file).unwrap();
            },
            "is a symbolic link",
        ),
        (
            "a link that leads nowhere",
            |_, file| {
                fs::remove_file(file).unwrap();
                symlink("nowhere", file).unwrap();
            },
            "is a symbolic link",
        ),
        (
            "a pipe",
            |_, file| {
                fs::remove_file(file).unwrap();
                mkfifo(file, Mode::S_IRWXU).unwrap();
            },
            "is not a file",
        ),
        (
            "a directory",
            |_, file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            },
            "is not a file",
        ),
    ];
    for (what, prepare, part) in cases {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.ini");
        fs::write(&file, CONFIG).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        prepare(dir.path(), &file);
        let output = render(dir.path(), &[]);
        let (said, printed) = (
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        if part.is_empty() {
            assert_eq!(output.status.code(), Some(0), "{what}: {said}");
            let path = fs::canonicalize(&file).unwrap();
            assert!(
                said.contains(&format!("using {}", path.display())),
                "{said}"
            );
            assert!(printed.contains("zq7x"), "{printed}");
        } else {
            assert_eq!(output.status.code(), Some(2), "{what}: {said}");
            assert!(
                said.contains(part) && said.contains("config.ini"),
                "{what}: {said}"
            );
            assert!(
                !said.contains("zq7x") && printed.is_empty(),
                "{what}: {said}{printed}"
            );
        }
    }
}

#[test]
fn a_template_of_ones_own_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("mine.pcs");
    let text = format!("{CONFIG}pcs_template=./mine.pcs\n");
    fs::write(dir.path().join("config.ini"), text).unwrap();
    fs::write(&template, format!("pcs resource create ${{node1}}\n{REST}")).unwrap();
    let output = render(dir.path(), &["--config", "config.ini"]);
    assert!(
        output.stdout.starts_with(b"pcs resource create a\n"),
        "{output:?}"
    );
    stranger(&template);
    let output = render(dir.path(), &["--config", "config.ini"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("mine.pcs belongs to"), "{said}");
}

/// The other keys of [`CONFIG`], so that nothing of it is left out.
const REST: &str = "# ${node2} ${writer_vip} ${pgsql_pgctl} ${pgsql_pgdata} ${pgsql_repuser}\n";

#[test]
fn a_template_leaves_out_nothing_that_config_ini_sets() {
    let dir = tempfile::tempdir().unwrap();
    let rendered = |more: &str, template: &str| {
        let text = format!("{CONFIG}pcs_template=./mine.pcs\n{more}");
        fs::write(dir.path().join("config.ini"), text).unwrap();
        fs::write(dir.path().join("mine.pcs"), template).unwrap();
        let output = render(dir.path(), &["--config", "config.ini"]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let base = format!("create ${{node1}}\n{REST}");
    assert_eq!(rendered("", &base).0, Some(0));
    for (line, key) in [
        ("pgsql_restore_command='cp x %p'", "pgsql_restore_command"),
        ("operation_timeout=90", "operation_timeout"),
        ("gateway_ip=192.0.2.1", "gateway_ip"),
        ("stonith_enabled=true", "stonith_enabled"),
        ("reader_vip=192.0.2.10", "reader_vip"),
        ("deep_monitor_interval=60", "deep_monitor_interval"),
    ] {
        let (code, out, said) = rendered(&format!("{line}\n"), &base);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {said}");
        assert!(
            said.contains(&format!("mine.pcs: has no ${{{key}}}")),
            "{said}"
        );
        let (code, ..) = rendered(&format!("{line}\n"), &format!("{base}x ${{{key}}}\n"));
        assert_eq!(code, Some(0), "{line}");
    }
    // What is empty, and what is no part of the cluster's configuration, has no place.
    let (code, _, said) = rendered(
        "pgsql_restore_command=''\npgsql_reppassord=x\nOCF_ROOT=/x\n",
        &base,
    );
    assert!(code == Some(2) && said.contains("chmod 600"), "{said}");
    fs::set_permissions(dir.path().join("config.ini"), Permissions::from_mode(0o600)).unwrap();
    let (code, _, said) = rendered(
        "pgsql_restore_command=''\npgsql_reppassord=x\nOCF_ROOT=/x\n",
        &base,
    );
    assert_eq!(code, Some(0), "{said}");
    let several = "reader_vip='192.0.2.10 192.0.2.11'\n";
    let (code, out, said) = rendered(several, &format!("{base}ip=\"${{reader_vip}}\"\n"));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
    assert!(
        said.contains("mine.pcs:3: reader_vip has several addresses"),
        "{said}"
    );
    let one = format!("{base}ip=\"${{reader_vip_1}}\"\n");
    assert!(rendered(several, &one).2.contains("has no ${reader_vip}"));
    let (code, out, said) = rendered(several, &format!("{one}ip=\"${{reader_vip_2}}\"\n"));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        out.ends_with("ip=\"192.0.2.10\"\nip=\"192.0.2.11\"\n"),
        "{out}"
    );
}

#[test]
fn the_shipped_template_is_accepted_with_the_sample_beside_it() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcs-templates");
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(shipped.join(name)).unwrap();
    fs::write(dir.path().join("mine.pcs"), read("dual.pcs")).unwrap();
    let file = dir.path().join("config.ini");
    let sample = read("config.ini.dual").replace("CHANGE_ME", "abc");
    for (lock, is_accepted) in [("true", true), ("yes", true), ("false", false)] {
        let text = sample
            .replace("pcs_template=dual", "pcs_template=./mine.pcs")
            .replace(
                "pgsql_enable_distlock=true",
                &format!("pgsql_enable_distlock={lock}"),
            );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let output = render(dir.path(), &["--config", "config.ini"]);
        let (out, said) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.success(), is_accepted, "{lock}: {said}");
        assert_eq!(out.contains(" enable_distlock=true"), is_accepted, "{out}");
    }
}
