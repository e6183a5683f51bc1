//! Mistakes in documents, shown in the lines that they are in.

use std::{collections::BTreeMap, fmt};

use contracts::{Finding, Origin, Severity};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan};
use textwrap::WordSplitter;

use super::plain;

/// All findings, each with its snippet. `sources` are the documents by path.
pub fn render(findings: &[Finding], sources: &BTreeMap<String, String>, coloured: bool) -> String {
    let theme = if coloured { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(120)
        // Names and commands are copied: they are not broken at their hyphens.
        .with_word_splitter(WordSplitter::NoHyphenation)
        .without_syntax_highlighting();
    let mut text = String::new();
    for finding in findings {
        let mut one = String::new();
        if handler.render_report(&mut one, &Mistake::new(finding, sources)).is_err() {
            one = plain(&finding.message);
        }
        // Blank lines at the ends of lines are of no use in logs.
        for line in one.trim_end().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// A finding as the renderer wants it.
#[derive(Debug)]
struct Mistake {
    message: String,
    code: String,
    severity: miette::Severity,
    help: Option<String>,
    place: Option<(NamedSource<String>, SourceSpan)>,
}

impl Mistake {
    fn new(finding: &Finding, sources: &BTreeMap<String, String>) -> Self {
        let origin = finding.origin.as_ref();
        let place = origin.and_then(|origin| {
            let source = plain(sources.get(&origin.file)?);
            let span = span(&source, origin)?;
            Some((NamedSource::new(plain(&origin.file), source), span))
        });
        let message = match (origin, &place) {
            (Some(origin), None) => format!("{origin}: {}", finding.message),
            _ => finding.message.clone(),
        };
        Self {
            message: plain(&message),
            code: finding.code.to_string(),
            severity: match finding.severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
            },
            help: finding.mend.as_deref().map(plain),
            place,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.place.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, *span))))
    }
}

/// The word that begins at a place.
fn span(source: &str, origin: &Origin) -> Option<SourceSpan> {
    let skipped = usize::try_from(origin.line).ok()?.checked_sub(1)?;
    let start: usize = source.split_inclusive('\n').take(skipped).map(str::len).sum();
    let line = source.split_inclusive('\n').nth(skipped).unwrap_or_default().trim_end_matches(['\n', '\r']);
    let column = usize::try_from(origin.column).ok()?.saturating_sub(1);
    let within = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let rest = line.get(within..).unwrap_or_default();
    let quoted = rest.starts_with(['"', '\'']).then(|| rest.get(1..)?.find(['"', '\'']).map(|end| end + 2)).flatten();
    let word = quoted.or_else(|| rest.find([' ', ',', ':', '}', ']'])).unwrap_or(rest.len());
    Some(SourceSpan::new((start + within).into(), word.max(1).min(source.len().saturating_sub(start + within))))
}

#[cfg(test)]
mod tests {
    use contracts::Code;

    use super::*;

    #[test]
    fn shows_the_line_the_code_and_the_mend() {
        let finding = Finding::error(Code::DocumentUnknownKey, "`materails` is not a key here")
            .at(Origin { file: "contract.yaml".into(), line: 2, column: 3 })
            .mend("did you mean `materials`?");
        let sources = BTreeMap::from([("contract.yaml".to_owned(), "spec:\n  materails: []\n".to_owned())]);
        let shown = render(std::slice::from_ref(&finding), &sources, false);
        for part in ["document-unknown-key", "`materails` is not", "contract.yaml:2:3", "─────────", "did you mean"]
        {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        // A place that is not in the document is told in words.
        let far = Finding { origin: Some(Origin { file: "gone.yaml".into(), line: 9, column: 1 }), ..finding };
        assert!(render(&[far], &sources, false).contains("gone.yaml:9:1: `materails`"));
    }

    #[test]
    fn any_place_is_safe_to_point_at() {
        for source in ["", "\n", "a", "größe: \"x y\", b", "a\r\n"] {
            for line in 0..4 {
                for column in 0..20 {
                    let origin = Origin { file: String::new(), line, column };
                    if let Some(span) = span(source, &origin) {
                        assert!(span.offset() + span.len() <= source.len().max(span.offset()));
                    }
                }
            }
        }
    }
}
