//! The XML that tells Pacemaker, pcs and crmsh what this agent is.

use std::io;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::ocf::action::{ACTIONS, ActionSpec};
use crate::params::{PARAMS, Param};

/// OCF 1.1 metadata is checked with the document type of OCF 1.0, by ocf-tester among others: Pacemaker calls
/// `reload-agent` only for metadata of 1.1, but that document type has neither the action nor `reloadable`. What it
/// lacks is declared here, where a declaration precedes the one in the file.
///
/// Source: ra-api-1.dtd of resource-agents 4.12; a test has xmllint check the result.
const DOCUMENT_TYPE: &str = r#"resource-agent SYSTEM "ra-api-1.dtd" [
  <!ATTLIST parameter reloadable CDATA #IMPLIED>
  <!ATTLIST action name CDATA #REQUIRED>
]"#;

/// What the agent is, in a line.
pub const SHORT: &str = "PostgreSQL with streaming replication and failover";

/// What the agent is, in paragraphs.
pub const LONG: &str = "Runs PostgreSQL 12 or newer: a single server, a standby of a server elsewhere, or (as a promotable clone) a \
    primary and its standbys, of which one takes over when the primary fails.\n\n\
    With rep_mode=sync a commit that a client saw acknowledged survives every automatic action of the cluster.\n\n\
    Parameters and node attributes have the names that the agents pgsql and pha4pgsql's expgsql gave them.";

/// The metadata, ending in a line break.
///
/// # Errors
/// None in practice: it writes to memory.
pub fn render() -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.write_event(Event::DocType(BytesText::from_escaped(DOCUMENT_TYPE)))?;
    writer
        .create_element("resource-agent")
        .with_attributes([("name", "expgsql"), ("version", env!("CARGO_PKG_VERSION"))])
        .write_inner_content(agent)?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(io::Error::other)
}

type Xml = Writer<Vec<u8>>;

fn agent(writer: &mut Xml) -> io::Result<()> {
    writer
        .create_element("version")
        .write_text_content(BytesText::new("1.1"))?;
    described(writer, LONG, SHORT)?;
    writer
        .create_element("parameters")
        .write_inner_content(|writer| {
            PARAMS.iter().try_for_each(|param| parameter(writer, param))
        })?;
    writer
        .create_element("actions")
        .write_inner_content(|writer| ACTIONS.iter().try_for_each(|spec| action(writer, spec)))?;
    Ok(())
}

fn parameter(writer: &mut Xml, param: &Param) -> io::Result<()> {
    let reloadable = if param.reloadable { "1" } else { "0" };
    writer
        .create_element("parameter")
        .with_attributes([
            ("name", param.name),
            ("required", "0"),
            ("reloadable", reloadable),
        ])
        .write_inner_content(|writer| {
            described(writer, param.long, param.short)?;
            let content = writer
                .create_element("content")
                .with_attribute(("type", param.kind.ocf_type()));
            match param.default {
                Some(default) => content.with_attribute(("default", default)).write_empty(),
                None => content.write_empty(),
            }?;
            Ok(())
        })?;
    Ok(())
}

fn described(writer: &mut Xml, long: &str, short: &str) -> io::Result<()> {
    for (element, text) in [("longdesc", long), ("shortdesc", short)] {
        writer
            .create_element(element)
            .with_attribute(("lang", "en"))
            .write_text_content(BytesText::new(text))?;
    }
    Ok(())
}

fn action(writer: &mut Xml, spec: &ActionSpec) -> io::Result<()> {
    let attributes = [
        ("name", Some(spec.action.to_string())),
        ("timeout", Some(in_seconds(spec.timeout))),
        ("interval", spec.interval.map(in_seconds)),
        ("depth", spec.depth.map(|depth| depth.to_string())),
        ("role", spec.role.map(|role| role.to_string())),
    ];
    let mut element = writer.create_element("action");
    for (name, value) in &attributes {
        if let Some(value) = value {
            element = element.with_attribute((*name, value.as_str()));
        }
    }
    element.write_empty()?;
    Ok(())
}

fn in_seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::render;
    use crate::ocf::action::ACTIONS;
    use crate::params::PARAMS;

    #[test]
    fn every_table_entry_comes_back_from_the_xml_unchanged() {
        let text = render().unwrap();
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(&text, options).unwrap();
        let named = |name| {
            document
                .descendants()
                .filter(move |node| node.has_tag_name(name))
        };
        let parameters: Vec<_> = named("parameter").collect();
        assert_eq!(parameters.len(), PARAMS.len());
        for (node, param) in parameters.into_iter().zip(PARAMS) {
            let child = |name| {
                node.children()
                    .find(|child| child.has_tag_name(name))
                    .unwrap()
            };
            assert_eq!(node.attribute("name"), Some(param.name));
            assert_eq!(
                node.attribute("reloadable") == Some("1"),
                param.reloadable,
                "{}",
                param.name
            );
            assert_eq!(
                child("content").attribute("default"),
                param.default,
                "{}",
                param.name
            );
            assert_eq!(child("longdesc").text(), Some(param.long));
            assert_eq!(child("shortdesc").text(), Some(param.short));
        }
        let actions: Vec<_> = named("action")
            .filter_map(|node| node.attribute("name"))
            .collect();
        let expected: Vec<_> = ACTIONS.iter().map(|spec| spec.action.to_string()).collect();
        assert_eq!(actions, expected);
    }
}
