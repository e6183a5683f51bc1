//! Tables for people.

use std::io::IsTerminal;

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
use contracts::{Finding, Severity};
use jiff::Timestamp;

use super::plain;

/// Where no terminal says how wide it is.
const WIDTH: u16 = 120;
/// Columns whose values are copied or compared: they are not broken over lines.
const WHOLE: [&str; 7] = ["run", "id", "when", "applied", "created", "used", "digest"];

/// A table. Every cell is made harmless.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    // A program that reads it, or a file, has no width.
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(header.map(Cell::new));
    for (column, _) in table.column_iter_mut().zip(header).filter(|(_, name)| WHOLE.contains(name)) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for row in rows {
        table.add_row(row.map(|text| Cell::new(plain(&text))));
    }
    table.to_string()
}

/// A two-column list of what one thing is.
pub fn card<const N: usize>(rows: [(&str, String); N]) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key:width$}  {}", plain(value)))
        .collect();
    lines.join("\n")
}

/// What was found and what to do about it, what blocks first.
pub fn findings(findings: &[Finding]) -> String {
    // A consequence stands beneath its cause, and where that stands.
    let cause = |finding: &Finding| findings.iter().position(|other| finding.is_beneath(other));
    let mut sorted: Vec<(bool, usize, Option<usize>, &Finding)> = Vec::with_capacity(findings.len());
    for (at, finding) in findings.iter().enumerate() {
        let cause = cause(finding);
        let leads = cause.and_then(|cause| findings.get(cause)).unwrap_or(finding);
        sorted.push((!leads.blocks() && !finding.blocks(), cause.unwrap_or(at), cause.map(|_| at), finding));
    }
    sorted.sort_by_key(|(last, cause, at, _)| (*last, *cause, *at));
    let rows: Vec<[String; 5]> = sorted
        .into_iter()
        .map(|(_, _, beneath, finding)| {
            let severity = match finding.severity {
                Severity::Error => "blocks",
                Severity::Warning if finding.exempted.is_some() => "exempted",
                Severity::Warning => "warning",
            };
            let asked = [finding.rule.clone(), finding.origin.as_ref().map(ToString::to_string)];
            [
                severity.to_owned(),
                if beneath.is_some() { format!("└ so {}", finding.message) } else { finding.message.clone() },
                finding.exempted.as_ref().map_or_else(
                    || finding.mend.clone().unwrap_or_default(),
                    |by| format!("nothing until {}: exemption {}", moment(by.until), by.name),
                ),
                finding.code.to_string(),
                asked.into_iter().flatten().collect::<Vec<_>>().join("\n"),
            ]
        })
        .collect();
    if rows.iter().all(|[_, _, mend, ..]| mend.is_empty()) {
        let rows = rows.into_iter().map(|[severity, wrong, _, code, asked]| [severity, wrong, code, asked]);
        return table(["", "what is wrong", "code", "asked for by"], rows);
    }
    table(["", "what is wrong", "what to do", "code", "asked for by"], rows)
}

/// A moment, to the second.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use contracts::{Code, EvidencePlace};

    use super::*;

    #[test]
    fn what_blocks_is_first_and_consequences_are_beneath_their_cause() {
        let of = |code, text: &str, material: &str| {
            let place = EvidencePlace { attestation: None, material: Some(material.to_owned()) };
            Finding::error(code, text).in_evidence(place)
        };
        let told = findings(&[
            Finding::warning(Code::PolicyAdvisory, "a warning"),
            of(Code::MaterialMissing, "no SBOM", "sbom"),
            of(Code::MaterialMissing, "no note", "note"),
            of(Code::PolicySkipped, "licenses could not judge", "sbom"),
            of(Code::PolicySkipped, "spelling could not judge", "note"),
            of(Code::PolicySkipped, "another policy did not judge", "scan"),
        ]);
        let cells: Vec<&str> = told.lines().filter_map(|line| line.split('┆').nth(1)).map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "what is wrong",
                "no SBOM",
                "└ so licenses could not judge",
                "no note",
                "└ so spelling could not judge",
                "another policy did not judge",
                "a warning"
            ]
        );
        assert!(!told.contains("what to do"), "nothing is to be done by any of them:\n{told}");
        let mended = findings(&[of(Code::MaterialMissing, "no SBOM", "sbom").mend("add it")]);
        assert!(mended.contains("what to do") && mended.contains("add it"), "{mended}");
    }
}
