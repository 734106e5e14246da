//! The metadata as other programs see it: the file in the repository, and the executable.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Where resource-agents keeps ra-api-1.dtd; ocf-tester validates from there as well.
const DTD_DIRECTORY: &str = "/usr/share/resource-agents";
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ocf-metadata/expgsql.xml");
const EXECUTABLE: &str = env!("CARGO_BIN_EXE_expgsql");

fn rendered() -> String {
    expgsql::metadata::render().expect("rendering writes to memory")
}

/// Runs `command` with `input`; a program that is not there fails the test in so many words.
fn run(command: &mut Command, input: &str) -> Output {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program:?} can't be run, and this test needs it: {error}")
        });
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(input.as_bytes())
        .expect("the program reads its input");
    drop(stdin);
    child.wait_with_output().expect("the program was started")
}

fn assert_success(output: &Output, claim: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{claim}: {}\n{text}",
        output.status
    );
}

#[test]
fn the_checked_in_metadata_is_what_the_tables_say() {
    let file = fs::read_to_string(CHECKED_IN).unwrap_or_default();
    assert!(
        file == rendered(),
        "ocf-metadata/expgsql.xml is older than the tables; write it anew with\n    \
         cargo run -p expgsql -- meta-data > ocf-metadata/expgsql.xml"
    );
}

#[test]
fn the_metadata_is_valid_by_the_document_type_of_resource_agents() {
    // On a fresh machine the DTD and xmllint come with the lab's packages. Elsewhere they must be there.
    if nix::unistd::geteuid().is_root() {
        lab::install().expect("the lab's packages");
    }
    assert!(
        Path::new(DTD_DIRECTORY).join("ra-api-1.dtd").exists(),
        "{DTD_DIRECTORY}/ra-api-1.dtd is missing, and this test needs it: install the package resource-agents"
    );
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--valid", "-"])
        .current_dir(DTD_DIRECTORY);
    let output = run(&mut xmllint, &rendered());
    assert_success(
        &output,
        "xmllint (package libxml2-utils) finds the metadata invalid",
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "",
        "xmllint has warnings"
    );
}

/// Shows that the test above can fail: the document type does not allow everything.
#[test]
fn metadata_with_an_undeclared_attribute_is_not_valid() {
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--valid", "-"])
        .current_dir(DTD_DIRECTORY);
    let broken = rendered().replacen("required=\"0\"", "required=\"0\" undeclared=\"0\"", 1);
    assert!(!run(&mut xmllint, &broken).status.success());
}

/// pcs and ocf-tester ask as nobody, and Pacemaker on nodes where nothing is configured.
#[test]
fn nobody_gets_the_metadata_without_any_environment() {
    const NOBODY: u32 = 65534;
    // The build directory may be out of reach for nobody.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("expgsql");
    // By another process: while this one wrote it, a program that another test starts at this moment would have it open
    // for writing, too, and the kernel executes no such file.
    let copied = Command::new("cp").arg(EXECUTABLE).arg(&copy).status();
    assert!(copied.unwrap().success());

    let mut command = Command::new(&copy);
    command.arg("meta-data").env_clear().current_dir("/");
    if nix::unistd::Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = run(&mut command, "");
    assert_success(&output, "meta-data as nobody");
    assert_eq!(String::from_utf8_lossy(&output.stdout), rendered());
}

#[test]
fn the_process_ends_with_the_code_of_the_answer() {
    const RESOURCE: (&str, &str) = ("OCF_RESOURCE_INSTANCE", "pgsql");
    type Vars = &'static [(&'static str, &'static str)];
    let cases: [(&[&str], Vars, i32); 7] = [
        (
            &["meta-data", "extra"],
            &[("OCF_RESKEY_pgport", "nonsense")],
            0,
        ),
        (&["parameters", "--json"], &[], 0),
        (&["--version"], &[], 0),
        (&[], &[], 2),
        (&["monitor"], &[], 2),
        (&["no_cmd"], &[RESOURCE], 3),
        (
            &["validate-all"],
            &[RESOURCE, ("OCF_RESKEY_pgport", "nonsense")],
            6,
        ),
    ];
    for (args, vars, code) in cases {
        let output = run(
            Command::new(EXECUTABLE)
                .args(args)
                .env_clear()
                .envs(vars.iter().copied()),
            "",
        );
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?} {vars:?}: {output:?}"
        );
    }
}

#[test]
fn the_documentation_holds_the_generated_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/parameters.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let table = expgsql::cli::parameters(expgsql::cli::Format::Markdown).unwrap();
    assert!(
        text.ends_with(&table),
        "{} is not up to date: replace its table by the output of `cargo run -p expgsql -- parameters --markdown`",
        path.display()
    );
}
