//! The RPM, made by rpmbuild and installed and removed by rpm in a root of its own: its files, their modes, what it needs.
//! The program in it is a stand-in of the same libraries, so that nothing has to be built optimised for this.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is tests; the lint knows only the functions marked as such"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lab::Cmd;

const STAND_IN: &str = env!("CARGO_BIN_EXE_packaging");
const AGENT: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";
const VERSION: &str = "0.0.7";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(argv: &[&str]) -> String {
    Cmd::new(argv).ok().unwrap()
}

/// Makes the package as `make rpm` does, but for the building; gives its path.
fn package(dir: &Path) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let (target, root) = (at("target"), at("root"));
    run(&[STAND_IN, &format!("{target}/package")]);
    let workspace = workspace();
    run(&[
        "make",
        "--silent",
        "--directory",
        &workspace.display().to_string(),
        "install",
        &format!("CARGO_TARGET_DIR={target}"),
        &format!("PROGRAM={STAND_IN}"),
        &format!("DESTDIR={root}"),
        "PREFIX=/usr",
    ]);
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let spec = workspace
        .join("packaging/expgsql.spec")
        .display()
        .to_string();
    let mut argv = vec!["rpmbuild".to_owned(), "-bb".into(), "--quiet".into()];
    argv.extend(define("_topdir", &at("rpmbuild")));
    argv.extend(define("_rpmdir", &at("rpm")));
    argv.extend(define("built_root", &root));
    argv.extend(define("built_version", VERSION));
    argv.push(spec);
    Cmd::new(&argv).ok().unwrap();
    let made = run(&["find", &at("rpm"), "-name", "*.rpm"]);
    assert_eq!(made.lines().count(), 1, "{made}");
    made.trim().to_owned()
}

/// Everything in a root but rpm's own database: kind, mode, owner, and where a link leads.
fn contents(root: &Path) -> BTreeMap<String, String> {
    let printed = run(&[
        "find",
        &root.display().to_string(),
        "-mindepth",
        "1",
        "-path",
        &root.join("var").display().to_string(),
        "-prune",
        "-o",
        "-printf",
        "/%P %y %m %U:%G %l\n",
    ]);
    let entry = |line: &str| {
        let (path, about) = line.split_once(' ').unwrap();
        (path.to_owned(), about.trim().to_owned())
    };
    printed.lines().map(entry).collect()
}

#[test]
fn rpm_installs_replaces_and_removes_it() {
    if !is_root() {
        eprintln!("rpm works in another root only as root: left out");
        return;
    }
    lab::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let package = package(dir.path());
    it_needs_what_every_distribution_calls_so(&package);

    let root = dir.path().join("system");
    // What other packages bring: it is not to go with this one.
    for others in [
        "usr/lib/ocf/resource.d/heartbeat",
        "usr/sbin",
        "usr/share/man/man8",
    ] {
        fs::create_dir_all(root.join(others)).unwrap();
    }
    fs::write(root.join("usr/lib/ocf/resource.d/heartbeat/IPaddr2"), "").unwrap();
    let at = root.display().to_string();
    let before = contents(&root);
    let rpm = |argv: &[&str]| {
        // The packages that it needs are not in this root.
        let words = [
            &["rpm", "--root", &at, "--dbpath", "/var/lib/rpm"],
            argv,
            &["--nodeps"],
        ]
        .concat();
        run(&words)
    };
    rpm(&["--install", &package]);
    let installed = contents(&root);
    it_is_whole(&installed);
    assert_eq!(rpm(&["--verify", "expgsql"]), "");
    rpm(&["--upgrade", "--replacepkgs", &package]);
    assert_eq!(contents(&root), installed);
    rpm(&["--erase", "expgsql"]);
    let left: Vec<String> = contents(&root)
        .into_iter()
        .filter(|(path, about)| !before.contains_key(path) && !about.starts_with('d'))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(left, Vec::<String>::new(), "left behind");
    let after = contents(&root);
    assert!(
        before.keys().all(|path| after.contains_key(path)),
        "{after:?}"
    );
    assert!(
        !after.contains_key("/usr/share/expgsql"),
        "its own directory"
    );
    assert!(
        !after.contains_key("/usr/share/doc/expgsql"),
        "its own directory"
    );
}

