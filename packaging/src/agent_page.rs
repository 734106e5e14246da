//! `man ocf_heartbeat_expgsql`, where an administrator looks for a resource agent's parameters.

use expgsql::ocf::action::ACTIONS;
use expgsql::params::PARAMS;
use roff::{Roff, bold, italic, roman};

/// Named as the pages of resource-agents are.
pub(crate) const FILE: &str = "ocf_heartbeat_expgsql.7";

/// The page.
pub(crate) fn render() -> Vec<u8> {
    let mut page = Roff::new();
    let source = format!("expgsql {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["OCF_HEARTBEAT_EXPGSQL", "7", "", &source]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!(
        "ocf_heartbeat_expgsql - {}",
        expgsql::metadata::SHORT
    ))]);
    page.control("SH", ["SYNOPSIS"]);
    let actions: Vec<String> = ACTIONS.iter().map(|spec| spec.action.to_string()).collect();
    let mut unique = actions;
    unique.dedup();
    page.text([
        bold("/usr/lib/ocf/resource.d/heartbeat/expgsql"),
        roman(format!(" [{}]", unique.join(" | "))),
    ]);
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, expgsql::metadata::LONG, "PP");
    page.control("SH", ["SUPPORTED PARAMETERS"]);
    for param in PARAMS {
        page.control("TP", []);
        page.text([bold(param.name)]);
        paragraphs(&mut page, param.long, "IP");
        page.control("IP", []);
        let mut facts = vec![
            roman("("),
            italic(param.kind.to_string()),
            roman(match param.default {
                Some(default) => format!(", default \"{default}\""),
                None => ", no default".to_owned(),
            }),
        ];
        if param.reloadable {
            facts.push(roman(", changes without a restart"));
        }
        facts.push(roman(")"));
        page.text(facts);
    }
    page.control("SH", ["SUPPORTED ACTIONS"]);
    for spec in ACTIONS {
        page.control("TP", []);
        let role = spec
            .role
            .map_or_else(String::new, |role| format!(", role {role}"));
        let interval = spec.interval.map_or_else(String::new, |interval| {
            format!(", interval {}s", interval.as_secs())
        });
        page.text([
            bold(spec.action.to_string()),
            roman(format!(
                " (suggested minimum timeout {}s{interval}{role})",
                spec.timeout.as_secs()
            )),
        ]);
        page.text([roman(spec.action.summary())]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("expgsql"),
        roman("(8), "),
        bold("expgsql-cluster"),
        roman("(8), "),
        bold("crm_mon"),
        roman("(8)"),
    ]);
    page.render().into_bytes()
}

/// `between`: the request that begins the next one.
fn paragraphs(page: &mut Roff, text: &str, between: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            page.control(between, []);
        }
        page.text([roman(paragraph)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_on_the_page() {
        let text = String::from_utf8(render()).unwrap();
        for param in PARAMS {
            assert!(text.contains(param.name), "{}", param.name);
        }
    }
}
