//! GraphQL schemas in the schema definition language (October 2021, section 3): read without recursion.

use serde::Serialize;

use super::{
    MaterialError,
    reading::{Annotations, Reading, note, to_json},
};
use crate::{digest::shorten, limits};

/// A schema: policies see `{"types": [{name, kind, fields}], "directives": [name]}`.
pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let schema = schema(bytes)?;
    let mut annotations = Annotations::new();
    let count = schema.types.len().to_string();
    note(&mut annotations, "chainloop.material.graphql.type_count", Some(&count));
    let mut directives = schema.directives.clone();
    directives.sort();
    note(&mut annotations, "chainloop.material.graphql.directives", Some(&directives.join(",")));
    Ok(Reading::json(to_json(&schema)?, annotations))
}

/// Whether the text begins as a schema does: with a word or description that begins a definition.
pub(super) fn looks_like(text: &str) -> bool {
    const WORDS: [&str; 9] = ["schema", "scalar", "type", "interface", "union", "enum", "input", "directive", "extend"];
    let begins = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
    begins.is_some_and(|line| {
        line.starts_with('"') || WORDS.iter().any(|word| line.split_whitespace().next() == Some(word))
    })
}

#[derive(Serialize)]
struct Schema<'t> {
    types: Vec<Type<'t>>,
    directives: Vec<&'t str>,
}

#[derive(Serialize)]
struct Type<'t> {
    name: &'t str,
    kind: &'static str,
    /// Of enumerations and unions, their members.
    fields: Vec<&'t str>,
}

fn schema(bytes: &[u8]) -> Result<Schema<'_>, MaterialError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MaterialError::malformed("it is not text in UTF-8"))?;
    let mut reader = Reader { tokens: tokens(text)?, next: 0 };
    let mut schema = Schema { types: Vec::new(), directives: Vec::new() };
    while let Some(token) = reader.peek() {
        if matches!(token.kind, Kind::Text) {
            reader.next += 1;
        }
        reader.definition(&mut schema)?;
    }
    if schema.types.is_empty() && schema.directives.is_empty() {
        return Err(MaterialError::malformed("it defines nothing, so it is not a GraphQL schema"));
    }
    Ok(schema)
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Name,
    Number,
    Text,
    Sign,
}