fn is_root() -> bool {
    run(&["id", "--user"]).trim() == "0"
}

/// Names that RHEL 9 and 10 and SLES have, and a C library that is not newer than theirs need be.
fn it_needs_what_every_distribution_calls_so(package: &str) {
    let query = |what: &str| {
        let printed = run(&["rpm", "--query", "--package", what, package]);
        let lines = printed.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let needed = query("--requires");
    for name in ["pacemaker >= 2.1", "resource-agents"] {
        assert!(needed.iter().any(|it| it == name), "{name}: {needed:?}");
    }
    let is_system = |it: &str| {
        [
            "libc.so.6",
            "libm.so.6",
            "libgcc_s.so.1",
            "ld-linux",
            "rtld(",
            "rpmlib(",
        ]
        .iter()
        .any(|name| it.starts_with(name))
    };
    let others: Vec<&String> = needed
        .iter()
        .filter(|it| {
            !is_system(it) && !["pacemaker >= 2.1", "resource-agents"].contains(&it.as_str())
        })
        .collect();
    assert_eq!(others, Vec::<&String>::new(), "of {needed:?}");
    assert_eq!(query("--recommends"), ["openssh-clients"]);
    // Nothing is run by root when it comes or goes.
    assert_eq!(query("--scripts"), Vec::<String>::new());
    assert_eq!(query("--triggers"), Vec::<String>::new());
    assert_eq!(query("--conflicts"), Vec::<String>::new());
    assert_eq!(query("--configfiles"), Vec::<String>::new());
    let format = "%{NAME} %{VERSION} %{LICENSE} %{ARCH}\n";
    let about = run(&[
        "rpm",
        "--query",
        "--package",
        "--queryformat",
        format,
        package,
    ]);
    let arch = std::env::consts::ARCH;
    assert_eq!(
        about.trim(),
        format!("expgsql {VERSION} GPL-2.0-or-later {arch}")
    );
}

fn it_is_whole(installed: &BTreeMap<String, String>) {
    let about = |path: &str| installed.get(path).map_or("missing", String::as_str);
    // Pacemaker runs it as root, so nobody else may write to it.
    assert_eq!(about(AGENT), "f 755 0:0");
    for name in ["expgsql", "distlock", "cls_status", "cls_rebuild_slave"] {
        let path = format!("/usr/sbin/{name}");
        assert_eq!(about(&path), format!("l 777 0:0 {AGENT}"), "{name}");
    }
    for path in [
        "/usr/share/bash-completion/completions/expgsql",
        "/usr/share/zsh/site-functions/_expgsql",
        "/usr/share/fish/vendor_completions.d/expgsql.fish",
        "/usr/share/doc/expgsql/README.md",
        "/usr/share/doc/expgsql/LICENSE",
        "/usr/share/expgsql/pcs-templates/config.ini.multi",
        "/usr/share/expgsql/balancing/expgsql-check@.service",
    ] {
        assert_eq!(about(path), "f 644 0:0", "{path}");
    }
    // Compressed where that is the custom of whoever builds it.
    for page in [
        "man7/ocf_heartbeat_expgsql.7",
        "man8/expgsql.8",
        "man8/expgsql-setup.8",
        "man8/expgsql-check.8",
    ] {
        let path = format!("/usr/share/man/{page}");
        let found = [about(&path), about(&format!("{path}.gz"))];
        assert!(found.contains(&"f 644 0:0"), "{path}: {found:?}");
    }
    let loose = installed.iter().filter(|(_, about)| {
        let mut parts = about.split(' ');
        let (kind, mode, owner) = (parts.next(), parts.next(), parts.next());
        let is_usual = matches!(
            (kind, mode),
            (Some("d"), Some("755")) | (Some("f"), Some("644" | "755")) | (Some("l"), _)
        );
        !is_usual || owner != Some("0:0")
    });
    assert_eq!(loose.collect::<Vec<_>>(), Vec::<(&String, &String)>::new());
}
