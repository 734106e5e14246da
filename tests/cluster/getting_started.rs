//! docs/getting-started.md, word for word: from machines without a database to a healthy cluster.

use lab::network::NET;
use lab::{Cluster, Result, Site};

use super::stage::{LIMIT, expect, expgsql};
use super::typed::{bring, follow};

pub(crate) fn three_machines_become_a_cluster_as_documented() -> Result<()> {
    // The page's own, which it makes.
    let builder = Cluster::builder().agent(expgsql()?).site(Site::Plain);
    let lab = builder.boot()?;
    bring(&lab)?;
    for node in lab.nodes() {
        // The lab's machines have a database, and the agent; the page's have not.
        let data = lab.layout().data.display().to_string();
        node.run(&[
            "rm",
            "-rf",
            &data,
            "/usr/lib/ocf/resource.d/heartbeat/expgsql",
        ])?
        .ok()?;
        // Where a person is asked for the password, libpq finds it.
        let line = format!("{NET}.1:5432:*:replication:a password of your own\n");
        node.write_file(
            "/var/lib/postgresql/.pgpass",
            line,
            "postgres:postgres",
            "600",
        )?;
    }
    lab.form()?;
    let version = format!("/usr/lib/postgresql/{}/", lab.layout().version);
    let meant = [
        ("192.0.2", NET),
        ("/usr/lib/postgresql/15/", version.as_str()),
    ];
    for heading in [
        "## The machines",
        "## The data",
        "## One file",
        "## Four commands",
    ] {
        follow(&lab, "getting-started.md", heading, &meant)?;
    }
    lab.wait_healthy(LIMIT)?;
    let status = lab.nodes()[0].run(&["expgsql", "cluster", "status"])?;
    print!("{}", status.stdout);
    expect(status.stdout.starts_with("pgsql is healthy."), || {
        status.text()
    })?;
    let secret = lab.nodes()[0].run(&["cibadmin", "--query"])?.ok()?;
    expect(!secret.contains("a password of your own"), || {
        "the password is in the CIB".into()
    })
}
