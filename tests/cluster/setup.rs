//! `expgsql setup …`: from config.ini to a healthy cluster, by these commands alone; what they refuse, and what they leave alone.

use std::path::Path;
use std::time::Duration;

use lab::process::Output;
use lab::resources::{READER, RESOURCE, WRITER};
use lab::{Agent, Cluster, Node, Result, Site};

use super::stage::{LIMIT, expect, expgsql, wrong};

/// Where Pacemaker has the program.
const PROGRAM: &str = "/usr/lib/ocf/resource.d/heartbeat/expgsql";

/// Where an operator may have put it before anything was installed.
const DOWNLOAD: &str = "/var/lib/pgsql/expgsql";

/// The operator's file.
const CONFIG: &str = "/etc/postgresql/config.ini";

const PASSWORD: &str = "p#ss \"word";

/// Time for one command.
const COMMAND: Duration = Duration::from_secs(200);

pub(crate) fn three_nodes_are_set_up_from_one_file() -> Result<()> {
    let lab = bare(Cluster::builder().nodes(3))?;
    let node = first(&lab)?;
    let config = config(&lab);
    write(node, &config)?;
    step("without a cluster nothing is done", || no_cluster(node))?;
    lab.form()?;
    step("a bad file is refused, and each line of it named", || {
        bad_files(node, &config)
    })?;
    write(node, &config)?;
    step("all three formats make the same configuration", || {
        formats(node)
    })?;
    write(node, &config)?;
    step("the shipped templates make it, too", || {
        templates(node, &config)
    })?;
    write(node, &config)?;
    step("check says what is missing", || check_before(&lab, node))?;
    step("install copies it, once", || install(&lab, node))?;
    step("a stranger's resources are there before", || stranger(node))?;
    step("apply makes a healthy cluster", || apply(&lab, node))?;
    step("apply again changes nothing", || nothing_to_do(node))?;
    step("no password is where others read it", || {
        no_secret(&lab, node)
    })?;
    step(
        "one change in the file is one change in the cluster",
        || drift(node, &config),
    )?;
    step("a node that is off is a finding", || node_off(&lab, node))?;
    step("without quorum nothing is done", || {
        no_quorum(&lab, node, &config)
    })?;
    step("erase takes out what is ours, and only that", || {
        erase(node)
    })?;
    step("and apply brings it back, without root's ssh", || {
        node.sh("mount -t tmpfs tmpfs /root/.ssh")?.ok()?;
        ends(node, &["check"], 1, "does not answer by ssh")?;
        ends(node, &["apply", "--yes"], 0, "does not answer by ssh")?;
        node.sh("umount /root/.ssh")?.ok()?;
        lab.wait_healthy(LIMIT)
    })
}

pub(crate) fn two_nodes_are_set_up_from_one_file() -> Result<()> {
    let lab = bare(Cluster::builder().nodes(2).lock_service())?;
    let node = first(&lab)?;
    // As the lab has made it, for its own way of setting up.
    lab.postgres(lab.lock()?)
        .sql("drop table distlock, distlock_history")?;
    write(node, &config(&lab))?;
    lab.form()?;
    step("check asks for the lock", || {
        ends(
            node,
            &["check"],
            0,
            "the lock is not in the lock service yet",
        )
        .map(drop)
    })?;
    step("install", || {
        ends(node, &["install", "--yes"], 0, "done").map(drop)
    })?;
    step("the first primary is named", || {
        ends(
            node,
            &["apply", "nosuch", "--yes"],
            100,
            "none of the nodes",
        )?;
        ends(node, &["apply", "node2", "--yes"], 0, "Done")?;
        lab.wait_healthy(LIMIT)?;
        let primary = lab.primary()?.name().to_owned();
        expect(primary == "node2", || format!("{primary} is the primary"))
    })?;
    step("apply again changes nothing", || nothing_to_do(node))?;
    step("a first primary can't be named twice", || {
        ends(node, &["apply", "node2", "--yes"], 0, "Nothing to do")?;
        ends(
            node,
            &["apply", "node1", "--yes"],
            100,
            "cluster switch node1",
        )
        .map(drop)
    })?;
    step("without the lock service nothing is done", || {
        lab.stop_lock_service()?;
        write(
            node,
            &config(&lab).replace("monitor_interval=4", "monitor_interval=5"),
        )?;
        writes_nothing(node, || {
            let words = ["apply", "--yes"];
            ends(node, &words, 1, "the lock service can't be used").map(drop)
        })?;
        ends(node, &["check"], 1, "the lock service can't be used")?;
        lab.start_lock_service()
    })
}

