//! Evidence: what rules look at. Made of verified attestations and of bytes that were hashed again; parsed once, shared
//! by all rules.

mod material;

use std::collections::{BTreeMap, VecDeque};

use contracts::{
    Digest, Provider, Runner, RunnerIdentity, SignerIdentity, Statement, Verification, Verified,
    crafting::{self, CraftedRun, DeclaredMaterial, SelfClaims},
};
use jiff::Timestamp;
use regorus::Value;

use crate::{claims, rule::RuleSet};
pub use material::MaterialEvidence;

/// A verified attestation as rules read it: what the build claims of itself is taken out.
#[derive(Debug, Clone)]
pub struct Attested {
    pub(crate) id: Digest,
    pub(crate) predicate_type: String,
    /// The statement, for Rego: with the run's names as policies expect them.
    pub(crate) input: Value,
    /// The statement, for CEL: with the signers.
    pub(crate) attestation: Value,
    pub(crate) signers: Value,
    pub(crate) run: Value,
    /// The project and, when it is known, its version.
    project: BTreeMap<Value, Value>,
    pub(crate) signed_at: Timestamp,
    bytes: usize,
}

impl Attested {
    /// Takes what was verified. Its age counts from the proven signing time or from when it was first received or seen,
    /// whichever is earlier: what is timestamped again grows no younger. Never from what the statement says.
    #[must_use]
    pub fn new(verified: &Verified<Verification>, received_at: Timestamp) -> Self {
        // A statement that cannot be read as a run has the facts of none, so that rules about the run fail.
        let run = crafting::read(&verified.get().statement).ok().flatten();
        Self::of_verified(verified, received_at, run.as_ref())
    }

    /// The same with who was proven to have built it, in place of what the build says of its runner. Without that proof,
    /// nothing stands there.
    #[must_use]
    pub fn built_by(mut self, identity: Option<&RunnerIdentity>) -> Self {
        let Some(identity) = identity else { return self };
        let proven = proven_by(identity);
        for statement in [&mut self.input, &mut self.attestation] {
            let mut fields = fields_of(statement);
            if let Some(predicate) = fields.get_mut(&Value::from("predicate")) {
                let mut inner = fields_of(predicate);
                inner.extend(proven.iter().map(|(key, value)| (key.clone(), value.clone())));
                *predicate = Value::from(inner);
            }
            *statement = Value::from(fields);
        }
        let mut run = fields_of(&self.run);
        run.insert(Value::from("authenticated"), Value::Bool(true));
        run.insert(Value::from("identity"), identity_facts(Some(identity)));
        let named = Value::from("runner");
        match identity.provider.runner() {
            Some(runner) => {
                run.insert(named, text(runner.as_str()));
            }
            // What the job says of its runner stands where its provider does not say it; but not that it is of another
            // provider, which would have proven it.
            None if run
                .get(&named)
                .and_then(|told| told.as_string().ok())
                .is_some_and(|told| Provider::is_proven(told)) =>
            {
                run.remove(&named);
            }
            None => {}
        }
        self.run = Value::from(run);
        self
    }

    /// The same for one of which it was read what it says of its run.
    #[must_use]
    pub fn of_run(verified: &Verified<Verification>, received_at: Timestamp, run: &CraftedRun) -> Self {
        Self::of_verified(verified, received_at, Some(run))
    }

    /// A statement that nobody vouches for, as authors try their policies on. It is never evidence: nothing outside
    /// of [`crate::authoring`] can make one.
    pub(crate) fn unsigned(statement: &Statement, now: Timestamp) -> Self {
        let run = crafting::read(statement).ok().flatten();
        let signers = Value::from(Vec::<Value>::new());
        Self::of(Digest::of(&statement.to_json_bytes()), statement, signers, now, run.as_ref())
    }

    fn of_verified(verified: &Verified<Verification>, received_at: Timestamp, crafted: Option<&CraftedRun>) -> Self {
        let verification = verified.get();
        let signers = Value::from(verification.signers.iter().map(signer).collect::<Vec<_>>());
        let signed_at = verification.signed_at.map_or(received_at, |proven| proven.min(received_at));
        Self::of(verification.attestation, &verification.statement, signers, signed_at, crafted)
    }

