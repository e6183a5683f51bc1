//! Coverage reports in XML: JaCoCo and Cobertura.

use serde::{Serialize, Serializer};

use super::{
    Json, MaterialError, to_json,
    xml::{self, Attributes, Budget, Visit},
};
use crate::digest::shorten;

/// JaCoCo's report: policies see the counters of the whole report, `{"counters": [{type, missed, covered}]}`. What it
/// says of packages, classes and lines is checked to be XML, and left out.
pub(super) fn jacoco(bytes: &[u8]) -> Result<Json, MaterialError> {
    let mut report = Jacoco::default();
    xml::walk(bytes, &mut Budget::streaming(), &mut report)?;
    if report.root != "report" {
        return Err(MaterialError::malformed(format!(
            "its root element is `{}`; a JaCoCo report's is `report`",
            shorten(&report.root)
        )));
    }
    if !report.counters.iter().any(|counter| counter.kind == "INSTRUCTION") {
        let message = "it has no counter of type `INSTRUCTION` for the whole report, as JaCoCo's reports have";
        return Err(MaterialError::malformed(message));
    }
    to_json(&report)
}

#[derive(Default, Serialize)]
struct Jacoco {
    counters: Vec<Counter>,
    #[serde(skip)]
    root: String,
    #[serde(skip)]
    depth: usize,
}

#[derive(Serialize)]
struct Counter {
    #[serde(rename = "type")]
    kind: String,
    missed: i64,
    covered: i64,
}

impl Visit for Jacoco {
    fn open(&mut self, name: &str, mut attributes: Attributes) -> Result<(), MaterialError> {
        self.depth += 1;
        match self.depth {
            1 => name.clone_into(&mut self.root),
            2 if name == "counter" => self.counters.push(Counter {
                missed: whole(&attributes, name, "missed")?,
                covered: whole(&attributes, name, "covered")?,
                kind: attributes.remove("type").unwrap_or_default(),
            }),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, _: &str) {}

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

/// Cobertura's report: policies see it whole, with the names of its attributes and elements.
pub(super) fn cobertura(bytes: &[u8]) -> Result<Json, MaterialError> {
    let mut reading = Cobertura::default();
    xml::walk(bytes, &mut Budget::default(), &mut reading)?;
    let Some(report) = reading.coverage else {
        let message = format!("its root element is `{}`; a Cobertura report's is `coverage`", shorten(&reading.root));
        return Err(MaterialError::malformed(message));
    };
    // Nothing covered is an answer, and so is nothing to cover (`NaN`). Neither is none.
    if report.rates.line == Rate(0.0) && report.packages.is_empty() {
        return Err(MaterialError::malformed("it has neither a `line-rate` nor packages, so it says nothing"));
    }
    to_json(&report)
}

/// The share that is covered. Of nothing it is null.
#[derive(Default, Clone, Copy, PartialEq)]
struct Rate(f64);

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.serialize_none() }
    }
}