pub(crate) fn a_cluster_of_the_stock_agent_is_taken_over() -> Result<()> {
    let Agent::Expgsql { binary } = expgsql()? else {
        return Err(wrong("no program"));
    };
    let lab = Cluster::builder().nodes(3).agent(Agent::StockPgsql).up()?;
    lab.wait_healthy(LIMIT)?;
    let node = first(&lab)?;
    let program = std::fs::read(&binary).map_err(|error| wrong(error.to_string()))?;
    node.write_file(DOWNLOAD, program, "root", "755")?;
    write(node, &config(&lab))?;
    let run = |words: &[&str]| {
        node.command(&[&[DOWNLOAD, "setup", "--config", CONFIG], words].concat())?
            .limit(COMMAND)
            .run()
    };
    let servers = || -> Vec<_> {
        let nodes = lab.nodes().iter();
        nodes.map(|node| lab.postgres(node).postmaster()).collect()
    };
    // Refused, by this code and with this word; no server stops for it, then or later.
    let refused = |code: i32, part: &str| {
        let before = servers();
        let output = run(&["apply", "--yes"])?;
        expect(
            output.code() == Some(code)
                && output.text().contains("nothing was done")
                && output.text().contains(part),
            || output.text(),
        )?;
        let resources = ["cibadmin", "--query", "--scope=resources"];
        let resources = node.run(&resources)?.ok()?;
        expect(!resources.contains("target-role"), || resources.clone())?;
        Ok(before)
    };
    let same = |before: Vec<_>| {
        let now = servers();
        expect(before == now && before.iter().all(Option::is_some), || {
            format!("servers {before:?} became {now:?}")
        })
    };
    step("the program comes to every node", || {
        let output = run(&["install", "--yes"])?;
        expect(
            output.success() && output.text().contains("which it does not have"),
            || output.text(),
        )
    })?;
    step("what Pacemaker would not accept stops no server", || {
        let monitor = "name=\"monitor\" interval=\"10s\"";
        let doubled = format!(
            "<primitive id=\"doubled\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"><operations>\
             <op id=\"doubled-1\" {monitor}/><op id=\"doubled-2\" {monitor} timeout=\"30s\"/></operations></primitive>"
        );
        let line = ["cibadmin", "--create", "--scope=resources", "--xml-text"];
        node.run(&[&line[..], &[&doubled]].concat())?.ok()?;
        let before = refused(1, "would not accept")?;
        node.run(&["crm_resource", "--wait", "--timeout=60s"])?
            .ok()?;
        same(before)?;
        let line = ["cibadmin", "--delete", "--xml-text"];
        node.run(&[&line[..], &["<primitive id=\"doubled\"/>"]].concat())?
            .ok()
            .map(drop)
    })?;
    step(
        "nor does what is refused in maintenance mode, when that ends",
        || {
            let mode = ["crm_attribute", "--name=maintenance-mode"];
            node.run(&[&mode[..], &["--update=true"]].concat())?.ok()?;
            let before = refused(100, "cluster unmaintenance")?;
            node.run(&[&mode[..], &["--delete"]].concat())?.ok()?;
            node.run(&["crm_resource", "--wait", "--timeout=60s"])?
                .ok()?;
            same(before)?;
            lab.wait_healthy(LIMIT)
        },
    )?;
    step(
        "the resource changes its agent, and keeps its name and the rest",
        || {
            let output = run(&["apply", "--yes"])?;
            expect(
                output.success()
                    && output
                        .text()
                        .contains("change the agent from ocf:heartbeat:pgsql"),
                || format!("{}\n{}", output.text(), lab.evidence()),
            )?;
            // At once: apply has seen it through, under the new agent.
            lab.health().map_err(wrong)?;
            let agent = node
                .run(&["crm_resource", "--resource", RESOURCE, "--query-xml"])?
                .ok()?;
            expect(agent.contains("type=\"expgsql\""), || agent.clone())?;
            let escalate = node
                .run(&[
                    "crm_resource",
                    "--resource",
                    RESOURCE,
                    "--get-parameter",
                    "stop_escalate",
                ])?
                .ok()?;
            expect(escalate.trim() == "30", || escalate)
        },
    )?;
    step("apply again changes nothing", || nothing_to_do(node))?;
    step("nor does it take back what somebody chose", || {
        write(
            node,
            &config(&lab).replace("pgsql_on_divergence=rewind_or_rebuild\n", ""),
        )?;
        let set = ["--set-parameter=on_divergence", "--parameter-value=stop"];
        let resource = ["crm_resource", "--resource", RESOURCE];
        node.run(&[&resource[..], &set].concat())?.ok()?;
        let output = ends(node, &["apply", "--yes"], 0, "Nothing to do")?;
        expect(output.text().contains("on_divergence=stop stays"), || {
            output.text()
        })
    })
}

