//! Reports of CERT/CC's Dranzer, a tester of ActiveX controls: one report, or an archive with those of one run.
//!
//! Dranzer writes text for people, in the machine's own code page. What is known of it is read, all of it is kept as
//! `raw`, and bytes that are not UTF-8 are left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    MaterialError, archive,
    reading::{Reading, made_by, note, to_json},
};
use crate::{digest::shorten, limits};

/// Policies see `{tool, objects, findings, summary, raw, reports: [{source, tool, summary}]}`.
pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let mut bundle = Bundle::default();
    if archive::format(bytes).is_none() {
        let text = text(bytes);
        let report = Report::read(&text, None)?;
        if !report.recognised() {
            let message =
                "it has neither the version of a test engine nor an object, a failure or a counter of Dranzer's";
            return Err(MaterialError::malformed(message));
        }
        bundle.raw.push_str(&text);
        bundle.add(report);
    } else {
        // What lies beside the reports, such as a table of them, is no report.
        for (name, content) in archive::unpack(bytes, &|_| true)?.files {
            let text = text(&content);
            let report = Report::read(&text, Some(&name))
                .map_err(|error| error.about(&format!("`{}` in the archive", shorten(&name))))?;
            if report.recognised() {
                let body = text.strip_suffix('\n').unwrap_or(&text);
                bundle.raw.push_str(&format!("===== {name} =====\n{body}\n"));
                bundle.add(report);
            }
        }
        if bundle.reports.is_empty() {
            return Err(MaterialError::malformed("there is no report of Dranzer's in the archive"));
        }
    }
    let mut annotations = made_by("dranzer", bundle.tool.version.as_deref());
    let count = bundle.reports.len().to_string();
    note(&mut annotations, "chainloop.material.dranzer.reports.count", Some(&count));
    Ok(Reading::json(to_json(&bundle)?, annotations))
}

/// Whether a line of the text is one that only Dranzer writes.
pub(super) fn looks_like(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| line.starts_with("Testing COM Object - ") || engine(line).is_some())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::REPLACEMENT_CHARACTER, "")
}

#[derive(Default, Serialize)]
struct Bundle {
    tool: Tool,
    objects: Vec<Object>,
    findings: Vec<Failure>,
    summary: Summary,
    raw: String,
    reports: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    tool: Tool,
    summary: Summary,
}

#[derive(Clone, Serialize)]
struct Tool {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl Default for Tool {
    fn default() -> Self {
        Self { name: "dranzer", version: None }
    }
}

#[derive(Clone, Serialize)]
struct Object {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    clsid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[derive(Default, Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    clsid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    class_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    error_code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    error_message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    access_type: String,
}

/// The counters at the end of a report: those of a name that policies know, and all by their labels.
#[derive(Clone, Default, Serialize)]
struct Summary {
    object_count: u64,
    kill_bit_count: u64,
    passed_count: u64,
    failed_count: u64,
    hung_count: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counters: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, key: &str, count: u64) {
        let counter = self.counters.entry(key.to_owned()).or_default();
        *counter = counter.saturating_add(count);
        let total = *counter;
        match key {
            "com_objects" => self.object_count = total,
            "com_objects_with_kill_bit" => self.kill_bit_count = total,
            "com_objects_passed_test" => self.passed_count = total,
            "com_objects_failed_test" => self.failed_count = total,
            "com_objects_hung_during_test" => self.hung_count = total,
            _ => {}
        }
    }
}

impl Bundle {
    fn add(&mut self, report: Report) {
        self.tool.version = self.tool.version.take().or_else(|| report.tool.version.clone());
        for (key, count) in &report.summary.counters {
            self.summary.add(key, *count);
        }
        self.objects.extend(report.objects);
        self.findings.extend(report.findings);
        self.reports.push(Entry { source: report.source, tool: report.tool, summary: report.summary });
    }
}

#[derive(Default)]
struct Report {
    source: Option<String>,
    tool: Tool,
    objects: Vec<Object>,
    findings: Vec<Failure>,
    summary: Summary,
    /// The method that was called last.
    method: String,
    /// Whether the last failure still waits for its error.
    pending: bool,
    /// Whether lines belong to the last object.
    within: bool,
}

impl Report {
    fn read(text: &str, source: Option<&str>) -> Result<Self, MaterialError> {
        let mut report = Self { source: source.map(str::to_owned), ..Self::default() };
        let mut fields = 0_usize;
        for line in text.lines().map(str::trim) {
            fields += 1;
            if fields > limits::TEXT_FIELDS {
                return Err(MaterialError::too_large(format!("it has more than {} lines", limits::TEXT_FIELDS)));
            }
            let ruled = line.trim_matches(['*', ' ']);
            if !ruled.is_empty() && !ruled.eq_ignore_ascii_case("access violation") {
                report.line(line);
            }
        }
        Ok(report)
    }

    fn recognised(&self) -> bool {
        self.tool.version.is_some()
            || !self.objects.is_empty()
            || !self.findings.is_empty()
            || !self.summary.counters.is_empty()
    }

