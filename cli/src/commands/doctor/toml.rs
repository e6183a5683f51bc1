//! TOML as the clients read it, with the lines that people look for.

use std::ops::Range;

use toml_edit::{Document, Item, Table, TableLike, Value};

/// A document and the text that it was read from.
#[derive(Debug)]
pub struct Toml {
    document: Document<String>,
}

impl Toml {
    /// Reads it.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        match Document::parse(text.to_owned()) {
            Ok(document) => Ok(Self { document }),
            Err(error) => Err((error.span().map(|span| line_of(text, &span)), error.message().to_owned())),
        }
    }

    /// The outermost table.
    pub fn root(&self) -> &Table {
        self.document.as_table()
    }

    /// The line of an item.
    pub fn line(&self, item: &Item) -> Option<usize> {
        item.span().map(|span| line_of(self.document.raw(), &span))
    }

    /// The line of a table's head.
    pub fn table_line(&self, table: &Table) -> Option<usize> {
        table.span().map(|span| line_of(self.document.raw(), &span))
    }

    /// What TOML 1.0 does not have and a newer TOML does. Clients are built with older readers, which refuse the whole
    /// file.
    pub fn too_new(&self) -> bool {
        let raw = self.document.raw();
        raw.contains("\\e") || raw.contains("\\x") || raw.starts_with('\u{feff}') || inline_too_new(self.root(), raw)
    }
}

fn inline_too_new(table: &dyn TableLike, raw: &str) -> bool {
    table.iter().any(|(_, item)| item_too_new(item, raw))
}

fn item_too_new(item: &Item, raw: &str) -> bool {
    match item {
        Item::None => false,
        Item::Value(value) => value_too_new(value, raw),
        Item::Table(table) => inline_too_new(table, raw),
        Item::ArrayOfTables(tables) => tables.iter().any(|table| inline_too_new(table, raw)),
    }
}

fn value_too_new(value: &Value, raw: &str) -> bool {
    match value {
        Value::InlineTable(table) if !table.is_dotted() => {
            let text = table.span().and_then(|span| raw.get(span)).unwrap_or_default();
            let inner = text.strip_suffix('}').unwrap_or(text).trim_end();
            text.contains('\n') || inner.ends_with(',') || inline_too_new(table, raw)
        }
        Value::InlineTable(table) => inline_too_new(table, raw),
        Value::Array(array) => array.iter().any(|value| value_too_new(value, raw)),
        // Without seconds.
        Value::Datetime(_) => true,
        _ => false,
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
}

/// The item under a path of keys.
pub fn find<'a>(table: &'a dyn TableLike, path: &[&str]) -> Option<&'a Item> {
    let (first, rest) = path.split_first()?;
    let item = table.get(first)?;
    if rest.is_empty() { Some(item) } else { find(item.as_table_like()?, rest) }
}

/// The texts of a list of texts; nothing when it is something else.
pub fn texts(item: &Item) -> Option<Vec<String>> {
    item.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}
