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
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| !finding.blocks());
    table(
        ["", "what is wrong", "what to do", "code", "asked for by"],
        sorted.into_iter().map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "blocks",
                Severity::Warning if finding.exempted.is_some() => "exempted",
                Severity::Warning => "warning",
            };
            let asked = [finding.rule.clone(), finding.origin.as_ref().map(ToString::to_string)];
            [
                severity.to_owned(),
                finding.message.clone(),
                finding.exempted.as_ref().map_or_else(
                    || finding.mend.clone().unwrap_or_default(),
                    |by| format!("nothing until {}: exemption {}", moment(by.until), by.name),
                ),
                finding.code.to_string(),
                asked.into_iter().flatten().collect::<Vec<_>>().join("\n"),
            ]
        }),
    )
}

/// A moment, to the second.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
