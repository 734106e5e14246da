//! The files in pcs-templates/: what this program renders for names in the place of values, so that they can't differ from what
//! it does.

use super::config::{Shape, Tuning};
use super::plan::{Plan, Values};
use super::render::{self, Format, Quoting};
use crate::setup::parts::RESOURCE;

/// The template for a shape, in a format. Its names are keys of config.ini.
pub(crate) fn template(shape: Shape, format: Format) -> String {
    let plan = Plan::new(&values(shape));
    render::render(&plan, format, Quoting::Names)
}

fn name(key: &str) -> String {
    format!("${{{key}}}")
}

fn values(shape: Shape) -> Values {
    let nodes = match shape {
        Shape::Dual => "${node1} ${node2}",
        Shape::Multi => "${node1} ${node2} ${node3}",
    };
    let mut params = vec![
        ("pgctl", name("pgsql_pgctl")),
        ("psql", name("pgsql_psql")),
        ("pgdata", name("pgsql_pgdata")),
        ("pgport", name("pgsql_pgport")),
        ("rep_mode", name("pgsql_rep_mode")),
        ("node_list", nodes.to_owned()),
        ("master_ip", name("writer_vip")),
        ("repuser", name("pgsql_repuser")),
        ("primary_conninfo_opt", name("pgsql_primary_conninfo_opt")),
        ("passfile", name("pgsql_passfile")),
    ];
    if shape == Shape::Dual {
        params.extend([
            // This template is for a cluster with a lock: what it does without quorum goes with nothing else.
            ("enable_distlock", "true".to_owned()),
            ("distlock_conninfo", name("pgsql_distlock_conninfo")),
            ("distlock_lockname", name("pgsql_distlock_lockname")),
            ("distlock_lockservice_deadcheck_nodelist", nodes.to_owned()),
        ]);
    }
    params.push(("on_divergence", name("pgsql_on_divergence")));
    Values {
        resource: RESOURCE.to_owned(),
        shape,
        params,
        unsaid: Vec::new(),
        has_password: false,
        writer: name("writer_vip"),
        readers: vec![name("reader_vip")],
        nic: Some(name("vip_nic")),
        netmask: Some(name("vip_cidr_netmask")),
        // Not every site has one that answers.
        gateway: None,
        stonith_enabled: None,
        no_quorum_policy: None,
        tuning: Tuning::default(),
        lease: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::setup::config::{self, PARAM_PREFIX};

    fn file(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("pcs-templates")
            .join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn the_files_are_what_is_rendered() {
        for shape in Shape::iter() {
            for format in Format::iter() {
                let name = format!("{shape}.{}", format.suffix());
                assert!(
                    file(&name) == template(shape, format),
                    "pcs-templates/{name} is out of date: cargo run -- setup render --template {shape} --format FORMAT >pcs-templates/{name}"
                );
            }
        }
    }

    /// The sample with the placeholders filled in.
    fn sample(shape: Shape) -> String {
        let text = file(&format!("config.ini.{shape}"));
        assert!(
            config::read(&text).is_err(),
            "{shape}: the placeholders must be refused"
        );
        text.replace("CHANGE_ME", "abc")
    }

    #[test]
    fn the_samples_are_accepted_once_their_placeholders_are_gone_and_have_every_name_of_the_templates()
     {
        for shape in Shape::iter() {
            let text = sample(shape);
            let (site, given) =
                config::read(&text).unwrap_or_else(|problems| panic!("{shape}: {problems:?}"));
            assert_eq!(site.shape, shape);
            for format in Format::iter() {
                for part in template(shape, format).split("${").skip(1) {
                    let name = part.split('}').next().unwrap();
                    let derived = name
                        .strip_prefix(PARAM_PREFIX)
                        .is_some_and(|name| site.params.iter().any(|(n, _)| *n == name));
                    assert!(
                        derived || given.iter().any(|(key, _)| key == name),
                        "{name} of {shape}"
                    );
                }
            }
        }
    }

    /// With the lock goes what is done without quorum, which a shell can't decide.
    #[test]
    fn the_template_with_a_lock_asks_it_whatever_the_file_says() {
        let sample = sample(Shape::Dual);
        let line = "pgsql_enable_distlock=true\n";
        assert!(sample.contains(line));
        for said in [line, "", "pgsql_enable_distlock=false\n"] {
            let dir = tempfile::tempdir().unwrap();
            let text = sample.replace(line, said);
            std::fs::write(dir.path().join("config.ini"), text).unwrap();
            let script = template(Shape::Dual, Format::Pcs);
            std::fs::write(dir.path().join("dual.pcs"), script).unwrap();
            let pcs =
                "pcs() { case \"$*\" in 'cluster cib '*) echo >\"$3\";; *) echo \"$*\";; esac; }";
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("{pcs}; set -a; . ./config.ini; . ./dual.pcs"))
                .current_dir(dir.path())
                .output()
                .unwrap();
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said:?}: {output:?}");
            for part in [" no-quorum-policy=ignore\n", " enable_distlock=true "] {
                assert!(out.contains(part), "{said:?} {part}: {out}");
            }
        }
    }
}
