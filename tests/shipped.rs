//! What tests can do to the agent from within (`src/trial`) is in no program that is shipped.

/// Where a trial's agent looks for what a test wants of it.
const DIRECTORY: &[u8] = b"/var/lib/expgsql-trial";

#[test]
fn only_the_trials_agent_knows_of_trials() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_expgsql")).unwrap();
    let knows = program
        .windows(DIRECTORY.len())
        .any(|part| part == DIRECTORY);
    assert_eq!(knows, cfg!(feature = "trial"));
}
