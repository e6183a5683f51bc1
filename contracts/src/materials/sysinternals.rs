//! Reports of Sysinternals' tools: Sigcheck's table and AccessChk's text.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    MaterialError,
    reading::{Reading, made_by, to_json},
    tabular,
};
use crate::limits;

/// Sigcheck's table (`-c` or `-ct`): policies see its rows as a list, each with the names of the columns.
pub(super) fn sigcheck(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let table = tabular::read(bytes)?;
    for column in ["Path", "Verified"] {
        if !table.header.iter().any(|name| name.trim() == column) {
            let message = format!("its header has no column `{column}`, so it is not Sigcheck's");
            return Err(MaterialError::malformed(message).mend("let Sigcheck write a table, with `-c`"));
        }
    }
    let rows: Vec<Row<'_>> = table.rows.iter().map(|row| Row { header: &table.header, row }).collect();
    Ok(Reading::json(to_json(&rows)?, made_by("sigcheck", None)))
}

/// Whether the first line names Sigcheck's columns.
pub(super) fn sigcheck_header(text: &str) -> bool {
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let columns: Vec<&str> = line.split([',', '\t']).map(|name| name.trim_matches(['"', ' '])).collect();
    columns.contains(&"Path") && columns.contains(&"Verified")
}

/// Whether a line is the first of AccessChk's.
pub(super) fn is_banner(line: &str) -> bool {
    line.trim().to_ascii_lowercase().starts_with("accesschk v")
}

struct Row<'t> {
    header: &'t [String],
    row: &'t [String],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.header.len()))?;
        for (column, field) in self.header.iter().zip(self.row) {
            map.serialize_entry(column, field)?;
        }
        map.end()
    }
}

/// AccessChk's text: policies see `{tool, objects: [{name, access_entries, …}], raw}`.
pub(super) fn accesschk(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let text = tabular::decode(bytes).ok_or_else(|| MaterialError::malformed("it is not text in UTF-8 or UTF-16"))?;
    let mut report = Report { tool: Tool { name: "AccessChk", version: None }, objects: Vec::new(), raw: "" };
    let keep = text.len() <= RAW_BYTES;
    let (mut marked, mut fields) = (false, 0_usize);
    let mut place = Cursor::default();
    for line in text.lines() {
        fields += 1;
        if fields > limits::TEXT_FIELDS {
            return Err(MaterialError::too_large(format!("it has more than {} lines", limits::TEXT_FIELDS)));
        }
        marked |= line.contains("DESCRIPTOR FLAGS") || line.contains("ACCESS_ALLOWED");
        report.read(line, &mut place, keep);
    }
    if keep {
        report.raw = &text;
    }
    let told = |object: &Object<'_>| {
        !object.access_entries.is_empty()
            || !object.dacl.is_empty()
            || !object.sacl.is_empty()
            || object.owner.is_some()
            || !object.descriptor_flags.is_empty()
    };
    if report.tool.version.is_none() && !marked && !report.objects.iter().any(told) {
        return Err(MaterialError::malformed("it has neither AccessChk's first lines nor one entry of access"));
    }
    Ok(Reading::json(to_json(&report)?, made_by("AccessChk", report.tool.version)))
}

/// Up to this length the text itself is shown to policies as well.
const RAW_BYTES: usize = 10 * 1024 * 1024;

#[derive(Serialize)]
struct Report<'t> {
    tool: Tool<'t>,
    objects: Vec<Object<'t>>,
    raw: &'t str,
}

#[derive(Serialize)]
struct Tool<'t> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'t str>,
}

#[derive(Serialize)]
struct Object<'t> {
    name: &'t str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    descriptor_flags: Vec<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'t str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dacl: Vec<Entry<'t>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sacl: Vec<Entry<'t>>,
    access_entries: Vec<Access<'t>>,
    raw_lines: Vec<&'t str>,
}

#[derive(Serialize)]
struct Access<'t> {
    access: &'t str,
    principal: &'t str,
    rights: Vec<&'t str>,
}

#[derive(Serialize)]
struct Entry<'t> {
    index: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    ace_type: &'t str,
    principal: &'t str,
    ace_flags: Vec<&'t str>,
    rights: Vec<&'t str>,
}

