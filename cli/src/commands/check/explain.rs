//! What was asked of an image, rule by rule, with what came of it. The rules are compiled from the very revision that the
//! gateway answered with; nothing is decided here.

use std::{collections::BTreeMap, fmt::Write as _};

use contracts::{ContractAnswer, Dependency, Finding, api::CheckAnswer, revision::Revision};
use policies::Rule;

use crate::{
    client::Client,
    report::{self, diagnostics, plain, table},
};

/// The explanation. What cannot be had is said instead.
pub async fn text(client: &Client, answer: &CheckAnswer) -> String {
    let verdict = &answer.verdict;
    let mut text = String::new();
    let attestations: Vec<String> = verdict
        .depends_on
        .iter()
        .filter_map(|one| match one {
            Dependency::Attestation(id) => Some(id.to_string()),
            _ => None,
        })
        .collect();
    if attestations.is_empty() {
        text.push_str("no attestation was judged\n");
    }
    for id in attestations {
        let _ = writeln!(text, "judged: attestation {id}");
    }
    let mut sources = BTreeMap::new();
    for contract in &verdict.contracts {
        match asked(client, contract).await {
            Ok((rules, files)) => {
                let _ = writeln!(text, "\ncontract {} revision {}", contract.contract, contract.revision);
                text.push_str(&rows(&rules, answer));
                text.push('\n');
                // With several contracts it is not known whose file is meant.
                if verdict.contracts.len() == 1 {
                    sources = files;
                }
            }
            Err(error) => {
                let _ = writeln!(text, "\nthe rules of contract {} cannot be told: {error:#}", contract.contract);
            }
        }
    }
    if !verdict.findings.is_empty() {
        text.push('\n');
        text.push_str(&diagnostics::render(&verdict.findings, &sources, report::coloured()));
    }
    text.trim_end().to_owned()
}

async fn asked(client: &Client, of: &ContractAnswer) -> anyhow::Result<(Vec<Rule>, BTreeMap<String, String>)> {
    let body = client.contract(&of.contract, Some(of.revision)).await?;
    let (revision, _) = Revision::from_files(&body.files)?;
    let rules = policies::compile(&revision)?;
    Ok((rules.rules().to_vec(), body.files.files))
}

fn rows(rules: &[Rule], answer: &CheckAnswer) -> String {
    let verdict = &answer.verdict;
    let judged = verdict.depends_on.iter().any(|one| matches!(one, Dependency::Attestation(_)));
    let by = |rule: &Rule| -> Vec<&Finding> {
        verdict.findings.iter().filter(|finding| finding.rule.as_deref() == Some(rule.id.as_str())).collect()
    };
    let rows = rules.iter().map(|rule| {
        let found = by(rule);
        let came = match (judged, found.iter().any(|finding| finding.blocks()), found.is_empty()) {
            (_, true, _) => "blocks",
            (_, false, false) => "warns",
            (true, false, true) => "satisfied",
            (false, false, true) => "not asked",
        };
        let origin = &rule.origin;
        [came.to_owned(), rule.id.clone(), plain(&rule.message), format!("{}:{}", origin.file, origin.line)]
    });
    table::table(["", "rule", "when it is not satisfied", "asked for by"], rows)
}
