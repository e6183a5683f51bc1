//! XML, read with bounds and without entities of its own: a document type declaration may name its DTD, which is not
//! fetched, and may declare nothing.

use std::collections::BTreeMap;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};

use super::MaterialError;
use crate::{digest::shorten, limits};

/// The name of the root element, whatever follows it; `None` when none begins in the first bytes.
pub(super) fn root(text: &str) -> Option<String> {
    const LOOKED_AT: usize = 64 * 1024;
    let end = (0..=LOOKED_AT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut reader = Reader::from_str(text.get(..end)?.trim_start_matches('\u{feff}'));
    loop {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => return Some(start.local_name().as_ref().to_owned()),
            Ok(Event::Text(text)) if !text.trim().is_empty() => return None,
            Ok(Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::Text(_) | Event::DocType(_)) => {}
            _ => return None,
        }
    }
}

/// The attributes of an element.
pub(super) type Attributes = BTreeMap<String, String>;

/// What is told of a document while it is read. Names are without their prefixes.
pub(super) trait Visit {
    /// An element begins.
    fn open(&mut self, name: &str, attributes: Attributes) -> Result<(), MaterialError>;
    /// Text of the innermost open element; it may come in pieces.
    fn text(&mut self, text: &str);
    /// The innermost open element ends.
    fn close(&mut self);
}

/// What the documents of one material may hold together.
#[derive(Default)]
pub(super) struct Budget {
    nodes: usize,
    unbounded: bool,
}

impl Budget {
    /// For readers that keep nothing of most elements: the number of bytes is bound enough.
    pub(super) const fn streaming() -> Self {
        Self { nodes: 0, unbounded: true }
    }
}

/// Reads a document and tells a visitor. What the visitor has seen counts only when all is well.
///
/// # Errors
/// When it is not well-formed, nests deeper than [`limits::DOCUMENT_DEPTH`], has more elements and attributes than
/// [`limits::XML_NODES`], declares anything in a document type declaration, or uses an entity that XML does not
/// predefine. With the line, and without anything having been expanded.
pub(super) fn walk(bytes: &[u8], budget: &mut Budget, visit: &mut impl Visit) -> Result<(), MaterialError> {
    let text = super::tabular::decode(bytes)
        .ok_or_else(|| MaterialError::malformed("it is not well-formed XML: only UTF-8 and UTF-16 are read"))?;
    let mut reader = Reader::from_str(&text);
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        let event = reader.read_event();
        let at = |message: &dyn std::fmt::Display| {
            let read = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).min(text.len());
            let line = text.as_bytes().get(..read).unwrap_or_default().iter().filter(|b| **b == b'\n').count() + 1;
            MaterialError::malformed(format!(
                "it is not well-formed XML at line {line}: {}",
                shorten(&message.to_string())
            ))
        };
        let event = event.map_err(|error| {
            let cut = error.to_string().contains("end of input");
            let error = at(&error);
            if cut { error.mend("the file may be cut off: make it again") } else { error }
        });
        match event? {
            Event::Start(start) => {
                depth += 1;
                if depth > limits::DOCUMENT_DEPTH {
                    return Err(at(&format!("elements nest deeper than {}", limits::DOCUMENT_DEPTH)));
                }
                roots += usize::from(depth == 1);
                let attributes = attributes(&start, budget).map_err(|message| at(&message))?;
                visit.open(start.local_name().as_ref(), attributes)?;
            }
            Event::Empty(start) => {
                roots += usize::from(depth == 0);
                let attributes = attributes(&start, budget).map_err(|message| at(&message))?;
                visit.open(start.local_name().as_ref(), attributes)?;
                visit.close();
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                visit.close();
            }
            Event::Text(text) => visit.text(&text.xml10_content()),
            Event::CData(text) => visit.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| at(&error))?;
                match (character, resolve_xml_entity(&reference)) {
                    (Some(character), _) => visit.text(character.encode_utf8(&mut [0; 4])),
                    (None, Some(text)) => visit.text(text),
                    (None, None) => return Err(at(&"it uses an entity that XML does not predefine")),
                }
            }
            // A declaration with brackets declares something; one without names a DTD, which nobody fetches.
            Event::DocType(declaration) if declaration.contains('[') => {
                return Err(at(&"its document type declares entities or elements of its own, which are not read"));
            }
            Event::DocType(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if depth > 0 => {
                return Err(at(&"it ends before its elements do").mend("the file may be cut off: make it again"));
            }
            Event::Eof => break,
        }
        if roots > 1 {
            return Err(at(&"it has more than one root element"));
        }
    }
    Ok(())
}

fn attributes(start: &BytesStart<'_>, budget: &mut Budget) -> Result<Attributes, String> {
    let mut attributes = Attributes::new();
    budget.nodes += 1;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        attributes.insert(attribute.key.local_name().as_ref().to_owned(), value.into_owned());
        budget.nodes += 1;
        // Each attribute is compared with those before it.
        if attributes.len() > limits::XML_ATTRIBUTES {
            return Err(format!("an element has more than {} attributes", limits::XML_ATTRIBUTES));
        }
    }
    if budget.nodes > limits::XML_NODES && !budget.unbounded {
        return Err(format!("it has more than {} elements and attributes", limits::XML_NODES));
    }
    Ok(attributes)
}

/// An element with what is in it. Its text is without that of the elements inside.
#[derive(Default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) attributes: Attributes,
    pub(super) text: String,
    pub(super) nodes: Vec<Node>,
}

impl Node {
    pub(super) fn take(&mut self, attribute: &str) -> String {
        self.attributes.remove(attribute).unwrap_or_default()
    }
}

/// Reads a whole document into memory: its root element.
///
/// # Errors
/// As [`walk`].
pub(super) fn tree(bytes: &[u8], budget: &mut Budget) -> Result<Option<Node>, MaterialError> {
    let mut open = Tree(vec![Node::default()]);
    walk(bytes, budget, &mut open)?;
    Ok(open.0.pop().and_then(|document| document.nodes.into_iter().next()))
}

/// The elements that are open; the first holds the document itself.
struct Tree(Vec<Node>);

impl Visit for Tree {
    fn open(&mut self, name: &str, attributes: Attributes) -> Result<(), MaterialError> {
        self.0.push(Node { name: name.to_owned(), attributes, ..Node::default() });
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(innermost) = self.0.last_mut() {
            innermost.text.push_str(text);
        }
    }

    fn close(&mut self) {
        let closed = self.0.pop();
        if let (Some(closed), Some(parent)) = (closed, self.0.last_mut()) {
            parent.nodes.push(closed);
        }
    }
}