/// Which part of an object's description is being read.
#[derive(Default, Clone, Copy, PartialEq)]
enum Section {
    #[default]
    None,
    Flags,
    Dacl,
    Sacl,
}

#[derive(Default)]
struct Cursor {
    section: Section,
    /// Whether an entry of a list is open, which takes what follows.
    entry: bool,
    /// How far the last line of access was indented.
    indent: Option<usize>,
}

impl<'t> Report<'t> {
    fn read(&mut self, line: &'t str, place: &mut Cursor, keep: bool) {
        let trimmed = line.trim();
        if trimmed.is_empty() || self.banner(trimmed) {
            return;
        }
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if indent == 0 {
            self.objects.push(Object {
                name: trimmed,
                descriptor_flags: Vec::new(),
                owner: None,
                dacl: Vec::new(),
                sacl: Vec::new(),
                access_entries: Vec::new(),
                raw_lines: Vec::new(),
            });
            *place = Cursor::default();
            return;
        }
        let Some(object) = self.objects.last_mut() else { return };
        if keep {
            object.raw_lines.push(line);
        }
        object.read(trimmed, indent, place);
    }

    /// Whether a line is of what the tool says of itself.
    fn banner(&mut self, line: &'t str) -> bool {
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("accesschk v") {
            let version = line.get("accesschk v".len()..).unwrap_or_default();
            let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
            let version = version.get(..end).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
            self.tool.version = self.tool.version.or(version);
            return true;
        }
        lower.starts_with("copyright") || lower.contains("sysinternals - www.sysinternals.com")
    }
}

impl<'t> Object<'t> {
    fn read(&mut self, line: &'t str, indent: usize, place: &mut Cursor) {
        if let Some((access, principal)) = access(line) {
            self.access_entries.push(Access { access, principal, rights: Vec::new() });
            (place.indent, place.entry) = (Some(indent), false);
            return;
        }
        for (head, section) in [
            ("DESCRIPTOR FLAGS", Some(Section::Flags)),
            ("OWNER:", None),
            ("DACL", Some(Section::Dacl)),
            ("SACL", Some(Section::Sacl)),
        ] {
            let Some(rest) = line.strip_prefix(head) else { continue };
            match section {
                Some(section) => place.section = section,
                None => self.owner = Some(rest.trim()),
            }
            place.entry = false;
            return;
        }
        if let Some(entry) = entry(line) {
            if place.section == Section::Sacl {
                self.sacl.push(entry);
            } else {
                place.section = Section::Dacl;
                self.dacl.push(entry);
            }
            place.entry = true;
            return;
        }
        let flag = line.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let list = if place.section == Section::Sacl { &mut self.sacl } else { &mut self.dacl };
        match list.last_mut() {
            Some(entry) if place.entry => match flag {
                Some(flag) => entry.ace_flags.push(flag),
                None => entry.rights.push(line),
            },
            _ if place.section == Section::Flags => {
                let inner = line.strip_prefix('[').unwrap_or(line);
                self.descriptor_flags.push(inner.strip_suffix(']').unwrap_or(inner));
            }
            // What is indented further than a line of access is one of its rights.
            _ if place.indent.is_some_and(|entry| indent > entry) => {
                if let Some(access) = self.access_entries.last_mut() {
                    access.rights.push(line);
                }
            }
            _ => {}
        }
    }
}

/// `RW BUILTIN\Administrators`.
fn access(line: &str) -> Option<(&str, &str)> {
    let (access, rest) = line.split_once(|c: char| c.is_ascii_whitespace())?;
    let principal = rest.trim_start();
    (matches!(access, "R" | "W" | "RW") && !principal.is_empty()).then_some((access, principal))
}

/// `[0] ACCESS_ALLOWED_ACE_TYPE: NT AUTHORITY\SYSTEM`, or `[0] : Everyone`.
fn entry(line: &str) -> Option<Entry<'_>> {
    let (index, rest) = line.strip_prefix('[')?.split_once(']')?;
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    let (kind, principal) = rest.split_once(':')?;
    digits.then(|| Entry {
        index: index.parse().unwrap_or(0),
        ace_type: kind.trim(),
        principal: principal.trim(),
        ace_flags: Vec::new(),
        rights: Vec::new(),
    })
}