    fn line(&mut self, line: &str) {
        if let Some((label, count)) = counter(line) {
            self.summary.add(&snake(label), count);
        } else if let Some(rest) = line.strip_prefix("Testing COM Object - ") {
            let (clsid, description) = class(rest).unwrap_or(("", rest));
            self.objects.push(Object {
                source: self.source.clone(),
                clsid: clsid.to_owned(),
                description: description.trim().to_owned(),
                metadata: BTreeMap::new(),
            });
            (self.pending, self.within) = (false, true);
            self.method.clear();
        } else if let Some(method) = called(line) {
            method.clone_into(&mut self.method);
        } else if let Some((message, address, access)) = violation(line) {
            let failure = self.failure();
            self.findings.push(Failure {
                method: self.method.clone(),
                error_message: message.to_owned(),
                address: address.to_owned(),
                access_type: access.to_owned(),
                ..failure
            });
        } else if let Some((message, code, address)) = exception(line) {
            let failure = self.failure();
            self.findings.push(Failure {
                method: self.method.clone(),
                error_message: message.to_owned(),
                error_code: format!("0x{code}"),
                address: address.to_owned(),
                ..failure
            });
        } else if let Some((clsid, name)) = failed(line) {
            self.findings.push(Failure {
                source: self.source.clone(),
                clsid: clsid.to_owned(),
                class_name: name.trim().to_owned(),
                ..Failure::default()
            });
            self.pending = true;
        } else if let Some((message, code)) = error(line) {
            self.error(message, code);
        } else if line.starts_with("Test Engine Version") {
            self.tool.version = self.tool.version.take().or_else(|| engine(line).map(str::to_owned));
            self.within = false;
        } else if let (true, Some((key, value)), Some(object)) = (self.within, described(line), self.objects.last_mut())
        {
            object.metadata.insert(snake(key), value.trim().to_owned());
        }
    }

    /// Of the failure that waits for it, else of the object that is being tested, else of none.
    fn error(&mut self, message: &str, code: &str) {
        let (message, code) = (message.to_owned(), code.to_owned());
        if let (true, Some(failure)) = (self.pending, self.findings.last_mut()) {
            (failure.error_message, failure.error_code) = (message, code);
            self.pending = false;
            return;
        }
        let failure = self.failure();
        self.findings.push(Failure { error_message: message, error_code: code, ..failure });
    }

    /// A failure of the object that is being tested.
    fn failure(&self) -> Failure {
        let object = if self.within { self.objects.last() } else { None };
        Failure {
            source: self.source.clone(),
            clsid: object.map(|object| object.clsid.clone()).unwrap_or_default(),
            class_name: object.map(|object| object.description.clone()).unwrap_or_default(),
            ..Failure::default()
        }
    }
}

/// `Test Engine Version: $Rev: 96 $`.
fn engine(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Test Engine Version:")?.trim_start().strip_prefix("$Rev:")?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end).filter(|digits| !digits.is_empty())
}

/// `Number of COM Objects Failed Test   1`.
fn counter(line: &str) -> Option<(&str, u64)> {
    let (label, count) = line.strip_prefix("Number of ")?.rsplit_once(' ')?;
    let count = if count.bytes().all(|byte| byte.is_ascii_digit()) { count.parse().ok()? } else { return None };
    (!label.trim().is_empty()).then_some((label.trim(), count))
}

/// `{GUID} name` or `GUID name`.
fn class(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('{') {
        return text.find('}').and_then(|end| text.split_at_checked(end + 1));
    }
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && c != '-').unwrap_or(text.len());
    text.split_at_checked(end).filter(|(clsid, _)| !clsid.is_empty())
}

/// `{GUID}-name`.
fn failed(line: &str) -> Option<(&str, &str)> {
    let (clsid, rest) = line.starts_with('{').then(|| class(line)).flatten()?;
    rest.strip_prefix('-').map(|name| (clsid, name))
}

/// `Invoking Method   - Interface::Method`, and of properties likewise.
fn called(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Invoking ").or_else(|| line.strip_prefix("Invoked "))?;
    let kinds = ["Method", "Property Get", "Property Put Reference", "Property Put"];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    rest.trim_start().strip_prefix("- ").map(str::trim)
}

/// `Access violation at 0x41414141 :Bad write on 0x41414141`.
fn violation(line: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = line.split_once(" :Bad ")?;
    let (access, target) = after.split_once(" on ")?;
    let (message, address) = before.rsplit_once(" at ")?;
    let well_formed = matches!(access, "read" | "write") && is_hex(target) && is_hex(address);
    well_formed.then_some((message.trim(), address, access))
}

/// `… (code c0000005) at 0x41414141`.
fn exception(line: &str) -> Option<(&str, &str, &str)> {
    let (before, address) = line.rsplit_once(" at ")?;
    let (message, code) = before.strip_suffix(')')?.rsplit_once(" (code ")?;
    let well_formed = is_hex(address) && !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_hexdigit());
    well_formed.then_some((message.trim(), code, address))
}

/// `ERROR - … (0xe0434352)`.
fn error(line: &str) -> Option<(&str, &str)> {
    let (message, code) = line.strip_prefix("ERROR - ")?.strip_suffix(')')?.rsplit_once('(')?;
    is_hex(code).then_some((message.trim(), code))
}

/// `Product Name        : Example Suite`.
fn described(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim();
    let word = key.len() > 1 && key.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ' || b == b'.');
    word.then_some((key, value))
}

fn is_hex(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `COM Object Filename` as `com_object_filename`.
fn snake(label: &str) -> String {
    let words: Vec<String> = label.replace('.', "").split_whitespace().map(str::to_lowercase).collect();
    words.join("_")
}
