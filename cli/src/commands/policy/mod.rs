//! `sluice policy …`: for authors, without a gateway.

mod cases;
mod eval;
mod folder;
mod init;
mod junit;
mod lint;
mod shelf;
mod test;

use anyhow::bail;

use super::variable;
use crate::{
    args::{self, LintFormat},
    exit::Exit,
    report::Report,
    settings,
    sources::Fetching,
};

/// Runs the command. `format` is how a command that goes on prints what it found so far.
pub async fn run(connection: &args::Connection, args: &args::Policy, format: LintFormat) -> anyhow::Result<Report> {
    if matches!(format, LintFormat::Sarif | LintFormat::Github) && !matches!(args, args::Policy::Lint { .. }) {
        bail!("only `sluice policy lint` writes SARIF and GitHub's commands");
    }
    let hosts = |fetching: &args::Fetching| settings::allowed_hosts(connection, fetching, &variable);
    match args {
        args::Policy::Lint { paths, fetching } => lint::run(paths, Fetching::from(&hosts(fetching)?)).await,
        args::Policy::Init { name, kind, dir } => init::run(name, *kind, dir),
        args::Policy::List => shelf::list(),
        args::Policy::Show { name } => shelf::show(name),
        args::Policy::Eval(args) => eval::run(args, Fetching::from(&hosts(&args.fetching)?)).await,
        args::Policy::Test(args) => test::run(args, &hosts(&args.fetching)?, format).await,
    }
}

/// `1 case`, `2 cases`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Documents with mistakes that something was asked about: there is no answer.
fn mistakes(file: &str, sources: &folder::Sources, findings: &[contracts::Finding]) -> anyhow::Result<Report> {
    let text = crate::report::diagnostics::render(findings, sources, crate::report::coloured());
    let data = serde_json::json!({"file": file, "findings": findings});
    Report::new(Exit::Unknown, &data, text)
}
