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
    let is_no = said.starts_with("fail #") || said.starts_with("HTTP/1.1 400 ");
    assert!(is_no, "{line}: {said}");
}