/// Hosts that are on, without a cluster, and with the program on the first node only.
fn bare(builder: lab::Builder) -> Result<Cluster> {
    // `check` warns of what other sites have set, as max_standby_streaming_delay=-1.
    let builder = builder.site(Site::Plain);
    let lab = builder.agent(expgsql()?).boot()?;
    for other in lab.nodes().iter().skip(1) {
        other.run(&["rm", PROGRAM])?.ok()?;
    }
    Ok(lab)
}

fn first(lab: &Cluster) -> Result<&Node> {
    lab.nodes().first().ok_or_else(|| wrong("no nodes"))
}

pub(super) fn config(lab: &Cluster) -> String {
    let nodes = lab.nodes().len();
    let mut text = format!(
        "# made by a test\npcs_template={}.pcs.template\nwriter_vip={}\nreader_vip={}\nvip_nic=eth0\nvip_cidr_netmask=24\n",
        if nodes == 2 { "dual" } else { "muti" },
        lab::network::WRITER_ADDRESS,
        lab::network::READER_ADDRESS,
    );
    for number in 1..=nodes {
        text += &format!("node{number}=node{number}\n");
    }
    let layout = lab.layout();
    text += &format!(
        "pgsql_pgctl={}\npgsql_psql={}\npgsql_pgdata={}\npgsql_pgport=5432\npgsql_rep_mode=sync\npgsql_repuser=repl\n\
         pgsql_reppassord='{PASSWORD}'\npgsql_passfile=/etc/expgsql/pgpass\npgsql_on_divergence=rewind_or_rebuild\nmonitor_interval=4\n",
        layout.program("pg_ctl"),
        layout.program("psql"),
        layout.data.display(),
    );
    if nodes == 2 {
        text += &format!(
            "pgsql_enable_distlock=true\npgsql_distlock_conninfo='{}'\npgsql_distlock_lockname={}\n",
            lab::lock::conninfo(),
            lab::lock::LOCK_NAME
        );
    }
    text
}

pub(super) fn write(node: &Node, text: &str) -> Result<()> {
    node.run(&["mkdir", "-p", "/etc/postgresql"])?.ok()?;
    node.write_file(CONFIG, text, "root", "600")
}

fn setup(node: &Node, words: &[&str]) -> Result<Output> {
    node.command(&[&[PROGRAM, "setup", "--config", CONFIG], words].concat())?
        .limit(COMMAND)
        .run()
}

/// Runs a command that must end with `code`, saying `part`.
pub(super) fn ends(node: &Node, words: &[&str], code: i32, part: &str) -> Result<Output> {
    let output = setup(node, words)?;
    expect(
        output.code() == Some(code) && output.text().contains(part),
        || {
            format!(
                "setup {words:?} should end with {code} and say {part:?}, but ended with {:?}:\n{}",
                output.code(),
                output.text()
            )
        },
    )?;
    expect(!output.text().contains(PASSWORD), || {
        format!("the password is shown by setup {words:?}")
    })?;
    Ok(output)
}

