//! The lab itself, without Pacemaker: hosts are apart, cuts hold, power comes and goes, nothing is left behind.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lab::{Cluster, Error, Result, scenarios};

fn main() -> ExitCode {
    let beside = scenarios![
        hosts_have_their_own_names_files_and_processes,
        a_cut_stops_one_way_or_both_and_healing_ends_it,
        a_power_cycle_keeps_the_disk_and_nothing_else,
        each_power_on_is_another_boot,
        a_kept_lab_is_found_by_name_and_ended,
        hosts_run_commands_on_each_other_by_ssh,
        the_lock_service_can_be_cut_off_frozen_and_stopped,
        replication_can_be_throttled,
        a_command_past_its_limit_is_killed,
    ];
    lab::pool(beside, &[])
}

fn two_hosts() -> Result<Cluster> {
    Cluster::builder().nodes(2).boot()
}

fn hosts_have_their_own_names_files_and_processes() -> Result<()> {
    let lab = two_hosts()?;
    let [node1, node2] = lab.nodes() else {
        panic!("two nodes")
    };
    assert_eq!(node1.run(&["hostname"])?.ok()?, "node1");
    node1.write_file("/etc/only-here", "x", "root", "644")?;
    assert!(node1.run(&["test", "-e", "/etc/only-here"])?.success());
    assert!(!node2.run(&["test", "-e", "/etc/only-here"])?.success());
    assert!(!Path::new("/etc/only-here").exists());
    // An orphan that died must not stay as a zombie: agents take one for a running postmaster.
    let orphan = node1.sh("setsid --fork sh -c 'exit 0'; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; grep -ls '^State:.Z' /proc/[0-9]*/status || exit 0; done; exit 1")?;
    assert!(orphan.success(), "{}", orphan.text());
    Ok(())
}

fn a_cut_stops_one_way_or_both_and_healing_ends_it() -> Result<()> {
    let lab = two_hosts()?;
    let [node1, node2] = lab.nodes() else {
        panic!("two nodes")
    };
    lab.postgres(node2).start()?;
    let reaches = || {
        lab.postgres(node1)
            .psql(node2.address(), 5432, "select 1")
            .is_ok()
    };
    assert!(reaches());
    lab.cut(node2, node1)?;
    assert!(!reaches(), "answers pass though one way is cut");
    assert_eq!(lab.cuts()?, [("node2".to_owned(), "node1".to_owned())]);
    lab.heal()?;
    assert!(reaches());
    lab.isolate(node2)?;
    assert!(!reaches());
    assert!(
        lab.postgres(lab.client())
            .psql(node2.address(), 5432, "select 1")
            .is_err()
    );
    lab.heal()?;
    lab.split(node2)?;
    assert!(!reaches());
    assert!(
        lab.postgres(lab.client())
            .psql(node2.address(), 5432, "select 1")
            .is_ok(),
        "a split node serves its clients"
    );
    Ok(())
}

fn a_power_cycle_keeps_the_disk_and_nothing_else() -> Result<()> {
    let lab = two_hosts()?;
    let client = lab.client();
    client.write_file("/var/kept", "on disk", "root", "644")?;
    client.write_file("/run/gone", "in memory", "root", "644")?;
    let mut sleeper = client.spawn("sleeper", &["sleep", "600"])?;
    lab.power_off(client)?;
    assert!(!client.is_on());
    assert!(matches!(client.run(&["true"]), Err(Error::PoweredOff(_))));
    sleeper.wait(Duration::from_secs(5))?;
    lab.power_on(client)?;
    assert_eq!(client.read_file("/var/kept")?, "on disk");
    assert!(!client.run(&["test", "-e", "/run/gone"])?.success());
    lab.postgres(client).start()?;
    assert!(
        lab.postgres(&lab.nodes()[0])
            .psql(client.address(), 5432, "select 1")
            .is_ok(),
        "the cable is plugged in again"
    );
    Ok(())
}

fn each_power_on_is_another_boot() -> Result<()> {
    let lab = two_hosts()?;
    let (machine, beside) = (lab.client(), &lab.nodes()[0]);
    let (first, other) = (machine.boot_id()?, beside.boot_id()?);
    assert_ne!(first, other, "two machines have one boot");
    let before = machine.uptime()?;
    lab.postgres(machine).start()?;
    lab.postgres(machine).stop()?;
    lab.postgres(machine).start()?;
    assert_eq!(
        machine.boot_id()?,
        first,
        "a program was started, no machine"
    );
    // Longer than a boot takes, so that the second one's clock can't have caught up.
    lab.eventually("the clock goes on", Duration::from_secs(60), |_| {
        let now = machine.uptime().map_err(|error| error.to_string())?;
        if now >= before + Duration::from_secs(5) {
            Ok(())
        } else {
            Err(format!("{before:?}, then {now:?}"))
        }
    })?;
    let old = machine.uptime()?;
    lab.power_off(machine)?;
    lab.power_on(machine)?;
    let new = machine.uptime()?;
    assert_ne!(machine.boot_id()?, first, "the boot id outlived the power");
    assert!(new < old, "the clock went on: {old:?}, then {new:?}");
    assert_eq!(beside.boot_id()?, other, "the other machine had power");
    Ok(())
}

