//! What a command found, and the only place that prints. Results go to standard output, talk to standard error.

pub mod diagnostics;
pub mod progress;
pub mod sarif;
pub mod table;
pub mod xml;

use std::io::{self, IsTerminal, Write};

use contracts::{Bundle, Finding};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{CraftFormat, LintFormat},
    client::ClientError,
    exit::Exit,
};

/// What a command found.
#[derive(Debug)]
pub struct Report {
    /// How the program ends.
    pub exit: Exit,
    /// The result for programs.
    data: Value,
    /// The result for people.
    text: String,
    /// Talk.
    notes: Vec<String>,
    /// Findings about documents, which have forms of their own.
    about: Vec<Finding>,
    /// A statement and a bundle, where a command makes them.
    crafted: Crafted,
}

/// What crafting made.
#[derive(Debug, Default)]
pub struct Crafted {
    /// The in-toto statement, signed or not.
    pub statement: Option<Value>,
    /// The signed bundle.
    pub bundle: Option<Value>,
}

impl Crafted {
    /// A bundle and the statement in it, unverified.
    pub fn of(bundle: &[u8]) -> Self {
        let statement = Bundle::parse(bundle).ok();
        let statement = statement.and_then(|bundle| serde_json::from_slice(&bundle.envelope().payload).ok());
        Self { statement, bundle: serde_json::from_slice(bundle).ok() }
    }
}

impl Report {
    /// A result in both forms. Text from outside must have gone through [`plain`].
    pub fn new(exit: Exit, data: &impl Serialize, text: impl Into<String>) -> anyhow::Result<Self> {
        Ok(Self {
            exit,
            data: serde_json::to_value(data)?,
            text: text.into(),
            notes: Vec::new(),
            about: Vec::new(),
            crafted: Crafted::default(),
        })
    }

    /// Several results as one, which is a "no" when one of them is.
    pub fn of_all(reports: Vec<Self>) -> anyhow::Result<Self> {
        let no = reports.iter().any(|report| report.exit != Exit::Yes);
        let texts: Vec<&str> = reports.iter().map(|report| report.text.as_str()).collect();
        let data: Vec<&Value> = reports.iter().map(|report| &report.data).collect();
        let whole = Self::new(if no { Exit::No } else { Exit::Yes }, &data, texts.join("\n"))?;
        let notes = reports.iter().flat_map(|report| report.notes.clone()).collect();
        let about = reports.into_iter().flat_map(|report| report.about).collect();
        Ok(Self { notes, about, ..whole })
    }

    /// Which says these things about documents.
    #[must_use]
    pub fn about(mut self, findings: Vec<Finding>) -> Self {
        self.about = findings;
        self
    }

    /// With what was crafted.
    #[must_use]
    pub fn crafted(mut self, crafted: Crafted) -> Self {
        self.crafted = crafted;
        self
    }

    /// With something said beside it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With a line more for people.
    #[must_use]
    pub fn add(mut self, line: &str) -> Self {
        self.text.push('\n');
        self.text.push_str(line);
        self
    }

    /// With the warnings beside it, each on a line.
    #[must_use]
    pub fn warnings(self, findings: &[Finding]) -> Self {
        findings.iter().fold(self, |report, finding| {
            let place = finding.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
            let mend = finding.mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default();
            report.note(plain(&format!("warning: {place}{} ({}){mend}", finding.message, finding.code)))
        })
    }

    /// Prints it, or what was crafted alone.
    pub fn print_crafted(&self, format: CraftFormat) {
        let asked = match format {
            CraftFormat::Human => return self.print(LintFormat::Human),
            CraftFormat::Json => return self.print(LintFormat::Json),
            CraftFormat::Statement => &self.crafted.statement,
            CraftFormat::Attestation => &self.crafted.bundle,
        };
        for note in &self.notes {
            say(note);
        }
        match asked {
            Some(value) => line(&format!("{value:#}")),
            // It is told what happened all the same.
            None => say(self.text.trim_end_matches('\n')),
        }
    }

    /// Prints it.
    pub fn print(&self, format: LintFormat) {
        for note in &self.notes {
            say(note);
        }
        match format {
            LintFormat::Human => line(self.text.trim_end_matches('\n')),
            LintFormat::Json => line(&format!("{:#}", self.data)),
            LintFormat::Sarif => line(&format!("{:#}", sarif::log(&self.about))),
            LintFormat::Github => line(plain(&sarif::commands(&self.about)).trim_end_matches('\n')),
        }
    }
}

/// Prints a line of a result.
pub fn line(text: &str) {
    if !text.is_empty() {
        // A closed pipe is the reader's choice.
        let _ = writeln!(io::stdout().lock(), "{text}");
    }
}

/// Prints a line of talk.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints why a command failed.
pub fn failure(error: &anyhow::Error) {
    let mut told = String::new();
    for cause in error.chain() {
        let cause = plain(&cause.to_string());
        // Wrappers repeat what they wrap.
        if told.ends_with(&cause) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&cause);
    }
    say(&format!("error: {told}"));
    if let Some(ClientError::Refused { findings, .. }) = error.downcast_ref::<ClientError>()
        && !findings.is_empty()
    {
        say(&table::findings(findings));
    }
}

/// Asks a person whether to go on. Where nobody is there to answer, whoever typed the command meant it.
pub fn ask(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    let mut talk = io::stderr();
    write!(talk, "{question} [y/N] ")?;
    talk.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Whether results may be coloured.
pub fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text from outside without what would steer a terminal: control characters other than line feed and tab, and
/// marks that turn the direction of writing.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\u{202e}c\u{9b}"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(plain("größe\n\tok"), "größe\n\tok");
    }
}
