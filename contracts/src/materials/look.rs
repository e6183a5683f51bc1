//! A first look at bytes whose type nobody named: what form they have, and the few keys and names that tell formats
//! apart. Nothing is judged here, and little is kept: the rest is skipped as it is read.

use std::{borrow::Cow, collections::BTreeMap};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MaterialType, archive, table, xml};
use crate::limits;

/// What bytes say of their type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The types that they can be: none when nothing in the table is like them, one when they say which they are, and
    /// several when they say too little, as an empty list does.
    pub kinds: Vec<MaterialType>,
    /// What they look like, for a person.
    pub form: &'static str,
}

/// How surely bytes are of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// They are not, or do not say it.
    No,
    /// They are if they can be read as it.
    Maybe,
    /// They say so, even if they then turn out to be wrong.
    Yes,
}

impl From<bool> for Sign {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Holds the bytes against every row of the table.
pub(super) fn recognise(bytes: &[u8]) -> Recognised {
    let look = Look::at(bytes);
    let mut kinds = Vec::new();
    for kind in MaterialType::ALL {
        match (table::of(*kind).sign)(&look) {
            Sign::No => {}
            Sign::Maybe if (table::of(*kind).read)(bytes).is_err() => {}
            Sign::Maybe | Sign::Yes => kinds.push(*kind),
        }
    }
    if kinds.len() > 1 {
        let readable: Vec<_> = kinds.iter().copied().filter(|kind| (table::of(*kind).read)(bytes).is_ok()).collect();
        if !readable.is_empty() {
            kinds = readable;
        }
    }
    Recognised { kinds, form: look.form.name() }
}

/// Levels of a JSON document that are looked at.
const LEVELS: u8 = 3;
/// Keys of one object that are kept.
const KEYS: usize = 256;
/// Bytes of one text that are kept.
const TEXT: usize = 256;

/// What bytes look like.
pub(super) struct Look<'b> {
    pub(super) form: Form<'b>,
}

/// The form of bytes.
pub(super) enum Form<'b> {
    /// Nothing.
    Empty,
    /// A JSON object, or what is left of one that was cut off.
    Object(Peek),
    /// A JSON list: its first item.
    List(Peek),
    /// Several JSON objects, one after the other: the first.
    Lines(Peek),
    /// XML: the name of the root element.
    Xml(String),
    /// An archive: the names of what is in it.
    Archive(Vec<String>),
    /// Other text.
    Text(Cow<'b, str>),
    /// None of these.
    Binary,
}

/// A JSON value as far as it was looked at.
#[derive(Debug, Default)]
pub(super) struct Peek {
    /// A text, if it is a short one.
    pub(super) text: Option<String>,
    /// The keys of an object.
    pub(super) keys: BTreeMap<String, Peek>,
    /// Whether it is an object.
    pub(super) object: bool,
    /// Whether it is a list.
    pub(super) list: bool,
    /// Whether it is a list with nothing in it.
    pub(super) empty: bool,
}

impl Form<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Empty => "nothing",
            Self::Object(_) => "a JSON object",
            Self::List(_) => "a JSON list",
            Self::Lines(_) => "JSON objects, one after the other",
            Self::Xml(_) => "XML",
            Self::Archive(_) => "an archive",
            Self::Text(_) => "text",
            Self::Binary => "binary data",
        }
    }
}

impl Peek {
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn all(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.has(key))
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.keys.get(key).and_then(|value| value.text.as_deref()).unwrap_or_default()
    }
}

impl<'b> Look<'b> {
    pub(super) fn at(bytes: &'b [u8]) -> Self {
        Self { form: form(bytes) }
    }

    /// The object, when the bytes are one JSON object.
    pub(super) fn object(&self) -> Option<&Peek> {
        match &self.form {
            Form::Object(peek) => Some(peek),
            _ => None,
        }
    }
}

fn form(bytes: &[u8]) -> Form<'_> {
    if bytes.is_empty() {
        return Form::Empty;
    }
    if archive::format(bytes).is_some() {
        return archive::names(bytes).map_or(Form::Binary, Form::Archive);
    }
    if bytes.len() > limits::MATERIAL_DOCUMENT_BYTES {
        return Form::Binary;
    }
    // Tools on Windows write text in the machine's own code page.
    let text = match super::tabular::decode(bytes) {
        Some(text) => text,
        None if bytes.contains(&0) => return Form::Binary,
        None => String::from_utf8_lossy(bytes),
    };
    match text.trim_start_matches('\u{feff}').trim_start().bytes().next() {
        Some(b'{' | b'[') => json(text),
        Some(b'<') => xml::root(&text).map_or(Form::Text(text), Form::Xml),
        _ if text.contains('\0') => Form::Binary,
        _ => Form::Text(text),
    }
}

fn json(text: Cow<'_, str>) -> Form<'_> {
    let mut peek = Peek::default();
    let mut reader = serde_json::Deserializer::from_str(&text);
    let whole = Into { peek: &mut peek, levels: LEVELS }.deserialize(&mut reader).is_ok();
    if peek.list {
        let first = peek.keys.remove("0").unwrap_or_default();
        return Form::List(Peek { empty: peek.empty, ..first });
    }
    if !peek.object {
        return Form::Text(text);
    }
    let more = whole && reader.end().is_err();
    if more { Form::Lines(peek) } else { Form::Object(peek) }
}

/// Writes what it sees into a peek, so that what was seen of a document that is cut off is not lost.
struct Into<'p> {
    peek: &'p mut Peek,
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.levels == 0 {
            deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if text.len() <= TEXT {
            self.peek.text = Some(text.to_owned());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.peek.list = true;
        let mut first = Peek::default();
        let seen = items.next_element_seed(Into { peek: &mut first, levels: self.levels - 1 });
        self.peek.empty = matches!(seen, Ok(None));
        self.peek.keys.insert("0".to_owned(), first);
        let mut more = seen?.is_some();
        while more {
            more = items.next_element::<IgnoredAny>()?.is_some();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.peek.object = true;
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            if self.peek.keys.len() >= KEYS || key.len() > TEXT {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let slot = self.peek.keys.entry(key.into_owned()).or_default();
            entries.next_value_seed(Into { peek: slot, levels: self.levels - 1 })?;
        }
        Ok(())
    }
}
