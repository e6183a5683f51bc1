//! Tables for people.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use contracts::{Finding, Severity};
use jiff::Timestamp;

use super::plain;

/// Where nothing says how wide a line may be: the log of a CI system, a pipe, a file.
const WIDTH: u16 = 120;
/// Columns whose values are copied or compared: they are not broken over lines.
const WHOLE: [&str; 8] = ["run", "id", "when", "applied", "created", "used", "digest", "attestation"];
/// What is left to every other column at least, even when the table gets wider than it should: a word fits.
const READABLE: u16 = 16;
/// The longest word that is not broken where nothing says how wide a line may be: an image with its digest, which is
/// copied out of logs.
const WORD: u16 = 160;

/// A table. Every cell is made harmless.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    arranged(header, rows, asked_for(std::env::var("COLUMNS").ok().as_deref()))
}

fn arranged<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.map(Cell::new));
    let mut words = [0; N];
    for row in rows {
        let row = row.map(|text| plain(&text));
        for (longest, text) in words.iter_mut().zip(&row) {
            *longest = word(text).max(*longest);
        }
        table.add_row(row.map(Cell::new));
    }
    let contents = table.column_max_content_widths();
    let told = width.or_else(|| table.width());
    let mut least: u16 = 1;
    for (((column, name), content), word) in table.column_iter_mut().zip(header).zip(contents).zip(words) {
        let mut needs = content.min(READABLE);
        if WHOLE.contains(&name) {
            column.set_constraint(ColumnConstraint::ContentWidth);
            needs = content;
        } else if told.is_none() {
            needs = needs.max(word.min(WORD));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(needs.saturating_add(2))));
        }
        // With a blank on each side, and a line.
        least = least.saturating_add(needs).saturating_add(3);
    }
    // People read the logs of CI systems, too. Programs ask for another format.
    table.set_width(told.unwrap_or(WIDTH).max(least));
    table.to_string()
}

/// How long the longest word of a text is.
fn word(text: &str) -> u16 {
    let longest = text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default();
    u16::try_from(longest).unwrap_or(u16::MAX)
}

/// The width that the caller exported, if it is one.
fn asked_for(columns: Option<&str>) -> Option<u16> {
    columns?.trim().parse().ok().filter(|columns| *columns > 0)
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
    fn what_is_copied_stays_whole_and_the_rest_is_wrapped_readably() {
        let digest = contracts::Digest::of(b"one").to_string();
        let row = || [digest.clone(), "the scan of the image found something that nobody wants".to_owned()];
        let widest = |told: &str| told.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let of = |width| arranged(["digest", "reason"], [row()], width);
        assert!(of(None).contains(&digest) && widest(&of(None)) <= usize::from(WIDTH), "{}", of(None));
        assert_eq!(of(Some(500)).lines().count(), 5);
        // Less than there is place for: wider than asked, and still to be read.
        let narrow = of(Some(20));
        assert!(narrow.contains(&digest) && narrow.contains("┆ nobody wants"), "{narrow}");
        // In a log, a word is whole wherever it stands.
        let image = format!("registry.shop.example/app@{digest}");
        let prose =
            || ["denied".to_owned(), format!("nothing is known of the image, type `sluice check {image}` to see more")];
        let log = arranged(["", "why"], [prose()], None);
        assert!(log.contains(&image) && widest(&log) <= usize::from(WIDTH), "{log}");
        assert!(!arranged(["", "why"], [prose()], Some(80)).contains(&image));
        for (said, width) in [(None, None), (Some("200"), Some(200)), (Some("0"), None), (Some("wide"), None)] {
            assert_eq!(asked_for(said), width, "{said:?}");
        }
    }

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