fn step(name: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = std::time::Instant::now();
    act().map_err(|error| wrong(format!("step {name:?}: {error}")))?;
    println!("  {name:<60} {:>5.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn no_cluster(node: &Node) -> Result<()> {
    ends(node, &["apply", "--yes"], 101, "Pacemaker does not run")?;
    ends(node, &["erase", "--yes"], 101, "Pacemaker does not run")?;
    ends(node, &["check"], 1, "Pacemaker does not run")?;
    ends(
        node,
        &["render"],
        0,
        "pcs -f pgsql_cfg resource create pgsql",
    )?;
    for words in [["apply", "--yes"], ["erase", "--yes"], ["check", "--json"]] {
        // Its file must be readable, so that what is refused is the user.
        node.run(&["chown", "postgres", CONFIG])?.ok()?;
        let line = [&[PROGRAM, "setup", "--config", CONFIG], &words[..]].concat();
        let output = node.as_user("postgres", &line)?.run()?;
        node.run(&["chown", "root", CONFIG])?.ok()?;
        expect(
            output.code() == Some(1) && output.stderr.contains("as root"),
            || output.text(),
        )?;
    }
    Ok(())
}

fn bad_files(node: &Node, good: &str) -> Result<()> {
    let before = epoch(node)?;
    for (text, part) in [
        (good.replace("node2=node2\n", ""), "node2 is not set"),
        (
            good.replace("pgsql_pgport=5432", "pgsql_pgport=many"),
            "config.ini:13: pgsql_pgport is not a port number",
        ),
        (
            good.replace("writer_vip", "writer_ip"),
            "config.ini:3: writer_ip is not a key; did you mean writer_vip?",
        ),
        (
            good.replace("vip_nic=eth0", "vip_nic eth0"),
            "config.ini:5: this line is not of the form key=value",
        ),
        (
            good.replace("node3=node3", "node3=CHANGE_ME"),
            "config.ini:9: node3 still has the sample's placeholder",
        ),
        (
            format!("{good}pgsql_start_opt='x\n"),
            "pgsql_start_opt has a quote that is not closed",
        ),
        (
            format!("{good}pgsql_primary_conninfo_opt='password={PASSWORD}'\n"),
            "for everybody to read",
        ),
    ] {
        write(node, &text)?;
        for words in [
            &["render"][..],
            &["check"],
            &["install", "--yes"],
            &["apply", "--yes"],
            &["erase", "--yes"],
        ] {
            ends(node, words, 2, part)?;
        }
    }
    write(node, &good.replace("node3=node3", "node3=nosuch"))?;
    ends(
        node,
        &["apply", "--yes"],
        100,
        "the node nosuch, which the cluster does not have",
    )?;
    ends(node, &["check"], 1, "the cluster has no node of this name")?;
    ends(
        node,
        &["install", "--yes"],
        1,
        "nosuch does not answer by ssh",
    )?;
    write(node, good)?;
    node.run(&["chmod", "644", CONFIG])?.ok()?;
    ends(node, &["apply", "--yes"], 2, "chmod 600")?;
    node.run(&["chmod", "600", CONFIG])?.ok()?;
    let nowhere = node.run(&[PROGRAM, "setup", "--config", "/nosuch", "render"])?;
    expect(
        nowhere.code() == Some(2) && nowhere.stderr.contains("/nosuch can't be read"),
        || nowhere.text(),
    )?;
    // Nobody to ask.
    ends(node, &["install"], 1, "--yes goes on without asking")?;
    let after = epoch(node)?;
    expect(before == after, || {
        format!("the CIB's epoch was {before} and is {after}")
    })
}

/// A copy of the cluster's configuration, as a file.
const COPY: &str = "/var/lib/pgsql/cib.xml";

/// What apply would do with [`COPY`].
fn dry_run(node: &Node) -> Result<String> {
    let line = [PROGRAM, "setup", "--config", CONFIG, "apply", "--dry-run"];
    let output = node.command(&line)?.env("CIB_file", COPY).run()?;
    expect(output.success(), || output.text())?;
    Ok(output.stdout)
}

/// Loads a rendered configuration into a fresh copy, with the tool that it is for, and has Pacemaker check it.
fn load(node: &Node, format: &str, text: &str) -> Result<()> {
    let file = "/var/lib/pgsql/rendered";
    node.write_file(file, text, "root", "600")?;
    node.sh(&format!("cibadmin --query >{COPY}"))?.ok()?;
    // What config.ini says nothing of is the operator's to set.
    for property in [
        "stonith-enabled --update false",
        "no-quorum-policy --update stop",
    ] {
        node.sh(&format!("CIB_file={COPY} crm_attribute --name {property}"))?
            .ok()?;
    }
    let tool = match format {
        // The script works on a copy of its own, and would push that to the cluster at its end.
        "pcs" => format!(
            "cd /var/lib/pgsql && sed -e '/^pcs cluster cib pgsql_cfg$/d' -e '/cib-push/d' {file} >script && cp {COPY} pgsql_cfg && sh script && mv pgsql_cfg {COPY}"
        ),
        "crmsh" => format!("CIB_file={COPY} crm --force configure load update {file}"),
        _ => format!("CIB_file={COPY} cibadmin -M -o configuration -x {file}"),
    };
    node.sh(&tool)?.ok()?;
    node.run(&["crm_verify", "--verbose", "--xml-file", COPY])?
        .ok()
        .map(drop)
}

fn formats(node: &Node) -> Result<()> {
    // The agent must find its files, or apply refuses for another reason.
    node.write_file("/var/lib/pgsql/pgpass", "", "postgres", "600")?;
    node.sh(&format!(
        "sed -i s,/etc/expgsql/pgpass,/var/lib/pgsql/pgpass, {CONFIG}"
    ))?
    .ok()?;
    // As it is, and with what is optional.
    for more in [
        "",
        "gateway_ip=\"10.77.0.1 10.77.0.2\"\nreader_on_primary=false\n",
    ] {
        node.sh(&format!("printf '{more}' >>{CONFIG}"))?.ok()?;
        for format in ["pcs", "crmsh", "xml"] {
            let text = ends(node, &["render", "--format", format], 0, "msPostgresql")?.stdout;
            load(node, format, &text)?;
            let left = dry_run(node)?;
            expect(left.starts_with("Nothing to do"), || {
                format!("{format}: {left}")
            })?;
        }
    }
    Ok(())
}

/// The files of pcs-templates, as templates of the operator's own.
fn templates(node: &Node, good: &str) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcs-templates");
    // A template leaves out nothing that config.ini sets, and the shipped ones have no names for these.
    let good = good
        .replace("/etc/expgsql/pgpass", "/var/lib/pgsql/pgpass")
        .replace("monitor_interval=4\n", "");
    for (suffix, format) in [("pcs", "pcs"), ("crm", "crmsh"), ("xml", "xml")] {
        for shape in ["dual", "multi"] {
            let name = format!("{shape}.{suffix}");
            let text = std::fs::read_to_string(dir.join(&name))
                .map_err(|error| wrong(format!("{name}: {error}")))?;
            node.write_file(&format!("/etc/postgresql/{name}"), text, "root", "644")?;
            let own = good.replace(
                "pcs_template=muti.pcs.template",
                &format!("pcs_template=./{name}"),
            );
            // Three nodes for multi; for dual two of them, with a lock service that nobody asks here.
            let own = match shape {
                "dual" => {
                    own.replace("node3=node3\n", "")
                        + "pgsql_distlock_conninfo='host=lock user=u dbname=d'\npgsql_distlock_lockname=x\n"
                }
                _ => own,
            };
            write(node, &own)?;
            let rendered = ends(node, &["render"], 0, RESOURCE)?.stdout;
            load(node, format, &rendered)?;
            ends(
                node,
                &["apply", "--yes"],
                100,
                "only its own tool understands",
            )?;
            if shape == "multi" {
                write(node, &good)?;
                let left = dry_run(node)?;
                expect(left.starts_with("Nothing to do"), || {
                    format!("{name}: {left}")
                })?;
                write(node, &own.replace("vip_nic=eth0\n", ""))?;
                ends(node, &["render"], 2, &format!("{name}:"))?;
                ends(node, &["render"], 2, "vip_nic has no value")?;
            }
        }
    }
    Ok(())
}