    fn of(
        id: Digest,
        statement: &Statement,
        signers: Value,
        signed_at: Timestamp,
        crafted: Option<&CraftedRun>,
    ) -> Self {
        let mut bytes = 0;
        let mut fields = fields_of(&value_of(&statement.raw, &mut bytes));
        if let Some(claims) = SelfClaims::of(&statement.predicate_type) {
            take_out(&mut fields, claims);
        }
        let mut project = BTreeMap::new();
        if let Some(run) = crafted {
            project.insert(Value::from("project_name"), text(&run.project));
            let version = statement.predicate.pointer("/metadata/projectVersion").and_then(serde_json::Value::as_str);
            if let Some(version) = version {
                project.insert(Value::from("project_version_name"), text(version));
            }
        }
        let mut input = fields.clone();
        if !project.is_empty() {
            input.insert(Value::from("chainloop_metadata"), Value::from(project.clone()));
        }
        input.insert(Value::from("args"), Value::new_object());
        let mut attestation = fields;
        attestation.insert(Value::from("signers"), signers.clone());
        Self {
            id,
            predicate_type: statement.predicate_type.clone(),
            input: Value::from(input),
            attestation: Value::from(attestation),
            signers,
            run: run_facts(crafted),
            project,
            signed_at,
            bytes,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Takes out of a statement what the build claims of itself.
fn take_out(statement: &mut BTreeMap<Value, Value>, claims: SelfClaims) {
    if let Some(predicate) = statement.get_mut(&Value::from("predicate")) {
        retain(predicate, |key| !claims.in_predicate(key));
    }
    let Some(subjects) = statement.get_mut(&Value::from("subject")) else { return };
    let Value::Array(listed) = &*subjects else { return };
    let without = |subject: &Value| {
        let mut fields = fields_of(subject);
        if let Some(annotations) = fields.get_mut(&Value::from("annotations")) {
            retain(annotations, |key| !claims.in_subject_annotations(key));
        }
        Value::from(fields)
    };
    *subjects = Value::from(listed.iter().map(without).collect::<Vec<_>>());
}

/// Keeps those fields of an object. Anything else stays as it is.
fn retain(value: &mut Value, keep: impl Fn(&str) -> bool) {
    if matches!(value, Value::Object(_)) {
        let mut fields = fields_of(value);
        fields.retain(|key, _| !matches!(key, Value::String(key) if !keep(key)));
        *value = Value::from(fields);
    }
}

/// A signer: `key` of one who holds a key, `issuer` and `identity` of one whom a certificate names. All three are
/// always there, and empty when they do not apply.
fn signer(signer: &SignerIdentity) -> Value {
    let (key, issuer, identity) = match signer {
        SignerIdentity::Key { id } => (id.to_string(), "", ""),
        SignerIdentity::Certificate { issuer, identity } => (String::new(), issuer.as_str(), identity.as_str()),
    };
    object([("key", text(&key)), ("issuer", text(issuer)), ("identity", text(identity))])
}

/// What stands in a predicate where the build's own word on its runner stood.
fn proven_by(identity: &RunnerIdentity) -> BTreeMap<Value, Value> {
    let caller = object([("type", text("AUTH_TYPE_FEDERATED")), ("id", text(&identity.subject))]);
    let mut proven =
        BTreeMap::from([(Value::from("runnerAuthenticated"), Value::Bool(true)), (Value::from("auth"), caller)]);
    for (name, value) in [
        ("runnerEnvironment", identity.runner_environment.as_deref()),
        ("runnerWorkflowFilePath", identity.workflow_file_path()),
        ("runnerURL", identity.run_url.as_deref()),
        ("runnerType", identity.provider.runner().map(Runner::as_str)),
    ] {
        if let Some(value) = value {
            proven.insert(Value::from(name), text(value));
        }
    }
    proven
}

/// Who was proven to have built it, for CEL: every field is a text, empty when it is not known.
fn identity_facts(identity: Option<&RunnerIdentity>) -> Value {
    let told =
        |field: fn(&RunnerIdentity) -> Option<&String>| text(identity.and_then(field).map_or("", String::as_str));
    object([
        ("provider", text(identity.map_or("", |identity| identity.provider.as_str()))),
        ("issuer", told(|identity| Some(&identity.issuer))),
        ("subject", told(|identity| Some(&identity.subject))),
        ("repository", told(|identity| identity.repository.as_ref())),
        ("workflow", told(|identity| identity.workflow.as_ref())),
        ("commit", told(|identity| identity.commit.as_ref())),
        ("ref", told(|identity| identity.git_ref.as_ref())),
        ("environment", told(|identity| identity.environment.as_ref())),
        ("trigger", told(|identity| identity.trigger.as_ref())),
        ("run_id", told(|identity| identity.run_id.as_ref())),
        ("run_url", told(|identity| identity.run_url.as_ref())),
        ("runner_environment", told(|identity| identity.runner_environment.as_ref())),
    ])
}

fn run_facts(run: Option<&CraftedRun>) -> Value {
    let nobody = [("authenticated", Value::Bool(false)), ("identity", identity_facts(None))];
    let Some(run) = run else {
        let [authenticated, identity] = nobody;
        return object([("annotations", Value::new_object()), authenticated, identity]);
    };
    let annotations = run.annotations.iter().map(|(key, value)| (text(key), text(value)));
    let mut facts = BTreeMap::from([
        (Value::from("organization"), text(&run.organization)),
        (Value::from("project"), text(&run.project)),
        (Value::from("workflow"), text(&run.workflow)),
        (Value::from("team"), text(&run.team)),
        (Value::from("id"), text(&run.run_id)),
        (Value::from("annotations"), Value::from(annotations.collect::<BTreeMap<_, _>>())),
    ]);
    facts.extend(nobody.map(|(name, value)| (Value::from(name), value)));
    for (name, value) in
        [("contract", &run.contract_name), ("revision", &run.contract_revision), ("runner", &run.runner)]
    {
        if let Some(value) = value {
            facts.insert(Value::from(name), text(value));
        }
    }
    Value::from(facts)
}

/// A material as it is in evidence: with the input that its policies share.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) material: MaterialEvidence,
    pub(crate) input: Value,
}

/// Everything that the rules are held against.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub(crate) attested: Vec<Attested>,
    pub(crate) materials: BTreeMap<String, Piece>,
    /// The materials as CEL sees them.
    pub(crate) facts: Value,
    /// The ids of the other verifiers that say of the subject that it passed.
    pub(crate) verifiers: Value,
}

impl Evidence {
    /// The evidence of one run: its attestation and its materials, no two of one name (else the last counts).
    #[must_use]
    pub fn of_run(mut attested: Attested, materials: Vec<MaterialEvidence>) -> Self {
        let project = attested.project.clone();
        let read: claims::Read<'_> = materials.iter().filter_map(MaterialEvidence::found).collect();
        if !read.is_empty() {
            attested.input = claims::replaced(&attested.input, &read);
            attested.attestation = claims::replaced(&attested.attestation, &read);
        }
        Self::new(vec![attested], materials, &project)
    }

