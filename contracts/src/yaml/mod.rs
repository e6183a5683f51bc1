//! YAML and JSON documents that people write, with the line and column of every key and value.
//!
//! One reader for both: a JSON document is a YAML document in flow style. It reads less than YAML allows, so that a
//! document means one thing to everyone: one document per file, text keys, no key twice, no anchors, aliases, merge
//! keys or custom tags. Scalars keep the text they were written with; the key that takes a value says what it is.

mod fields;
mod read;

use serde_json::Value as Json;

pub use fields::nearest;
pub(crate) use fields::{Fields, Issues, is_dns_label};
pub use read::parse;
pub(crate) use read::{check, parse_bounded, parse_into};

use crate::Origin;

/// A line and a column (in characters), both from 1, in the file that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The place as an origin in this file.
    #[must_use]
    pub fn in_file(self, file: &str) -> Origin {
        Origin { file: file.to_owned(), line: self.line, column: self.column }
    }
}

/// A value of a document together with where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

/// One value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text, a number, `true`, `null` and so on.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in the order they were written, no key twice.
    Map(Vec<Entry>),
}

/// A scalar with the text it was written with, quotes and escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// Whether it was written without quotes and not as a block: only then can it be a number, a boolean or null.
    pub plain: bool,
    /// Where the first character of the text stands; for a block this is below the `|`.
    pub begins: Place,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Whether nothing was written, or `null` or `~`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The scalar, if it is one.
    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The entries, if it is a map.
    #[must_use]
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            Kind::Scalar(_) | Kind::Map(_) => None,
        }
    }

    /// The value of a key, if it is a map with that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What a person would call it.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map of keys",
        }
    }

    /// The value as JSON, by the core schema of YAML 1.2 (so `yes` is text), which for JSON documents is what JSON
    /// says. Refuses numbers that JSON does not have, such as `.inf`, and names where they stand.
    ///
    /// # Errors
    /// The place and text of the first such number.
    pub fn to_json(&self) -> Result<Json, (Place, String)> {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.to_json().ok_or_else(|| (self.place, scalar.text.clone())),
            Kind::List(items) => items.iter().map(Self::to_json).collect::<Result<_, _>>().map(Json::Array),
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| Ok((entry.key.clone(), entry.value.to_json()?)))
                .collect::<Result<_, _>>()
                .map(Json::Object),
        }
    }
}

impl Scalar {
    /// Whether nothing was written, or `null` or `~`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The boolean, if it is `true` or `false` without quotes.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    fn to_json(&self) -> Option<Json> {
        if !self.plain {
            return Some(Json::String(self.text.clone()));
        }
        if self.is_null() {
            return Some(Json::Null);
        }
        if let Some(boolean) = self.boolean() {
            return Some(Json::Bool(boolean));
        }
        let digits = self.text.strip_prefix(['-', '+']).unwrap_or(&self.text);
        if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
            return None;
        }
        let based = self.text.strip_prefix("0x").map(|digits| (digits, 16));
        if let Some((digits, radix)) = based.or_else(|| self.text.strip_prefix("0o").map(|digits| (digits, 8))) {
            let number = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
            return Some(number.map_or_else(|| Json::String(self.text.clone()), Json::from));
        }
        let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        if !numeric {
            return Some(Json::String(self.text.clone()));
        }
        let text = self.text.strip_prefix('+').unwrap_or(&self.text);
        if let Ok(number) = text.parse::<i64>() {
            return Some(Json::from(number));
        }
        if let Ok(number) = text.parse::<u64>() {
            return Some(Json::from(number));
        }
        match text.parse::<f64>() {
            Ok(number) => serde_json::Number::from_f64(number).map(Json::Number),
            // Not a number after all, such as an address or a date.
            Err(_) => Some(Json::String(self.text.clone())),
        }
    }
}
