//! The files for load balancers (`balancing/`) are what the programs take that read them.

use std::path::Path;
use std::process::Command;

/// What systemd itself says of the units; where there is no systemd, nobody can say.
#[test]
fn the_units_for_load_balancers_are_what_systemd_takes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("balancing");
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".service") && !name.ends_with(".socket") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // It is not installed here.
        let here = text.replace("/usr/sbin/expgsql", env!("CARGO_BIN_EXE_expgsql"));
        the_command_is_understood(&here);
        let copy = dir.path().join(&name);
        std::fs::write(&copy, here).unwrap();
        units.push(copy);
    }
    assert_eq!(units.len(), 4, "{units:?}");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(&units);
    let output = match verify.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("there is no systemd-analyze: left out");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // What it says of the machine's own units is none of ours.
    let ours = said.lines().filter(|line| line.contains("expgsql"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new(), "{said}");
    assert!(output.status.success(), "{said}");
}

/// The command line of a unit is one that the program takes: a server that is not there can't be asked.
fn the_command_is_understood(unit: &str) {
    let Some(line) = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
    else {
        return;
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--host", "/nowhere"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{line}: {said}");
    let is_no = said.starts_with("drain #") || said.starts_with("HTTP/1.1 400 ");
    assert!(is_no, "{line}: {said}");
}

/// HAProxy itself, installed where that can be done.
#[test]
fn the_configuration_for_haproxy_is_what_haproxy_takes() {
    let wants_haproxy =
        lab::available().and_then(|()| lab::install_also("haproxy", "/usr/sbin/haproxy"));
    if let Err(why) = wants_haproxy {
        eprintln!("left out: {why}");
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("balancing/haproxy.cfg");
    let text = std::fs::read_to_string(&file).expect("balancing/haproxy.cfg");
    let dir = tempfile::tempdir().expect("a directory");
    let judged = |text: &str| {
        let path = dir.path().join("haproxy.cfg");
        std::fs::write(&path, text).expect("a file");
        let mut haproxy = Command::new("/usr/sbin/haproxy");
        let output = haproxy.args(["-c", "-f"]).arg(&path).output();
        let output = output.expect("haproxy runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (is_taken, said) = judged(&text);
    assert!(is_taken, "{said}");
    assert!(!said.contains("WARNING"), "{said}");
    // It does look at each word.
    for (right, wrong) in [
        ("agent-check", "agent-chek"),
        ("nbsrv(standbys)", "nbsrv(nobody)"),
    ] {
        assert!(!judged(&text.replace(right, wrong)).0, "{wrong}");
    }
}

/// The resources that docs/balancing.md has for HAProxy, by pcs itself, and judged by Pacemaker.
#[test]
fn the_resources_for_haproxy_are_what_pacemaker_takes() {
    if let Err(why) = lab::available().and_then(|()| lab::install()) {
        eprintln!("left out: {why}");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/balancing.md");
    let page = std::fs::read_to_string(page).expect("docs/balancing.md");
    let dir = tempfile::tempdir().expect("a directory");
    let cib = dir.path().join("cib.xml").display().to_string();
    let run = |argv: &[&str]| {
        let output = lab::Cmd::new(argv).run().expect("it runs");
        assert!(output.success(), "{argv:?}: {}", output.text());
        output.stdout
    };
    std::fs::write(&cib, run(&["cibadmin", "--empty"])).expect("a file");
    let mut commands = 0;
    for line in page
        .lines()
        .filter_map(|line| line.strip_prefix("    pcs "))
    {
        let mut argv = vec!["pcs", "-f", &cib];
        argv.extend(line.split_whitespace());
        // There is no systemd to ask for the agent.
        if line.starts_with("resource create") {
            argv.push("--force");
        }
        run(&argv);
        commands += 1;
    }
    assert_eq!(commands, 4);
    let fencing = "stonith-enabled=false";
    run(&["pcs", "-f", &cib, "property", "set", fencing]);
    run(&["crm_verify", "--xml-file", &cib]);
}