    /// The evidence of attestations that other tools made, together. What their predicates are fills the slots of the
    /// contract by a fixed table; of several for one slot the newest counts. What is not in the table, or is not what
    /// it says, fills nothing. Without any attestation this is no evidence, and denies.
    #[must_use]
    pub fn of_foreign(attested: Vec<Attested>, rules: &RuleSet) -> Self {
        let mut offered: BTreeMap<&str, VecDeque<MaterialEvidence>> = BTreeMap::new();
        let mut newest_first: Vec<&Attested> = attested.iter().collect();
        newest_first.sort_by_key(|attested| (std::cmp::Reverse(attested.signed_at), attested.id));
        for attested in newest_first {
            if let Some(material) = foreign_material(attested) {
                offered.entry(material.kind.as_str()).or_default().push_back(material);
            }
        }
        let mut materials = Vec::new();
        for slot in rules.slots() {
            if let Some(material) = offered.get_mut(slot.kind.as_str()).and_then(VecDeque::pop_front) {
                materials.push(material.renamed(&slot.name));
            }
        }
        Self::new(attested, materials, &BTreeMap::new())
    }

    /// The same with the ids of those other verifiers whose summaries about the subject were verified, and are what the
    /// contract demands of them. Without this, none has said anything.
    #[must_use]
    pub fn verified_by<'v>(self, ids: impl IntoIterator<Item = &'v str>) -> Self {
        Self { verifiers: Value::from(ids.into_iter().map(text).collect::<Vec<_>>()), ..self }
    }

    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self::new(Vec::new(), Vec::new(), &BTreeMap::new())
    }

    fn new(attested: Vec<Attested>, materials: Vec<MaterialEvidence>, project: &BTreeMap<Value, Value>) -> Self {
        let pieces: BTreeMap<String, Piece> = materials
            .into_iter()
            .map(|material| (material.name.clone(), Piece { input: material.input(project), material }))
            .collect();
        let facts = pieces.iter().map(|(name, piece)| (text(name), piece.material.facts()));
        let facts = Value::from(facts.collect::<BTreeMap<_, _>>());
        Self { attested, materials: pieces, facts, verifiers: Value::from(Vec::<Value>::new()) }
    }
}

