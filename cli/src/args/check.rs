//! `sluice check` as it is typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct Check {
    /// An image (`registry/repository:tag` or `registry/repository@sha256:…`), a file (`./dist/app.tar.gz`) or the digest of
    /// one (`sha256:…`)
    #[arg(value_name = "IMAGE|FILE|DIGEST")]
    pub subject: String,
    /// A contract that must allow it, too; may be repeated. For a file or digest those that are named are all that
    /// answer; for an image they come to those that answer for its repository
    #[arg(long = "contract", value_name = "NAME")]
    pub contracts: Vec<String>,
    /// What is named, where it could be read as several
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub kind: Option<SubjectKind>,
    /// How the answer is printed
    #[arg(long, short, value_enum, default_value_t)]
    pub output: CheckFormat,
    /// Also write the answer to a file, in any of the forms that --output has; may be repeated. It is written as well
    /// when it could not be told
    #[arg(long = "report", value_name = "FORM=FILE", value_parser = report)]
    pub reports: Vec<(CheckFormat, PathBuf)>,
    /// Ask again until it is allowed, for this long at most, such as `5m`: for evidence that other jobs are still
    /// pushing
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub wait: Option<Duration>,
    /// Tell each rule that was asked with what came of it, and show findings in the contract
    #[arg(long)]
    pub explain: bool,
    /// Also write the gateway's signed word (a Verification Summary Attestation in a Sigstore bundle) to this file,
    /// for yes and no alike
    #[arg(long, value_name = "FILE")]
    pub vsa: Option<PathBuf>,
}

/// What can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SubjectKind {
    /// An image in a registry
    Image,
    /// A file
    File,
    /// The digest of a file
    Digest,
}

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    #[value(alias = "table")]
    Human,
    /// For programs
    Json,
    /// SARIF, for programs that show findings
    Sarif,
    /// JUnit XML, for programs that show the results of tests
    Junit,
    /// Commands that make GitHub's runner show findings; the job's summary is written, too
    Github,
    /// A Code Quality report of GitLab
    Gitlab,
    /// Markdown, for a summary or a comment
    Markdown,
}

fn report(text: &str) -> Result<(CheckFormat, PathBuf), String> {
    let forms = "write it as FORM=FILE, for example junit=report.xml";
    let (form, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or(forms)?;
    Ok((CheckFormat::from_str(form, false)?, PathBuf::from(file)))
}

fn span(text: &str) -> Result<Duration, String> {
    let span = contracts::duration::parse(text).map_err(|error| error.to_string())?;
    Duration::try_from(span).map_err(|error| error.to_string())
}