fn check_before(lab: &Cluster, node: &Node) -> Result<()> {
    let output = ends(node, &["check"], 0, "no errors")?;
    expect(
        output
            .stdout
            .contains("node2 node3  the agent is not installed"),
        || output.text(),
    )?;
    for other in lab.nodes().iter().skip(1) {
        let left = other.run(&["ls", "/var/lib/expgsql-check"])?;
        expect(!left.success(), || {
            format!("check has left something on {}", other.name())
        })?;
    }
    let json = ends(node, &["check", "--json"], 0, "\"severity\": \"todo\"")?.stdout;
    expect(json.trim_start().starts_with('['), || json.clone())?;
    // Something wrong on one node only.
    let other = lab.nodes().last().ok_or_else(|| wrong("no nodes"))?;
    let conf = lab.layout().config.display().to_string();
    other
        .sh(&format!("echo \"listen_addresses = 'localhost'\" >>{conf}"))?
        .ok()?;
    ends(
        node,
        &["check", "--node", other.name()],
        1,
        "no standby can connect",
    )?;
    other.sh(&format!("sed -i '$d' {conf}"))?.ok()?;
    ends(
        node,
        &["apply", "--yes"],
        1,
        "expgsql setup install puts it on every node",
    )
    .map(drop)
}

fn install(lab: &Cluster, node: &Node) -> Result<()> {
    ends(
        node,
        &["install", "--node", "nosuch", "--yes"],
        100,
        "names no node \"nosuch\"",
    )?;
    let output = ends(node, &["install", "--yes"], 0, "which it does not have")?;
    expect(output.stdout.contains("node3: done"), || output.text())?;
    ends(node, &["install"], 0, "Nothing to do")?;
    for other in lab.nodes() {
        let about = other
            .run(&["stat", "-c", "%a %U", "/etc/expgsql/pgpass"])?
            .ok()?;
        expect(about.trim() == "600 postgres", || about.clone())?;
        let link = other.run(&["/usr/local/sbin/cls_repair_slave", "--help"])?;
        expect(link.success(), || link.text())?;
    }
    let output = ends(node, &["check"], 0, "no errors")?;
    // The lab's servers have none, which costs them time.
    let mut warnings = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("warning"));
    expect(
        warnings.all(|line| line.contains("no data checksums")),
        || output.text(),
    )?;
    // A file of somebody else's is not overwritten.
    node.sh("echo 'x:1:y:z:w' >/etc/expgsql/pgpass")?.ok()?;
    ends(
        node,
        &["install", "--yes"],
        100,
        "was not made by this program",
    )?;
    ends(node, &["check"], 1, "has other passwords than config.ini")?;
    node.run(&["rm", "/etc/expgsql/pgpass"])?.ok()?;
    ends(node, &["install", "--yes"], 0, "node1: done").map(drop)
}

