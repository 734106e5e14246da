//! Elements of Pacemaker's documents.

use roxmltree::Node;

pub(crate) fn required<'a>(element: Node<'a, '_>, attribute: &str) -> Result<&'a str, String> {
    element
        .attribute(attribute)
        .ok_or_else(|| format!("<{}> has no {attribute}", element.tag_name().name()))
}

pub(crate) fn child<'a, 'i>(element: Node<'a, 'i>, tag: &str) -> Option<Node<'a, 'i>> {
    element.children().find(|node| node.has_tag_name(tag))
}

pub(crate) fn children<'a, 'i>(
    element: Option<Node<'a, 'i>>,
    tag: &str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    element
        .into_iter()
        .flat_map(|element| element.children())
        .filter(move |node| node.has_tag_name(tag))
}

/// The element that `id-ref` refers to; the element itself without one, or where nothing has that id.
pub(crate) fn referred<'a, 'i>(element: Node<'a, 'i>) -> Node<'a, 'i> {
    let Some(id) = element.attribute("id-ref") else {
        return element;
    };
    element
        .document()
        .descendants()
        .find(|other| other.attribute("id") == Some(id) && other.tag_name() == element.tag_name())
        .unwrap_or(element)
}