#[derive(Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    line: u32,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, MaterialError> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text.trim_start_matches('\u{feff}'), 1_u32);
    while let Some(first) = rest.chars().next() {
        let at = |message: String| MaterialError::malformed(format!("at line {line}: {message}"));
        let (kind, length) = match first {
            '\n' => {
                line = line.saturating_add(1);
                (None, 1)
            }
            ' ' | '\t' | '\r' | ',' => (None, 1),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '"' => {
                let length = quoted(rest).ok_or_else(|| {
                    at("a text begins that does not end".to_owned()).mend("the file may be cut off: make it again")
                })?;
                (Some(Kind::Text), length)
            }
            '.' if rest.starts_with("...") => (Some(Kind::Sign), 3),
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => (Some(Kind::Sign), 1),
            'a'..='z' | 'A'..='Z' | '_' => (Some(Kind::Name), run(rest, |c| c.is_ascii_alphanumeric() || c == '_')),
            '0'..='9' | '-' => {
                (Some(Kind::Number), run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
            }
            other => return Err(at(format!("`{}` is no part of a schema", other.escape_debug()))),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        let Some(kind) = kind else { continue };
        tokens.push(Token { kind, text: token, line });
        if kind == Kind::Text {
            let lines = token.bytes().filter(|byte| *byte == b'\n').count();
            line = line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        }
        if tokens.len() > limits::GRAPHQL_TOKENS {
            return Err(MaterialError::too_large(format!("it has more than {} words", limits::GRAPHQL_TOKENS)));
        }
    }
    Ok(tokens)
}

fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

/// The length of a text in quotes, or of a block in three of them.
fn quoted(text: &str) -> Option<usize> {
    if let Some(block) = text.strip_prefix("\"\"\"") {
        let mut from = 0;
        loop {
            let end = from + block.get(from..)?.find("\"\"\"")?;
            if block.get(..end)?.ends_with('\\') {
                from = end + 3;
            } else {
                return Some(end + 6);
            }
        }
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

struct Reader<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
}

type Read<T> = Result<T, MaterialError>;

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    /// Whether the next token is this sign or word, which is then passed.
    fn take(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.text == text && token.kind != Kind::Text);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Read<()> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected(&format!("`{text}`"))) }
    }

    fn name(&mut self) -> Read<&'t str> {
        match self.peek() {
            Some(token) if token.kind == Kind::Name => {
                self.next += 1;
                Ok(token.text)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn unexpected(&self, wanted: &str) -> MaterialError {
        match self.peek() {
            Some(token) => MaterialError::malformed(format!(
                "at line {}: `{}` stands where {wanted} has to be",
                token.line,
                shorten(token.text)
            )),
            None => MaterialError::malformed(format!("it ends where {wanted} has to be"))
                .mend("the file may be cut off: make it again"),
        }
    }

    fn definition(&mut self, schema: &mut Schema<'t>) -> Read<()> {
        let extends = self.take("extend");
        let word = self.name()?;
        let kind = match word {
            "schema" => {
                self.directives()?;
                if self.peek().is_some_and(|token| token.text == "{") {
                    self.block(&mut |reader| {
                        reader.name()?;
                        reader.expect(":")?;
                        reader.name()
                    })?;
                }
                return Ok(());
            }
            "directive" => {
                self.expect("@")?;
                let name = self.name()?;
                self.arguments()?;
                self.take("repeatable");
                self.expect("on")?;
                self.members()?;
                schema.directives.push(name);
                return Ok(());
            }
            "scalar" => "SCALAR",
            "type" => "OBJECT",
            "interface" => "INTERFACE",
            "union" => "UNION",
            "enum" => "ENUM",
            "input" => "INPUT_OBJECT",
            _ => {
                self.next -= 1;
                return Err(self.unexpected("the beginning of a definition"));
            }
        };
        let name = self.name()?;
        if matches!(kind, "OBJECT" | "INTERFACE") && self.take("implements") {
            self.take("&");
            self.name()?;
            while self.take("&") {
                self.name()?;
            }
        }
        self.directives()?;
        let fields = match kind {
            "UNION" if self.take("=") => self.members()?,
            "OBJECT" | "INTERFACE" => self.fields(true)?,
            "INPUT_OBJECT" => self.fields(false)?,
            "ENUM" => self.values()?,
            _ => Vec::new(),
        };
        if !extends {
            schema.types.push(Type { name, kind, fields });
        }
        Ok(())
    }

    /// `A | B`, perhaps with a `|` before the first.
    fn members(&mut self) -> Read<Vec<&'t str>> {
        self.take("|");
        let mut members = vec![self.name()?];
        while self.take("|") {
            members.push(self.name()?);
        }
        Ok(members)
    }

    fn fields(&mut self, with_arguments: bool) -> Read<Vec<&'t str>> {
        if self.peek().is_none_or(|token| token.text != "{") {
            return Ok(Vec::new());
        }
        self.block(&mut |reader| {
            let name = reader.name()?;
            if with_arguments {
                reader.arguments()?;
            }
            reader.typed()?;
            Ok(name)
        })
    }

    fn values(&mut self) -> Read<Vec<&'t str>> {
        if self.peek().is_none_or(|token| token.text != "{") {
            return Ok(Vec::new());
        }
        self.block(&mut |reader| {
            let name = reader.name()?;
            reader.directives()?;
            Ok(name)
        })
    }

    /// `{ … }` with at least one item, each perhaps with a description.
    fn block(&mut self, item: &mut dyn FnMut(&mut Self) -> Read<&'t str>) -> Read<Vec<&'t str>> {
        self.expect("{")?;
        let mut items = Vec::new();
        loop {
            self.describe();
            items.push(item(self)?);
            if self.take("}") {
                return Ok(items);
            }
        }
    }

    fn describe(&mut self) {
        if self.peek().is_some_and(|token| token.kind == Kind::Text) {
            self.next += 1;
        }
    }

    /// `(name: Type = value …)`, if there is one.
    fn arguments(&mut self) -> Read<()> {
        if !self.take("(") {
            return Ok(());
        }
        loop {
            self.describe();
            self.name()?;
            self.typed()?;
            if self.take(")") {
                return Ok(());
            }
        }
    }

    /// `: [Type!]! = value @directive`.
    fn typed(&mut self) -> Read<()> {
        self.expect(":")?;
        let mut open = 0_usize;
        while self.take("[") {
            open += 1;
        }
        self.name()?;
        self.take("!");
        for _ in 0..open {
            self.expect("]")?;
            self.take("!");
        }
        if self.take("=") {
            self.value()?;
        }
        self.directives()
    }

    fn directives(&mut self) -> Read<()> {
        while self.take("@") {
            self.name()?;
            if self.peek().is_some_and(|token| token.text == "(" && token.kind == Kind::Sign) {
                self.balanced()?;
            }
        }
        Ok(())
    }

    fn value(&mut self) -> Read<()> {
        match self.peek() {
            Some(token) if token.kind == Kind::Sign && matches!(token.text, "[" | "{") => self.balanced(),
            Some(token) if token.kind != Kind::Sign => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// What stands between brackets that match, whatever it is.
    fn balanced(&mut self) -> Read<()> {
        let mut open = Vec::new();
        loop {
            let Some(token) = self.peek() else { return Err(self.unexpected("a closing bracket")) };
            if token.kind == Kind::Sign {
                match token.text {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(token.text) => {
                        return Err(self.unexpected("another bracket"));
                    }
                    _ => {}
                }
            }
            self.next += 1;
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}
