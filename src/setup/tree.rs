//! XML that can be changed: a configuration is read, a few elements of it are replaced, and everything else is written as it
//! was.

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use roxmltree::{Document, Node};

/// An element with all that is in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) tag: String,
    /// In the order of the text.
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Tree>,
    /// What stands between the tags; the CIB has such text only in old access lists.
    text: Option<String>,
}

impl Tree {
    pub(crate) fn new(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            attributes: Vec::new(),
            children: Vec::new(),
            text: None,
        }
    }

    /// Reads a document. Comments are left out.
    ///
    /// # Errors
    /// What the parser says.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document = Document::parse(text).map_err(|error| error.to_string())?;
        Ok(Self::of(document.root_element()))
    }

    fn of(node: Node<'_, '_>) -> Self {
        let name = |prefix: Option<&str>, name: &str| match prefix {
            Some("http://www.w3.org/XML/1998/namespace") => format!("xml:{name}"),
            Some(_) | None => name.to_owned(),
        };
        Self {
            tag: node.tag_name().name().to_owned(),
            attributes: node
                .attributes()
                .map(|a| (name(a.namespace(), a.name()), a.value().to_owned()))
                .collect(),
            children: node
                .children()
                .filter(Node::is_element)
                .map(Self::of)
                .collect(),
            text: node
                .children()
                .filter(Node::is_text)
                .filter_map(|n| n.text())
                .find(|text| !text.trim().is_empty())
                .map(str::to_owned),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    #[must_use]
    pub(crate) fn holding(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn id(&self) -> &str {
        self.get("id").unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.attributes.retain(|(n, _)| n != name);
    }

    /// The first child with this tag.
    pub(crate) fn child(&self, tag: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.tag == tag)
    }

    pub(crate) fn children_named<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.tag == tag)
    }

    /// The first child with this tag, made at the end where there is none.
    pub(crate) fn child_mut(&mut self, tag: &str) -> &mut Self {
        let at = match self.children.iter().position(|child| child.tag == tag) {
            Some(at) => at,
            None => {
                self.children.push(Self::new(tag));
                self.children.len() - 1
            }
        };
        &mut self.children[at]
    }

    /// This element and all in it.
    pub(crate) fn all(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        Box::new(std::iter::once(self).chain(self.children.iter().flat_map(Self::all)))
    }

    /// The element with this id, and its place: indices from the outside inwards.
    pub(crate) fn find(&self, is_it: &dyn Fn(&Self) -> bool) -> Option<&Self> {
        self.all().find(|element| is_it(element))
    }

    pub(crate) fn find_mut(&mut self, is_it: &dyn Fn(&Self) -> bool) -> Option<&mut Self> {
        if is_it(self) {
            return Some(self);
        }
        self.children
            .iter_mut()
            .find_map(|child| child.find_mut(is_it))
    }

    /// Takes out all elements that are it, at any depth.
    pub(crate) fn remove(&mut self, is_it: &dyn Fn(&Self) -> bool) {
        self.children.retain(|child| !is_it(child));
        for child in &mut self.children {
            child.remove(is_it);
        }
    }

    /// As text, each element on a line of its own, without a declaration.
    pub(crate) fn to_text(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        // Writing to memory can't fail.
        let _infallible = self.write(&mut writer);
        String::from_utf8_lossy(&writer.into_inner()).into_owned() + "\n"
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(&self.tag);
        start.extend_attributes(
            self.attributes
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str())),
        );
        if self.children.is_empty() && self.text.is_none() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if let Some(text) = &self.text {
            writer.write_event(Event::Text(BytesText::new(text)))?;
        }
        for child in &self.children {
            child.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(&self.tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_is_written_as_it_was_read() {
        let text = include_str!("../../tests/fixtures/cib/three-nodes-expgsql-2.1.5.xml");
        let tree = Tree::parse(text).unwrap();
        assert!(Tree::parse(&tree.to_text()).unwrap() == tree);
        let odd = "<a x=\"1 &lt; &quot;2&quot;\"><b>some text</b><c xml:id=\"x\"/></a>";
        let tree = Tree::parse(odd).unwrap();
        assert_eq!(tree.get("x"), Some("1 < \"2\""));
        assert!(tree.to_text().contains("some text"), "{}", tree.to_text());
        assert!(Tree::parse(&tree.to_text()).unwrap() == tree);
    }

    #[test]
    fn elements_are_found_and_removed_at_any_depth() {
        let mut tree = Tree::parse("<a><b id='1'><c id='2'/></b><c id='3'/></a>").unwrap();
        assert!(tree.find(&|e| e.id() == "2").is_some());
        tree.remove(&|e| e.tag == "c");
        assert_eq!(tree.all().count(), 2);
    }
}
