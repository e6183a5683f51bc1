//! From bytes to nodes.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{Entry, Issues, Kind, Node, Place, Scalar};
use crate::{Code, Diagnostics, digest::shorten, limits};

/// Reads a YAML or JSON document. The file's name is for the origins of findings only.
///
/// # Errors
/// Everything that is wrong with the document's form: bytes that are not UTF-8, syntax, a key that appears twice,
/// anchors, aliases, merge keys, custom tags, more than one document, and what is larger or deeper than
/// [`limits::REVISION_FILE_BYTES`], [`limits::YAML_NODES`] and [`limits::DOCUMENT_DEPTH`] allow.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Node, Diagnostics> {
    let mut issues = Issues::new(file);
    let node = parse_into(bytes, &mut issues);
    match (node, issues.finish()) {
        (Some(node), Ok(_)) => Ok(node),
        (_, Err(diagnostics)) => Err(diagnostics),
        (None, Ok(warnings)) => Err(Diagnostics(warnings)),
    }
}

/// Likewise, with other bounds on the document's bytes and values.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_bounded(bytes: &[u8], max_bytes: usize, max_nodes: usize) -> Result<Node, Diagnostics> {
    let mut issues = Issues::new("");
    let node = parse_within(bytes, max_bytes, max_nodes, &mut issues);
    match (node, issues.finish()) {
        (Some(node), Ok(_)) => Ok(node),
        (_, Err(diagnostics)) => Err(diagnostics),
        (None, Ok(warnings)) => Err(Diagnostics(warnings)),
    }
}

/// Whether a document is well-formed YAML of one or no value, anchors and tags included, within the bounds of [`parse`].
/// Nothing is kept of it, and nothing expanded.
///
/// # Errors
/// The line and reason of what is not.
pub(crate) fn check(bytes: &[u8]) -> Result<(), (usize, String)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "the document is not UTF-8 text".to_owned()))?;
    if bytes.len() > limits::REVISION_FILE_BYTES {
        return Err((1, format!("the document has more than {} bytes", limits::REVISION_FILE_BYTES)));
    }
    let mut parser = Parser::new_from_str(text);
    let (mut depth, mut nodes) = (0_usize, 0_usize);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
        nodes += 1;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::DOCUMENT_DEPTH || nodes > limits::YAML_NODES {
            return Err((span.start.line(), "the document is too deep or has too many values".to_owned()));
        }
    }
    Ok(())
}

/// Reads a document and adds what is wrong with it to the issues; `None` (always with an error) when nothing can be
/// read of it. A node comes with errors when, say, a key appears twice: then the first one counts.
pub(crate) fn parse_into(bytes: &[u8], issues: &mut Issues) -> Option<Node> {
    parse_within(bytes, limits::REVISION_FILE_BYTES, limits::YAML_NODES, issues)
}

fn parse_within(bytes: &[u8], max_bytes: usize, max_nodes: usize, issues: &mut Issues) -> Option<Node> {
    const START: Place = Place { line: 1, column: 1 };
    if bytes.len() > max_bytes {
        let message = format!("the document has {} bytes; at most {max_bytes} are read", bytes.len());
        issues.error(Code::DocumentTooLarge, START, message);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
            let place = Place { line: u32::try_from(line).unwrap_or(u32::MAX), column: 1 };
            issues.error(Code::DocumentSyntax, place, "the document is not UTF-8 text");
            return None;
        }
    };
    match Builder::new(text, max_nodes, issues).run() {
        Ok(node) => Some(node),
        Err((code, place, message)) => {
            issues.error(code, place, message);
            None
        }
    }
}

/// A mistake after which the rest of the document cannot be read.
type Fatal = (Code, Place, String);

/// A list or map that is still open.
struct Open {
    place: Place,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Place>, key: Option<(String, Place)> },
}

struct Builder<'t, 'i> {
    text: &'t str,
    issues: &'i mut Issues,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    max_nodes: usize,
}

impl<'t, 'i> Builder<'t, 'i> {
    fn new(text: &'t str, max_nodes: usize, issues: &'i mut Issues) -> Self {
        Self { text, issues, open: Vec::new(), root: None, nodes: 0, max_nodes }
    }

