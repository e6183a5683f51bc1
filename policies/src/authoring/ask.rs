//! One policy, asked about one input.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts::{
    Decision, Diagnostics, Digest, Finding, MaterialType, Origin, PinnedRef, Statement, Subject,
    crafting::{DeclaredMaterial, ImageName},
};
use jiff::Timestamp;
use regorus::Value;
use serde::Serialize;

use super::files::{MATERIAL, PolicyFiles, by_contract};
use crate::{
    evaluate::{EvaluateError, deadline, evaluate, minute_of, with_arguments},
    evidence::{Attested, Evidence, MaterialEvidence},
    policy::{self, Policy, RunError, Script},
    rego::{self, Interpreted},
    rule::{Phase, Program, RuleInput, RuleSet},
};

/// What a policy is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its type; `ATTESTATION` for a statement.
    pub kind: MaterialType,
    /// Its bytes. A statement may be bare, in a DSSE envelope or in a bundle: signatures are not looked at. Of a
    /// `CONTAINER_IMAGE` it is the reference with its digest.
    pub bytes: Vec<u8>,
    /// The file's name, as policies see it.
    pub filename: Option<String>,
    /// Annotations of the material, as policies see them.
    pub annotations: BTreeMap<String, String>,
}

/// What a policy said.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Whether a contract with this policy as a gate lets it pass.
    pub decision: Decision,
    /// Why not, and what only warns.
    pub findings: Vec<Finding>,
    /// What each script answered, in the order of the policy's scripts.
    pub scripts: Vec<ScriptRun>,
    /// Whether the answer depends on `now`.
    pub reads_now: bool,
}

/// What one script answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScriptRun {
    /// Where its first line stands.
    pub origin: Origin,
    /// Its rule `result` as it gave it; sets are lists. None when it is undefined.
    pub result: Option<serde_json::Value>,
    /// Why there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it looked at, when that was asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// What a script looked at, found by interpreting it as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The lines of the script that were looked at, from 1.
    pub reached: BTreeSet<u32>,
    /// The lines that could have been and were not.
    pub missed: BTreeSet<u32>,
    /// What it printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prints: Vec<String>,
    /// How the interpreter's result differs, should it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
}

/// Why a policy could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The policy or its arguments have mistakes.
    #[error(transparent)]
    Policy(#[from] Diagnostics),
    /// What it is asked about is not a statement or reference.
    #[error("{0}")]
    Input(String),
    /// The wall clock ran out.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// Asks a policy as the gateway would, were it a gate of a contract. A material that is not what its type says denies,
/// as it would there. With `trace` the scripts are interpreted, too.
///
/// # Errors
/// When the policy does not compile, the arguments do not fit, or the input is not a statement.
pub fn ask(
    policy: &PolicyFiles,
    input: &Input,
    with: &BTreeMap<String, String>,
    now: Timestamp,
    trace: bool,
) -> Result<Asked, AskError> {
    let kinds = policy.kinds();
    if !kinds.is_empty() && !kinds.contains(&input.kind) {
        let names = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(AskError::Input(format!("the policy reads {names}, and this is of type {}", input.kind)));
    }
    let rules = policy.compile(input.kind, with)?;
    let evidence = match evidence(input, now)? {
        Ok(evidence) => evidence,
        Err(finding) => {
            let reads_now = false;
            return Ok(Asked { decision: Decision::Deny, findings: vec![finding], scripts: Vec::new(), reads_now });
        }
    };
    let evaluation = evaluate(&rules, &evidence, None, Phase::Admission, now)?;
    let mut scripts = Vec::new();
    let mut reads_now = false;
    for (program, document, bytes) in questions(&rules, &evidence) {
        reads_now |= program.reads_now();
        let now = if program.reads_now() { minute_of(now) } else { now };
        let asked = policy::Asked { input: document, bytes, now, evidence: &evidence };
        scripts.extend(run(program, &asked, trace));
    }
    // The contract that asked was made for the question: there is no rule or material to look up.
    let alone = |finding: Finding| match by_contract(&finding) {
        true => Finding { rule: None, evidence: None, origin: None, ..finding },
        false => finding,
    };
    let findings = evaluation.findings.into_iter().map(alone).collect();
    Ok(Asked { decision: evaluation.decision, findings, scripts, reads_now })
}

/// The policies of the rules, each with its input and how many bytes that was.
fn questions<'r>(rules: &'r RuleSet, evidence: &Evidence) -> Vec<(&'r Policy, Value, usize)> {
    let mut questions = Vec::new();
    for rule in rules.rules() {
        let Program::Policy(program) = &rule.program else { continue };
        let asked = match &rule.input {
            RuleInput::Attestation => evidence.attested.first().map(|attested| (&attested.input, attested.bytes())),
            RuleInput::Material { name } => evidence
                .materials
                .get(name)
                .map(|piece| (&piece.input, piece.material.document.as_ref().map_or(0, |document| document.bytes()))),
            RuleInput::OtherMaterials { .. } => None,
        };
        if let Some((document, bytes)) = asked {
            questions.push((program.as_ref(), with_arguments(document, &program.arguments), bytes));
        }
    }
    questions
}

/// A question as another engine of Rego is asked it, and what was answered here.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The module: the script and what is added to it.
    pub module: String,
    /// Whether it is written in the older syntax.
    pub old_syntax: bool,
    /// What to ask for.
    pub query: String,
    /// The input.
    pub input: serde_json::Value,
    /// What the script reads as `data`.
    pub data: serde_json::Value,
    /// What was answered here; `None` when it is undefined, an error when there was no answer.
    pub result: Result<Option<serde_json::Value>, String>,
}