/// What an operator may have had in the cluster before.
fn stranger(node: &Node) -> Result<()> {
    for line in [
        "resource create backup ocf:pacemaker:Dummy op monitor interval=60s",
        "constraint location backup prefers node3=50",
        "property set cluster-recheck-interval=7min",
        "resource defaults update resource-stickiness=2",
    ] {
        let words: Vec<&str> = ["pcs"].into_iter().chain(line.split_whitespace()).collect();
        node.run(&words)?.ok()?;
    }
    Ok(())
}

fn stranger_is_there(node: &Node) -> Result<()> {
    let cib = node.run(&["cibadmin", "--query"])?.ok()?;
    for part in [
        "id=\"backup\"",
        "location-backup-node3-50",
        "value=\"7min\"",
        "name=\"resource-stickiness\" value=\"2\"",
    ] {
        expect(cib.contains(part), || format!("{part} is gone"))?;
    }
    Ok(())
}

fn apply(lab: &Cluster, node: &Node) -> Result<()> {
    let before = epoch(node)?;
    ends(node, &["apply", "--dry-run"], 0, "add the resource pgsql")?;
    ends(node, &["apply"], 1, "--yes goes on without asking")?;
    let after = epoch(node)?;
    expect(before == after, || {
        "something was written without a yes".to_owned()
    })?;
    ends(node, &["apply", "--yes"], 0, "Done")?;
    lab.wait_healthy(LIMIT)?;
    stranger_is_there(node)
}

fn nothing_to_do(node: &Node) -> Result<()> {
    writes_nothing(node, || {
        ends(node, &["apply", "--yes"], 0, "Nothing to do").map(drop)
    })?;
    let verified = node.run(&["crm_verify", "--live-check", "--verbose"])?;
    expect(
        verified.success() && verified.text().trim().is_empty(),
        || verified.text(),
    )
}

/// The command leaves the CIB's version as it is. The agent, too, writes there now and then; a command that did would do so
/// every time.
fn writes_nothing(node: &Node, act: impl Fn() -> Result<()>) -> Result<()> {
    let mut versions = Vec::new();
    for _ in 0..5 {
        let before = epoch(node)?;
        act()?;
        let after = epoch(node)?;
        if before == after {
            return Ok(());
        }
        versions.push(format!("{before} became {after}"));
    }
    Err(wrong(format!("it was written each time: {versions:?}")))
}

fn epoch(node: &Node) -> Result<String> {
    let cib = node.run(&["cibadmin", "--query"])?.ok()?;
    let value = |name: &str| {
        cib.split(&format!(" {name}=\""))
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("?")
            .to_owned()
    };
    Ok(format!("{}.{}", value("admin_epoch"), value("epoch")))
}