    fn run(mut self) -> Result<Node, Fatal> {
        // The parser is asked for one event at a time: its own loader recurses without a bound.
        let mut parser = Parser::new_from_str(self.text);
        let mut documents = 0_u32;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                (
                    Code::DocumentSyntax,
                    place_of(error.marker()),
                    format!("this is not well-formed YAML: {}", error.info()),
                )
            })?;
            let place = place_of(&span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let message = "a file holds one document; move what follows to a file of its own".to_owned();
                        return Err((Code::DocumentSyntax, place, message));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    refuse_anchor(anchor, place)?;
                    let tagged_text = match tag {
                        None => false,
                        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
                        Some(tag) => return Err(refuse_tag(&tag.to_string(), place)),
                    };
                    let plain = style == ScalarStyle::Plain && !tagged_text;
                    let begins = begins(&text, style, place);
                    self.add(Node { place, kind: Kind::Scalar(Scalar { text: text.into_owned(), plain, begins }) })?;
                }
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) if anchor > 0 || tag.is_some() => {
                    refuse_anchor(anchor, place)?;
                    let tag = tag.map(|tag| tag.to_string()).unwrap_or_default();
                    return Err(refuse_tag(&tag, place));
                }
                Event::SequenceStart(..) => self.begin(place, Content::List(Vec::new()))?,
                Event::MappingStart(..) => {
                    self.begin(place, Content::Map { entries: Vec::new(), seen: HashMap::new(), key: None })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
                Event::Alias(_) => {
                    let message = "aliases (`*name`) are not read; write the value out".to_owned();
                    return Err((Code::DocumentUnsupported, place, message));
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        match self.root {
            Some(node) if !node.is_null() => Ok(node),
            _ => Err((Code::DocumentSyntax, Place { line: 1, column: 1 }, "the document is empty".to_owned())),
        }
    }

    fn begin(&mut self, place: Place, content: Content) -> Result<(), Fatal> {
        if self.open.len() >= limits::DOCUMENT_DEPTH {
            let message = format!("the document is nested deeper than {} levels", limits::DOCUMENT_DEPTH);
            return Err((Code::DocumentTooLarge, place, message));
        }
        // A list or map in a key's place is refused when it ends; until then it only costs its nodes.
        self.open.push(Open { place, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fatal> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        self.add(Node { place: open.place, kind })
    }

    fn add(&mut self, node: Node) -> Result<(), Fatal> {
        self.nodes += 1;
        if self.nodes > self.max_nodes {
            let message = format!("the document has more than {} values", self.max_nodes);
            return Err((Code::DocumentTooLarge, node.place, message));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { key: key @ None, .. } => {
                let Kind::Scalar(scalar) = node.kind else {
                    return Err((Code::DocumentSyntax, node.place, "a key must be text".to_owned()));
                };
                if scalar.plain && scalar.text == "<<" {
                    let message = "merge keys (`<<`) are not read; write the keys out".to_owned();
                    return Err((Code::DocumentUnsupported, node.place, message));
                }
                *key = Some((scalar.text, node.place));
            }
            Content::Map { entries, seen, key } => {
                let Some((name, place)) = key.take() else { return Ok(()) };
                if let Some(first) = seen.get(&name) {
                    let message = format!("key `{}` appears twice, first on line {}", shorten(&name), first.line);
                    self.issues.error(Code::DocumentDuplicate, place, message);
                    return Ok(());
                }
                seen.insert(name.clone(), place);
                entries.push(Entry { key: name, place, value: node });
            }
        }
        Ok(())
    }
}

/// Where the first character of a scalar's text stands in the file.
fn begins(text: &str, style: ScalarStyle, place: Place) -> Place {
    match style {
        ScalarStyle::Plain => place,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
            Place { line: place.line, column: place.column.saturating_add(1) }
        }
        // The parser points at the first line that is not blank; blank ones above it are part of the text.
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let blank = text.chars().take_while(|c| *c == '\n').count();
            Place { line: place.line.saturating_sub(u32::try_from(blank).unwrap_or(0)).max(1), column: place.column }
        }
    }
}

fn refuse_anchor(anchor: usize, place: Place) -> Result<(), Fatal> {
    if anchor == 0 {
        return Ok(());
    }
    Err((Code::DocumentUnsupported, place, "anchors (`&name`) are not read; write the value out".to_owned()))
}

fn refuse_tag(tag: &str, place: Place) -> Fatal {
    (Code::DocumentUnsupported, place, format!("the tag `{}` is not read; leave it out", shorten(tag)))
}