/// The questions that asking a policy puts to its scripts, for comparing with other engines. The time is written into
/// the modules.
///
/// # Errors
/// As [`ask`]; an input that is not what its type says puts no question.
pub fn export(
    policy: &PolicyFiles,
    input: &Input,
    with: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Vec<Exported>, AskError> {
    let rules = policy.compile(input.kind, with)?;
    let Ok(evidence) = evidence(input, now)? else { return Ok(Vec::new()) };
    let mut exported = Vec::new();
    for (program, document, bytes) in questions(&rules, &evidence) {
        let now = if program.reads_now() { minute_of(now) } else { now };
        let asked = policy::Asked { input: document.clone(), bytes, now, evidence: &evidence };
        for script in &program.scripts {
            let Script::Rego(rego) = script else { continue };
            let Some(portable) = rego::portable(rego, now) else { continue };
            let result = script.result(asked.clone(), deadline());
            exported.push(Exported {
                module: portable.module,
                old_syntax: portable.old_syntax,
                query: portable.query,
                input: json(&document).unwrap_or_default(),
                data: json(rego.data()).unwrap_or_default(),
                result: result.map(|result| json(&result)).map_err(|error| error.to_string()),
            });
        }
    }
    Ok(exported)
}

/// Runs the scripts once more, for their results as they are.
fn run(policy: &Policy, asked: &policy::Asked<'_>, trace: bool) -> Vec<ScriptRun> {
    let mut runs = Vec::new();
    for script in &policy.scripts {
        let ran = script.result(asked.clone(), deadline());
        let trace = trace.then(|| match script {
            Script::Rego(script) => rego::interpret(script, asked.clone(), deadline())
                .map(|interpreted| traced(&ran, interpreted))
                .unwrap_or_default(),
            // One expression has no lines of its own to reach.
            Script::Cel(_) => Trace::default(),
        });
        let (result, error) = match ran {
            Ok(result) => (json(&result), None),
            Err(error) => (None, Some(error.to_string())),
        };
        runs.push(ScriptRun { origin: script.origin().clone(), result, error, trace });
    }
    runs
}

fn traced(ran: &Result<Value, RunError>, interpreted: Interpreted) -> Trace {
    let Interpreted { result, reached, missed, prints } = interpreted;
    let differs = match (ran, &result) {
        (Ok(one), Ok(other)) if one == other => None,
        // That it fails is all that both say alike.
        (Err(_), _) => None,
        (Ok(_), Ok(other)) => Some(format!("the interpreter's result is {}", shown(other))),
        (Ok(_), Err(error)) => Some(format!("the interpreter fails: {error}")),
    };
    Trace { reached, missed, prints, differs }
}

fn shown(value: &Value) -> String {
    json(value).map_or_else(|| "undefined".to_owned(), |json| json.to_string())
}

fn json(value: &Value) -> Option<serde_json::Value> {
    if matches!(value, Value::Undefined) { None } else { serde_json::to_value(value).ok() }
}

/// The input as evidence; a finding when it is not what its type says.
fn evidence(input: &Input, now: Timestamp) -> Result<Result<Evidence, Finding>, AskError> {
    if input.kind == MaterialType::Attestation {
        let attested = Attested::unsigned(&statement(&input.bytes)?, now);
        return Ok(Ok(Evidence::of_run(attested, Vec::new())));
    }
    let mut declared = DeclaredMaterial {
        name: MATERIAL.to_owned(),
        kind: input.kind,
        digest: Digest::of(&input.bytes),
        filename: input.filename.clone(),
        inline: None,
        image: None,
        skip_upload: false,
        output: false,
        annotations: input.annotations.clone(),
    };
    declared.annotations.insert("chainloop.material.name".to_owned(), MATERIAL.to_owned());
    declared.annotations.insert("chainloop.material.type".to_owned(), input.kind.to_string());
    let material = if input.kind == MaterialType::ContainerImage {
        let image = image(&input.bytes)?;
        declared.digest = image.digest;
        declared.image = Some(ImageName { repository: image.repository, tag: None });
        Ok(MaterialEvidence::reference(&declared))
    } else {
        MaterialEvidence::from_bytes(&declared, &input.bytes)
    };
    let subject = Subject::sha256(MATERIAL, declared.digest);
    let statement = Statement::new(vec![subject], "https://sluice.dev/authoring/v1", serde_json::json!({}));
    let attested = Attested::unsigned(&statement, now);
    Ok(material.map(|material| Evidence::of_run(attested, vec![material])))
}

fn image(bytes: &[u8]) -> Result<PinnedRef, AskError> {
    let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    text.parse().map_err(|error| AskError::Input(format!("an image is given as repository@sha256:…: {error}")))
}

/// The statement in what was given: bare, in an envelope, or in a bundle.
fn statement(bytes: &[u8]) -> Result<Statement, AskError> {
    let bare = |bytes: &[u8]| Statement::parse(bytes).map_err(|error| AskError::Input(error.to_string()));
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return bare(bytes) };
    let payload = json.pointer("/dsseEnvelope/payload").or_else(|| json.get("payload"));
    let Some(payload) = payload.and_then(serde_json::Value::as_str) else { return bare(bytes) };
    let decoded = STANDARD.decode(payload);
    let decoded = decoded.map_err(|_| AskError::Input("the envelope's payload is not Base64".to_owned()))?;
    bare(&decoded)
}