fn no_secret(lab: &Cluster, node: &Node) -> Result<()> {
    let cib = node.run(&["cibadmin", "--query"])?.ok()?;
    let rendered = setup(node, &["render"])?.text();
    for text in [cib, rendered] {
        expect(!text.contains("p#ss"), || {
            "the password is in it".to_owned()
        })?;
    }
    for other in lab.nodes() {
        // A command line with the password in it would be in a log by now, or in a process list.
        let found = other.sh(
            "grep -rls 'p[#]ss' /var/log /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null",
        )?;
        expect(found.stdout.trim().is_empty(), || found.text())?;
    }
    Ok(())
}

fn drift(node: &Node, config: &str) -> Result<()> {
    let resource = ["crm_resource", "--resource", RESOURCE];
    node.run(
        &[
            &resource[..],
            &[
                "--set-parameter",
                "stop_escalate",
                "--parameter-value",
                "77",
            ],
        ]
        .concat(),
    )?
    .ok()?;
    write(node, &(config.to_owned() + "pgsql_query_timeout=9\n"))?;
    let output = ends(node, &["apply", "--yes"], 0, "set query_timeout=9")?;
    expect(output.stdout.contains("stop_escalate=77 stays"), || {
        output.text()
    })?;
    expect(
        output
            .stdout
            .lines()
            .filter(|line| line.starts_with("  "))
            .count()
            == 1,
        || output.text(),
    )?;
    write(
        node,
        &(config.to_owned() + "pgsql_query_timeout=\npgsql_stop_escalate=\n"),
    )?;
    let output = ends(node, &["apply", "--yes"], 0, "remove query_timeout")?;
    expect(output.stdout.contains("remove stop_escalate"), || {
        output.text()
    })?;
    // The reader's address may go and come back.
    write(node, &config.replace("reader_vip=", "#reader_vip="))?;
    ends(
        node,
        &["apply", "--yes"],
        0,
        &format!("remove the resource {READER}"),
    )?;
    write(node, config)?;
    ends(
        node,
        &["apply", "--yes"],
        0,
        &format!("add the resource {READER}"),
    )?;
    nothing_to_do(node)
}

fn node_off(lab: &Cluster, node: &Node) -> Result<()> {
    let standbys = lab.standbys()?;
    let off = standbys
        .into_iter()
        .find(|standby| standby.name() != node.name())
        .ok_or_else(|| wrong("no standby"))?;
    lab.power_off(off)?;
    ends(node, &["check"], 1, "it does not answer by ssh")?;
    ends(node, &["install", "--yes"], 1, "nothing was done")?;
    lab.power_on(off)?;
    lab.wait_healthy(LIMIT)
}

fn no_quorum(lab: &Cluster, node: &Node, config: &str) -> Result<()> {
    write(
        node,
        &config.replace("monitor_interval=4", "monitor_interval=5"),
    )?;
    lab.isolate(node)?;
    let noticed = lab.eventually("the node has no quorum", LIMIT, |lab| {
        match lab.status_on(node) {
            Ok(status) if !status.quorum => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    let refused = noticed.and_then(|()| {
        ends(node, &["apply", "--yes"], 102, "no quorum")?;
        ends(node, &["erase", "--yes"], 102, "no quorum")
    });
    lab.heal()?;
    refused?;
    lab.wait_healthy(LIMIT)?;
    // The agent itself writes to the CIB meanwhile, so its version says nothing.
    let left = dry_run(node)?;
    expect(left.contains("operation monitor: interval"), || {
        format!("what was refused is there all the same: {left}")
    })?;
    write(node, config)
}

fn erase(node: &Node) -> Result<()> {
    writes_nothing(node, || {
        ends(node, &["erase"], 1, "--yes goes on without asking").map(drop)
    })?;
    ends(node, &["erase", "--yes"], 0, "Done")?;
    let cib = node
        .run(&["cibadmin", "--query", "--scope=configuration"])?
        .ok()?;
    for id in [RESOURCE, "msPostgresql", WRITER, READER] {
        expect(!cib.contains(&format!("id=\"{id}\"")), || {
            format!("{id} is still there")
        })?;
    }
    stranger_is_there(node)?;
    ends(node, &["erase", "--yes"], 0, "Nothing to do").map(drop)
}