fn a_kept_lab_is_found_by_name_and_ended() -> Result<()> {
    let name = format!("kept-{}", std::process::id());
    let first = Cluster::builder().nodes(1).name(&name).boot()?;
    assert!(matches!(
        Cluster::builder().name(&name).boot(),
        Err(Error::AlreadyUp(_))
    ));
    first.keep()?;
    drop(first);
    let again = Cluster::attach(&name)?;
    assert_eq!(again.node("node1")?.run(&["hostname"])?.ok()?, "node1");
    again.power_off(again.node("node1")?)?;
    again.power_on(again.client())?;
    again.down()?;
    assert!(matches!(Cluster::attach(&name), Err(Error::NotUp { .. })));
    Ok(())
}

fn hosts_run_commands_on_each_other_by_ssh() -> Result<()> {
    let lab = two_hosts()?;
    let [node1, node2] = lab.nodes() else {
        panic!("two nodes")
    };
    let ask = || {
        node1.run(&[
            "ssh",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=1",
            "node2",
            "hostname",
        ])
    };
    assert_eq!(ask()?.ok()?, "node2");
    lab.cut(node2, node1)?;
    assert!(!ask()?.success(), "ssh passes though the way is cut");
    lab.heal()?;
    lab.power_off(node2)?;
    lab.power_on(node2)?;
    assert_eq!(ask()?.ok()?, "node2");
    Ok(())
}

fn the_lock_service_can_be_cut_off_frozen_and_stopped() -> Result<()> {
    let lab = Cluster::builder().nodes(2).lock_service().boot()?;
    let [node1, node2] = lab.nodes() else {
        panic!("two nodes")
    };
    let lock = lab.lock()?;
    let reaches = |node| {
        lab.postgres(node)
            .psql(lock.address(), 5432, "select 1")
            .is_ok()
    };
    assert!(reaches(node1) && reaches(node2));
    lab.partition(&[node1], &[lock])?;
    assert!(!reaches(node1) && reaches(node2), "one node is cut off");
    lab.heal()?;
    lab.freeze_postgres(lock)?;
    assert!(!reaches(node1), "a frozen service answers");
    lab.thaw_postgres(lock)?;
    assert!(reaches(node1));
    lab.stop_lock_service()?;
    assert!(!reaches(node2), "a stopped service answers");
    lab.start_lock_service()?;
    assert!(reaches(node2));
    lab.power_off(lock)?;
    lab.power_on(lock)?;
    assert!(reaches(node1), "it is back with its host");
    Ok(())
}

fn replication_can_be_throttled() -> Result<()> {
    let lab = two_hosts()?;
    let [node1, node2] = lab.nodes() else {
        panic!("two nodes")
    };
    lab.postgres(node1).start()?;
    let time = || {
        let start = std::time::Instant::now();
        // Two megabytes: what PostgreSQL sends, not what it gets.
        let query = "select repeat('x', 2000000)";
        lab.postgres(node2)
            .psql(node1.address(), 5432, query)
            .map(|_| start.elapsed())
    };
    let free = time()?;
    lab.throttle_replication(node2, 4000)?;
    let throttled = time()?;
    // At 4 Mbit/s it takes four seconds, and nothing makes it faster.
    assert!(
        throttled > free && throttled > std::time::Duration::from_secs(2),
        "{free:?} became {throttled:?}"
    );
    lab.clear_weather(node2)?;
    assert!(time()? < throttled);
    Ok(())
}

fn a_command_past_its_limit_is_killed() -> Result<()> {
    let lab = Cluster::builder().nodes(1).boot()?;
    let node = lab.node("node1")?;
    let outcome = node
        .command(&["sleep", "600"])?
        .limit(std::time::Duration::from_millis(300))
        .run();
    assert!(matches!(outcome, Err(Error::Overran { .. })), "{outcome:?}");
    // A zombie is dead: its parent outside is gone, and this machine's pid 1 may not reap.
    let alive = node.sh(r#"cat /proc/[0-9]*/stat | awk '$2 == "(sleep)" && $3 != "Z"'"#)?;
    assert_eq!(alive.text(), "", "the sleeper lives on");
    Ok(())
}
