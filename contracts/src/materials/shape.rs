//! The shape of JSON documents, written down as constants: which fields a format requires, what kind of value each
//! has, and since which version. Fields that a shape does not name are let through, as tools add their own.

use serde_json::Value;

use super::MaterialError;
use crate::digest::shorten;

/// What a value has to be.
pub(super) enum Shape {
    /// Anything.
    Any,
    /// A text.
    Text,
    /// A text that is not empty.
    Filled,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these texts, each from the version on that introduced it.
    OneOfSince(&'static [(u16, &'static [&'static str])]),
    /// A text that passes a test; with what it has to be, for people.
    Like(&'static str, fn(&str) -> bool),
    /// A whole number, at least this.
    Whole(i64),
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// A list of such values.
    List(&'static Shape),
    /// A list of such values that is not empty.
    Several(&'static Shape),
    /// An object with any keys and such values.
    Map(&'static Shape),
    /// An object with these fields, among others.
    Object(&'static [Field]),
    /// One of these shapes; with what they are together, for people.
    Either(&'static str, &'static [Shape]),
    /// Such a value, or null.
    Nullable(&'static Shape),
    /// The shape that the newest of these versions gives, of those not newer than the document.
    Since(&'static [(u16, Shape)]),
    /// A shape with a name of its own.
    Ref(&'static Shape),
}

/// A field of an object.
pub(super) struct Field {
    key: &'static str,
    shape: Shape,
    /// The versions that require it: from, and up to.
    required: (u16, u16),
}

/// A field that may be absent.
pub(super) const fn may(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, required: (u16::MAX, 0) }
}

/// A field that has to be there.
pub(super) const fn must(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, required: (0, u16::MAX) }
}

/// A field that has to be there in documents up to a version.
pub(super) const fn must_until(key: &'static str, shape: Shape, last: u16) -> Field {
    Field { key, shape, required: (0, last) }
}

impl Shape {
    /// Whether a document of this version has the shape.
    ///
    /// # Errors
    /// The first place that has not, as a JSON pointer, with what was found and what has to be there.
    pub(super) fn check(&self, document: &Value, version: u16) -> Result<(), MaterialError> {
        Walk { version, path: Vec::new() }.check(self, document).map_err(MaterialError::malformed)
    }
}

enum Step<'v> {
    Key(&'v str),
    Index(usize),
}

/// The depth of what is walked is bounded where documents are read.
struct Walk<'v> {
    version: u16,
    path: Vec<Step<'v>>,
}

impl<'v> Walk<'v> {
    fn check(&mut self, shape: &Shape, value: &'v Value) -> Result<(), String> {
        let fits = match (shape, value) {
            (Shape::Any, _)
            | (Shape::Text, Value::String(_))
            | (Shape::Number, Value::Number(_))
            | (Shape::Flag, Value::Bool(_))
            | (Shape::Nullable(_), Value::Null) => true,
            (Shape::Filled, Value::String(text)) => !text.is_empty(),
            (Shape::OneOf(known), Value::String(text)) => known.contains(&text.as_str()),
            (Shape::OneOfSince(known), Value::String(text)) => {
                known.iter().any(|(since, names)| *since <= self.version && names.contains(&text.as_str()))
            }
            (Shape::Like(_, test), Value::String(text)) => test(text),
            (Shape::Whole(least), Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => number >= *least,
                (None, larger) => larger.is_some(),
            },
            (Shape::Several(_), Value::Array(items)) if items.is_empty() => false,
            (Shape::List(inner) | Shape::Several(inner), Value::Array(items)) => {
                for (n, item) in items.iter().enumerate() {
                    self.within(Step::Index(n), inner, item)?;
                }
                true
            }
            (Shape::Map(inner), Value::Object(map)) => {
                for (key, item) in map {
                    self.within(Step::Key(key), inner, item)?;
                }
                true
            }
            (Shape::Object(fields), Value::Object(map)) => {
                for field in *fields {
                    match map.get(field.key) {
                        Some(item) => self.within(Step::Key(field.key), &field.shape, item)?,
                        None if (field.required.0..=field.required.1).contains(&self.version) => {
                            let wanted = field.shape.wanted(self.version);
                            return Err(format!("{} has no `{}`, which has to be {wanted}", self.place(), field.key));
                        }
                        None => {}
                    }
                }
                true
            }
            (Shape::Either(_, shapes), _) => {
                let depth = self.path.len();
                shapes.iter().any(|shape| {
                    let fits = self.check(shape, value).is_ok();
                    self.path.truncate(depth);
                    fits
                })
            }
            (Shape::Nullable(inner) | Shape::Ref(inner), _) => return self.check(inner, value),
            (Shape::Since(shapes), _) => {
                let shape = shapes.iter().rev().find(|(since, _)| *since <= self.version).or(shapes.first());
                return shape.map_or(Ok(()), |(_, shape)| self.check(shape, value));
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(format!("{} is {}; it has to be {}", self.place(), found(value), shape.wanted(self.version)))
    }

    fn within(&mut self, step: Step<'v>, shape: &Shape, value: &'v Value) -> Result<(), String> {
        self.path.push(step);
        self.check(shape, value)?;
        self.path.pop();
        Ok(())
    }

    fn place(&self) -> String {
        if self.path.is_empty() {
            return "the document".to_owned();
        }
        let mut pointer = String::new();
        for step in &self.path {
            pointer.push('/');
            match step {
                Step::Key(key) => pointer.push_str(&shorten(&key.replace('~', "~0").replace('/', "~1"))),
                Step::Index(n) => pointer.push_str(&n.to_string()),
            }
        }
        format!("`{pointer}`")
    }
}

impl Shape {
    /// For people.
    fn wanted(&self, version: u16) -> String {
        match self {
            Self::Any => "something".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Filled => "a text that is not empty".to_owned(),
            Self::OneOf(known) => names(known.iter()),
            Self::OneOfSince(known) => {
                names(known.iter().filter(|(since, _)| *since <= version).flat_map(|(_, names)| names.iter()))
            }
            Self::Like(what, _) | Self::Either(what, _) => (*what).to_owned(),
            Self::Whole(least) => format!("a whole number from {least}"),
            Self::Number => "a number".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Several(_) => "a list that is not empty".to_owned(),
            Self::Map(_) | Self::Object(_) => "an object".to_owned(),
            Self::Nullable(inner) | Self::Ref(inner) => inner.wanted(version),
            Self::Since(shapes) => {
                let shape = shapes.iter().rev().find(|(since, _)| *since <= version).or(shapes.first());
                shape.map_or_else(String::new, |(_, shape)| shape.wanted(version))
            }
        }
    }
}

fn names(known: impl Iterator<Item = &'static &'static str>) -> String {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    match known.as_slice() {
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// What a value is, for people.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("the number {}", shorten(&number.to_string())),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => format!("the text `{}`", shorten(text)),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static TREE: Shape = Shape::Object(&[
        must("name", Shape::Filled),
        must_until("version", Shape::Text, 13),
        may("kind", Shape::OneOfSince(&[(10, &["file"]), (15, &["data"])])),
        may("count", Shape::Whole(1)),
        may("inner", Shape::List(&TREE)),
        may("tags", Shape::Since(&[(10, Shape::List(&Shape::Text)), (15, Shape::Map(&Shape::Text))])),
        may("either", Shape::Either("a number or null", &[Shape::Number, Shape::Nullable(&Shape::Flag)])),
    ]);

    #[test]
    fn names_the_place_and_what_has_to_be_there() {
        let cases = [
            (15, json!({"name": "x", "kind": "data", "tags": {"a/b": "c"}, "either": null, "inner": [{"name": "y"}]})),
            (14, json!({"name": "x", "kind": "data"})),
            (13, json!({"name": "x"})),
            (14, json!({"name": "x", "inner": [{"name": "y"}, {"name": ""}]})),
            (14, json!({"name": "x", "tags": {"a": "b"}})),
            (15, json!({"name": "x", "tags": {"a/b": 1}})),
            (15, json!({"name": "x", "count": 0})),
            (15, json!({"name": "x", "count": 1.5})),
            (15, json!({"name": "x", "count": u64::MAX})),
            (15, json!({"name": "x", "either": "y"})),
            (15, json!([])),
        ];
        let mut all = String::new();
        for (version, document) in cases {
            let said = TREE.check(&document, version).map_or_else(|error| error.to_string(), |()| "fits".to_owned());
            all += &format!("{version} {document}\n  {said}\n");
        }
        insta::assert_snapshot!(all);
    }
}