/// The document that another tool's attestation carries as its predicate.
fn foreign_material(attested: &Attested) -> Option<MaterialEvidence> {
    let kind = crafting::foreign_slot(&attested.predicate_type)?;
    let predicate = match &attested.attestation {
        Value::Object(fields) => fields.get(&Value::from("predicate"))?,
        _ => return None,
    };
    let bytes = serde_json::to_vec(predicate).ok()?;
    let declared = DeclaredMaterial {
        name: String::new(),
        kind,
        digest: Digest::of(&bytes),
        filename: None,
        inline: None,
        image: None,
        skip_upload: false,
        output: false,
        annotations: BTreeMap::from([("chainloop.material.type".to_owned(), kind.as_str().to_owned())]),
    };
    MaterialEvidence::from_bytes(&declared, &bytes).ok()
}

pub(crate) fn text(text: &str) -> Value {
    Value::from(text)
}

pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from(fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<BTreeMap<_, _>>())
}

/// The fields of an object, to be added to; sharing their values. Anything else has none.
pub(crate) fn fields_of(value: &Value) -> BTreeMap<Value, Value> {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        _ => BTreeMap::new(),
    }
}

/// JSON that is no statement.
pub(crate) fn value_from(json: &serde_json::Value) -> Value {
    value_of(json, &mut 0)
}

/// The depth is bounded where statements are read. `bytes` grows by about what the value takes as JSON.
fn value_of(json: &serde_json::Value, bytes: &mut usize) -> Value {
    match json {
        serde_json::Value::Null => sized(Value::Null, 5, bytes),
        serde_json::Value::Bool(flag) => sized(Value::Bool(*flag), 6, bytes),
        serde_json::Value::String(string) => sized(text(string), string.len() + 3, bytes),
        serde_json::Value::Number(number) => {
            let value = match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => Value::from(whole),
                (None, Some(whole)) => Value::from(whole),
                (None, None) => number.as_f64().map_or(Value::Null, Value::from),
            };
            sized(value, 8, bytes)
        }
        serde_json::Value::Array(items) => {
            *bytes += 3;
            Value::from(items.iter().map(|item| value_of(item, bytes)).collect::<Vec<_>>())
        }
        serde_json::Value::Object(fields) => {
            *bytes += 3;
            let fields =
                fields.iter().map(|(key, value)| (sized(text(key), key.len() + 3, bytes), value_of(value, bytes)));
            Value::from(fields.collect::<BTreeMap<_, _>>())
        }
    }
}

fn sized(value: Value, takes: usize, bytes: &mut usize) -> Value {
    *bytes += takes;
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_builds_claim_of_themselves_goes_and_all_else_stays() {
        let digest = json!({"sha1": "78ac366c9e8a300d51808d581422ca61f7b5b721"});
        let statement = json!({
            "subject": [{"name": "git.head", "digest": digest,
                "annotations": {"author.verification_status": "VERIFIED", "signature": "s"}}, {"digest": digest, "annotations": null}],
            "predicateType": crafting::PREDICATE_TYPE,
            "predicate": {
                "runnerType": "GITHUB_ACTION", "runnerAuthenticated": true, "runnerEnvironment": "hosted",
                "auth": {"type": "FEDERATED"}, "policyHasViolations": false, "policyEvaluations": {},
                "policy_evaluations": {}, "policyAttBlocked": false, "policyAddedLater": 1, "materials": [],
            },
        });
        let without = json!({
            "subject": [{"name": "git.head", "digest": digest, "annotations": {"signature": "s"}},
                {"digest": digest, "annotations": null}],
            "predicateType": crafting::PREDICATE_TYPE,
            "predicate": {"runnerType": "GITHUB_ACTION", "materials": []},
        });
        let mut bytes = 0;
        let mut fields = fields_of(&value_of(&statement, &mut bytes));
        take_out(&mut fields, SelfClaims::of(crafting::PREDICATE_TYPE).unwrap());
        assert_eq!(Value::from(fields), value_of(&without, &mut 0));
        let written = statement.to_string().len();
        assert!((written..written + 20).contains(&bytes), "{bytes} of {written}");
        assert!(SelfClaims::of("https://slsa.dev/provenance/v1").is_none());
    }
}
