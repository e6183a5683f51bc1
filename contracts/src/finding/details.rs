//! What policies tell of vulnerabilities, of code and of licences: the shapes that Chainloop publishes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What a policy is about (`metadata.findingType`). The list is Chainloop's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FindingType {
    /// A known vulnerability of a component.
    Vulnerability,
    /// Something that static analysis found in code.
    Sast,
    /// A component under a licence that is not wanted.
    LicenseViolation,
}

/// What a policy tells of one thing that it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingDetails {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: FindingType,
    /// The published fields of that type, by their `snake_case` names, without `message` and `assessment`.
    #[serde(flatten)]
    pub fields: BTreeMap<String, Json>,
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Texts,
    Score,
    Number,
    Line,
}

/// Name, what it holds, and whether it must be there and say something.
type Field = (&'static str, Holds, bool);

const VULNERABILITY: &[Field] = &[
    ("external_id", Holds::Text, true),
    ("package_purl", Holds::Text, true),
    ("severity", Holds::Text, true),
    ("cvss_v3_score", Holds::Score, false),
    ("cwes", Holds::Texts, false),
    ("recommendation", Holds::Text, false),
    ("description", Holds::Text, false),
    ("fixed_version", Holds::Text, false),
];
const SAST: &[Field] = &[
    ("rule_id", Holds::Text, true),
    ("severity", Holds::Text, true),
    ("location", Holds::Text, true),
    ("line_number", Holds::Line, false),
    ("code_snippet", Holds::Text, false),
    ("recommendation", Holds::Text, false),
    ("severity_score", Holds::Number, false),
];
const LICENSE: &[Field] = &[
    ("component_name", Holds::Text, true),
    ("package_purl", Holds::Text, false),
    ("license_id", Holds::Text, true),
    ("license_name", Holds::Text, false),
    ("component_version", Holds::Text, false),
    ("recommendation", Holds::Text, false),
];

impl FindingType {
    /// Every type.
    pub const ALL: &'static [Self] = &[Self::Vulnerability, Self::Sast, Self::LicenseViolation];

    /// The published name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vulnerability => "VULNERABILITY",
            Self::Sast => "SAST",
            Self::LicenseViolation => "LICENSE_VIOLATION",
        }
    }

    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Vulnerability => VULNERABILITY,
            Self::Sast => SAST,
            Self::LicenseViolation => LICENSE,
        }
    }
}

impl fmt::Display for FindingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FindingType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl FindingDetails {
    /// Takes the published fields of a type, by their `snake_case` or `camelCase` names; `field` answers with a
    /// field's value. Texts are passed through `shorten`. Other fields are left out, as is `null`.
    ///
    /// # Errors
    /// The first field that is missing, or holds something else than published.
    pub fn read(
        kind: FindingType,
        field: &dyn Fn(&str) -> Option<Json>,
        shorten: &dyn Fn(&str) -> String,
    ) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        for (name, holds, required) in kind.fields() {
            let value = field(name).or_else(|| field(&camel_case(name))).filter(|value| !value.is_null());
            if let Some(value) = value {
                let taken = take(*holds, &value, shorten);
                let taken =
                    taken.ok_or_else(|| format!("`{name}` of a finding of type {kind} is not {}", holds.name()))?;
                let empty = matches!(&taken, Json::String(text) if text.is_empty());
                if !empty {
                    fields.insert((*name).to_owned(), taken);
                    continue;
                }
            }
            if *required {
                return Err(format!("a finding of type {kind} has no `{name}`"));
            }
        }
        Ok(Self { kind, fields })
    }
}

impl Holds {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Score => "a number from 0 to 10",
            Self::Number => "a number",
            Self::Line => "a whole number",
        }
    }
}

/// Numbers may be written as texts, as in protobuf's JSON.
fn take(holds: Holds, value: &Json, shorten: &dyn Fn(&str) -> String) -> Option<Json> {
    let number = || match value {
        Json::String(text) => text.parse::<f64>().ok().filter(|number| number.is_finite()),
        other => other.as_f64(),
    };
    match holds {
        Holds::Text => value.as_str().map(|text| Json::String(shorten(text))),
        Holds::Texts => {
            let texts: Option<Vec<Json>> =
                value.as_array()?.iter().map(|item| item.as_str().map(|text| Json::String(shorten(text)))).collect();
            texts.map(|mut texts| {
                texts.truncate(crate::limits::DOCUMENT_LIST_ITEMS);
                Json::Array(texts)
            })
        }
        Holds::Score => number().filter(|score| (0.0..=10.0).contains(score)).map(Json::from),
        Holds::Number => number().map(Json::from),
        Holds::Line => {
            let line = match value {
                Json::String(text) => text.parse::<i32>().ok(),
                other => other.as_i64().and_then(|line| i32::try_from(line).ok()),
            };
            line.map(Json::from)
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut up = false;
    let letters = name.chars().filter_map(|c| {
        if c == '_' {
            up = true;
            return None;
        }
        Some(if std::mem::take(&mut up) { c.to_ascii_uppercase() } else { c })
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: FindingType, found: Json) -> Result<String, String> {
        let details = FindingDetails::read(kind, &|name| found.get(name).cloned(), &str::to_owned)?;
        Ok(serde_json::to_string(&details).unwrap())
    }

    #[test]
    fn the_published_fields_are_kept_and_no_others() {
        let found = json!({"message": "m", "externalId": "CVE-1", "package_purl": "pkg:a", "severity": "HIGH",
            "cvssV3Score": 9.8, "cwes": ["CWE-79"], "recommendation": "", "fixed_version": null, "other": 1});
        assert_eq!(
            read(FindingType::Vulnerability, found).unwrap(),
            r#"{"type":"VULNERABILITY","cvss_v3_score":9.8,"cwes":["CWE-79"],"external_id":"CVE-1","package_purl":"pkg:a","severity":"HIGH"}"#
        );
        let found = json!({"rule_id": "r", "severity": "LOW", "location": "a.rs", "line_number": "7"});
        assert_eq!(
            read(FindingType::Sast, found).unwrap(),
            r#"{"type":"SAST","line_number":7,"location":"a.rs","rule_id":"r","severity":"LOW"}"#
        );
        let found = json!({"component_name": "c", "license_id": "AGPL-3.0"});
        assert!(read(FindingType::LicenseViolation, found).is_ok());
    }

    #[test]
    fn what_is_missing_or_of_another_shape_is_told() {
        for (kind, found, told) in [
            (FindingType::Vulnerability, json!({}), "a finding of type VULNERABILITY has no `external_id`"),
            (
                FindingType::Vulnerability,
                json!({"external_id": "", "package_purl": "p", "severity": "s"}),
                "a finding of type VULNERABILITY has no `external_id`",
            ),
            (
                FindingType::Vulnerability,
                json!({"external_id": "a", "package_purl": "p", "severity": "s", "cvss_v3_score": 11}),
                "`cvss_v3_score` of a finding of type VULNERABILITY is not a number from 0 to 10",
            ),
            (FindingType::Sast, json!({"rule_id": 1}), "`rule_id` of a finding of type SAST is not a text"),
            (
                FindingType::Sast,
                json!({"rule_id": "r", "severity": "s", "location": "l", "line_number": 1.5}),
                "`line_number` of a finding of type SAST is not a whole number",
            ),
        ] {
            assert_eq!(read(kind, found).unwrap_err(), told);
        }
    }
}
