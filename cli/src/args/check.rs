//! `sluice check` as it is typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct Check {
    /// The image: `registry/repository:tag` or `registry/repository@sha256:…`
    pub image: String,
    /// How the answer is printed
    #[arg(long, short, value_enum, default_value_t)]
    pub output: CheckFormat,
    /// Also write the answer to a file, in any of the forms that --output has; may be repeated. It is written as well
    /// when it could not be told
    #[arg(long = "report", value_name = "FORM=FILE", value_parser = report)]
    pub reports: Vec<(CheckFormat, PathBuf)>,
    /// Ask again until the image is allowed, for this long at most, such as `5m`: for evidence that other jobs are still
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