fn place_of(marker: &Marker) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> String {
        fn walk(node: &Node, out: &mut String) {
            match &node.kind {
                Kind::Scalar(scalar) => {
                    let Place { line, column } = scalar.begins;
                    out.push_str(&format!(
                        "{}:{} {:?} @{line}:{column}\n",
                        node.place.line, node.place.column, scalar.text
                    ));
                }
                Kind::List(items) => items.iter().for_each(|item| walk(item, out)),
                Kind::Map(entries) => entries.iter().for_each(|entry| {
                    out.push_str(&format!("{}:{} {}: ", entry.place.line, entry.place.column, entry.key));
                    walk(&entry.value, out);
                }),
            }
        }
        let mut out = String::new();
        walk(&parse("f", text.as_bytes()).unwrap(), &mut out);
        out
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let text =
            "a: 1\n\u{e9}b: {c: 'x', d: [~, \"y\"]}\nr: |\n\n    package p\n      x\ns: >-\n  z\nt: |2\n    q\nn:\n";
        insta::assert_snapshot!(places(text), @r#"
        1:1 a: 1:4 "1" @1:4
        2:1 éb: 2:6 c: 2:9 "x" @2:10
        2:14 d: 2:18 "~" @2:18
        2:21 "y" @2:22
        3:1 r: 5:5 "\npackage p\n  x\n" @4:5
        7:1 s: 8:3 "z" @8:3
        9:1 t: 10:3 "  q\n" @10:3
        11:1 n: 11:2 "" @11:2
        "#);
    }

    #[test]
    fn json_reads_as_itself() {
        let text = "{\n\t\"a\": [1, -2.5, 1e3, true, null, \"t\\u00e9\\/\\n\"],\"b\":{\"c\":\"yes\"}, \"d\":18446744073709551615}";
        let read = parse("f", text.as_bytes()).unwrap().to_json().unwrap();
        assert_eq!(read, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn refuses_what_could_mean_two_things() {
        let deep = "[".repeat(101) + &"]".repeat(101);
        let mut all = String::new();
        for text in [
            "",
            " # nothing\n",
            "a: 1\na: 2\nb: 1\nb: 2",
            "{\"a\":1,\"a\":2}",
            "a: &x 1\nb: *x",
            "a: &x {}",
            "<<: {a: 1}",
            "a: !!binary aaaa",
            "!own {a: 1}",
            "a: 1\n---\nb: 2",
            "[a]: 1",
            "a: b: c",
            "a: {b",
            "a:\n\t- b",
            "{\"a\": \"\\ud83d\\ude00\"}",
            "a: *b",
            &deep,
        ] {
            let shown: String = text.chars().take(24).collect();
            match parse("f", text.as_bytes()) {
                Ok(node) => all.push_str(&format!("{shown:?} => READ {node:?}\n")),
                Err(d) => d.0.iter().for_each(|f| {
                    all.push_str(&format!("{shown:?} => {} {} {}\n", f.origin.as_ref().unwrap(), f.code, f.message))
                }),
            }
        }
        insta::assert_snapshot!(all, @r#"
        "" => f:1:1 document-syntax the document is empty
        " # nothing\n" => f:1:1 document-syntax the document is empty
        "a: 1\na: 2\nb: 1\nb: 2" => f:2:1 document-duplicate key `a` appears twice, first on line 1
        "a: 1\na: 2\nb: 1\nb: 2" => f:4:1 document-duplicate key `b` appears twice, first on line 3
        "{\"a\":1,\"a\":2}" => f:1:8 document-duplicate key `a` appears twice, first on line 1
        "a: &x 1\nb: *x" => f:1:4 document-unsupported anchors (`&name`) are not read; write the value out
        "a: &x {}" => f:1:4 document-unsupported anchors (`&name`) are not read; write the value out
        "<<: {a: 1}" => f:1:1 document-unsupported merge keys (`<<`) are not read; write the keys out
        "a: !!binary aaaa" => f:1:4 document-unsupported the tag `tag:yaml.org,2002:!binary` is not read; leave it out
        "!own {a: 1}" => f:1:1 document-unsupported the tag `!own` is not read; leave it out
        "a: 1\n---\nb: 2" => f:2:1 document-syntax a file holds one document; move what follows to a file of its own
        "[a]: 1" => f:1:1 document-syntax a key must be text
        "a: b: c" => f:1:5 document-syntax this is not well-formed YAML: mapping values are not allowed in this context
        "a: {b" => f:2:1 document-syntax this is not well-formed YAML: while parsing a flow mapping, did not find expected ',' or '}'
        "a:\n\t- b" => f:2:2 document-syntax this is not well-formed YAML: tabs disallowed within this context (block indentation)
        "{\"a\": \"\\ud83d\\ude00\"}" => f:1:7 document-syntax this is not well-formed YAML: while parsing a quoted scalar, found invalid Unicode character escape code
        "a: *b" => f:1:4 document-syntax this is not well-formed YAML: while parsing node, found unknown anchor
        "[[[[[[[[[[[[[[[[[[[[[[[[" => f:1:101 document-too-large the document is nested deeper than 100 levels
        "#);
    }

    #[test]
    fn bounds_hold() {
        let many = "- a\n".repeat(limits::YAML_NODES + 1);
        let long = "a".repeat(limits::REVISION_FILE_BYTES + 1);
        for text in [many.as_bytes(), long.as_bytes()] {
            assert_eq!(parse("f", text).unwrap_err().0[0].code, Code::DocumentTooLarge);
        }
        assert_eq!(parse("f", b"a: 1\nb: \xff").unwrap_err().to_string(), "f:2:1: the document is not UTF-8 text");
    }
}