#[derive(Default, Serialize)]
struct Rates {
    #[serde(rename = "line-rate")]
    line: Rate,
    #[serde(rename = "branch-rate")]
    branch: Rate,
    complexity: Rate,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Coverage {
    #[serde(flatten)]
    rates: Rates,
    lines_covered: i64,
    lines_valid: i64,
    branches_covered: i64,
    branches_valid: i64,
    version: String,
    timestamp: i64,
    sources: Vec<String>,
    packages: Vec<Package>,
}

#[derive(Serialize)]
struct Package {
    name: String,
    #[serde(flatten)]
    rates: Rates,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    name: String,
    filename: String,
    #[serde(flatten)]
    rates: Rates,
    methods: Vec<Method>,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Method {
    name: String,
    signature: String,
    #[serde(flatten)]
    rates: Rates,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    number: i64,
    hits: i64,
    branch: bool,
    #[serde(rename = "condition-coverage", skip_serializing_if = "String::is_empty")]
    condition_coverage: String,
}

#[derive(Default)]
struct Cobertura {
    coverage: Option<Coverage>,
    /// The name of the root element.
    root: String,
    /// The names of the elements that are open.
    open: Vec<String>,
}

impl Visit for Cobertura {
    fn open(&mut self, name: &str, mut attributes: Attributes) -> Result<(), MaterialError> {
        if self.open.is_empty() {
            name.clone_into(&mut self.root);
        }
        self.open.push(name.to_owned());
        let mut text = |key: &str| attributes.remove(key).unwrap_or_default();
        let path: Vec<&str> = self.open.iter().map(String::as_str).collect();
        if path == ["coverage"] {
            self.coverage = Some(Coverage {
                version: text("version"),
                rates: rates(&attributes, name)?,
                lines_covered: whole(&attributes, name, "lines-covered")?,
                lines_valid: whole(&attributes, name, "lines-valid")?,
                branches_covered: whole(&attributes, name, "branches-covered")?,
                branches_valid: whole(&attributes, name, "branches-valid")?,
                timestamp: whole(&attributes, name, "timestamp")?,
                ..Coverage::default()
            });
            return Ok(());
        }
        let Some(report) = &mut self.coverage else { return Ok(()) };
        match path.as_slice() {
            [_, "sources", "source"] => report.sources.push(String::new()),
            [_, "packages", "package"] => {
                let name = text("name");
                report.packages.push(Package { name, rates: rates(&attributes, "package")?, classes: Vec::new() });
            }
            [_, "packages", "package", "classes", "class"] => {
                let (name, filename) = (text("name"), text("filename"));
                let rates = rates(&attributes, "class")?;
                if let Some(package) = report.packages.last_mut() {
                    package.classes.push(Class { name, filename, rates, methods: Vec::new(), lines: Vec::new() });
                }
            }
            [_, "packages", "package", "classes", "class", "methods", "method"] => {
                let (name, signature) = (text("name"), text("signature"));
                let rates = rates(&attributes, "method")?;
                if let Some(class) = report.class() {
                    class.methods.push(Method { name, signature, rates, lines: Vec::new() });
                }
            }
            [_, "packages", "package", "classes", "class", "lines", "line"] => {
                let line = line(attributes)?;
                if let Some(class) = report.class() {
                    class.lines.push(line);
                }
            }
            [_, "packages", "package", "classes", "class", "methods", "method", "lines", "line"] => {
                let line = line(attributes)?;
                if let Some(method) = report.class().and_then(|class| class.methods.last_mut()) {
                    method.lines.push(line);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let source = matches!(self.open.as_slice(), [_, outer, inner] if outer == "sources" && inner == "source");
        if let (true, Some(report)) = (source, &mut self.coverage)
            && let Some(source) = report.sources.last_mut()
        {
            source.push_str(text);
        }
    }

    fn close(&mut self) {
        self.open.pop();
    }
}

impl Coverage {
    fn class(&mut self) -> Option<&mut Class> {
        self.packages.last_mut()?.classes.last_mut()
    }
}

fn line(mut attributes: Attributes) -> Result<Line, MaterialError> {
    let branch = match attributes.get("branch").map(|text| text.trim()) {
        None | Some("" | "false" | "False" | "0") => false,
        Some("true" | "True" | "1") => true,
        Some(other) => return Err(wrong("line", "branch", other, "true or false")),
    };
    Ok(Line {
        number: whole(&attributes, "line", "number")?,
        hits: whole(&attributes, "line", "hits")?,
        branch,
        condition_coverage: attributes.remove("condition-coverage").unwrap_or_default(),
    })
}

fn rates(attributes: &Attributes, element: &str) -> Result<Rates, MaterialError> {
    let rate = |key: &str| match attributes.get(key).map(|text| text.trim()) {
        None | Some("") => Ok(Rate::default()),
        Some(text) => text.parse().map(Rate).map_err(|_| wrong(element, key, text, "a number")),
    };
    Ok(Rates { line: rate("line-rate")?, branch: rate("branch-rate")?, complexity: rate("complexity")? })
}

/// A whole number; 0 when it is absent.
fn whole(attributes: &Attributes, element: &str, key: &str) -> Result<i64, MaterialError> {
    match attributes.get(key).map(|text| text.trim()) {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| wrong(element, key, text, "a whole number")),
    }
}

fn wrong(element: &str, key: &str, found: &str, wanted: &str) -> MaterialError {
    MaterialError::malformed(format!("`{key}` of a `{element}` is `{}`; it has to be {wanted}", shorten(found)))
}
