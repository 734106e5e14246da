//! XML for cibadmin: elements that can be merged, and XPath literals.

use std::borrow::Cow;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, Event};

/// An XML element, so that changes in one set end up in one element.
#[derive(Debug)]
pub(crate) struct Element {
    tag: &'static str,
    attributes: Vec<(Cow<'static, str>, String)>,
    children: Vec<Element>,
}

impl Element {
    pub(crate) fn new(tag: &'static str) -> Self {
        Self {
            tag,
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: impl Into<Cow<'static, str>>, value: &str) -> Self {
        self.attributes.push((name.into(), value.to_owned()));
        self
    }

    pub(crate) fn holding(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Adds `child`, or its children where an element with the same tag and attributes is here already.
    pub(crate) fn merge(&mut self, child: Self) {
        let same = self
            .children
            .iter_mut()
            .find(|it| it.tag == child.tag && it.attributes == child.attributes);
        match same {
            Some(same) => child
                .children
                .into_iter()
                .for_each(|grandchild| same.merge(grandchild)),
            None => self.children.push(child),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// As text, with values escaped.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        // Writing to memory cannot fail.
        let _infallible = self.write(&mut writer);
        writer.into_inner()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.tag);
        // Escapes the values.
        start.extend_attributes(
            self.attributes
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_str())),
        );
        if self.children.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        for child in &self.children {
            child.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.tag)))
    }
}

/// Text as an XPath literal, which has no escapes: `None` where it has both kinds of quotes.
pub(crate) fn xpath_literal(text: &str) -> Option<String> {
    match (text.contains('\''), text.contains('"')) {
        (false, _) => Some(format!("'{text}'")),
        (true, false) => Some(format!("\"{text}\"")),
        (true, true) => None,
    }
}
