//! Rules: what a contract compiles to.

use std::{fmt, sync::Arc};

use contracts::{
    Code, Digest, Enforcement, Hasher, MaterialType, Origin,
    contract::{MatchMode, Selector},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{cel, policy, schema::Schema};

/// Bumped when the engines or their inputs change such that the same rule may answer otherwise. Part of every
/// rule set's digest.
pub const ENGINE_VERSION: &str = "4;regorus=0.14;cel=0.15";

/// The language of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Engine {
    /// Common Expression Language: an expression that must be `true`.
    #[serde(rename = "CEL")]
    Cel,
    /// Rego: a policy whose `result` lists violations. (A policy with a script in either language is printed as this.)
    Rego,
}

/// When a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// When an attestation arrives, and again when an image is pulled or checked.
    Intake,
    /// Only when an image is pulled or checked.
    Admission,
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RuleInput {
    /// The statement and everything about the run, once for each attestation.
    Attestation,
    /// One material of the contract, by name.
    Material {
        /// The contract's name for it.
        name: String,
    },
    /// Each material of a run that the contract does not ask for.
    #[serde(rename = "other-materials")]
    OtherMaterials {
        /// Only those whose name is this.
        #[serde(skip_serializing_if = "Option::is_none")]
        selector: Option<NameSelector>,
    },
}

/// Selects materials by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NameSelector {
    /// The name.
    pub name: String,
    /// Whether names need only begin with it.
    pub prefix: bool,
}

impl NameSelector {
    pub(crate) fn matches(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }
}

impl From<&Selector> for NameSelector {
    fn from(selector: &Selector) -> Self {
        Self { name: selector.name.clone(), prefix: selector.mode == MatchMode::Prefix }
    }
}

/// One rule. What is printed is what runs.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// Names the rule in findings; unique within its rule set.
    pub id: String,
    /// The language.
    pub engine: Engine,
    /// When it is asked.
    pub phase: Phase,
    /// The source, as it runs.
    pub source: String,
    /// What it looks at.
    pub input: RuleInput,
    /// Whether failing it blocks; otherwise it warns.
    pub gate: bool,
    /// What to say when a CEL rule is not satisfied; what a Rego rule checks.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The code of the finding when it is not satisfied.
    pub code: Code,
    /// The clause of the contract that asked for it.
    pub origin: Origin,
    /// Until then it warns, whatever `gate` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_from: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) names: Vec<String>,
    #[serde(skip)]
    pub(crate) program: Program,
    /// The type that the material of a policy must have.
    #[serde(skip)]
    pub(crate) kind: Option<MaterialType>,
    /// How long the answer stays true after signing.
    #[serde(skip)]
    pub(crate) max_age: Option<SignedDuration>,
    /// What `schema_errors` answers.
    #[serde(skip)]
    pub(crate) schema: Option<Arc<Schema>>,
}

impl Rule {
    /// Whether it holds the image that is asked about against those that the attestation was made for. It says nothing
    /// of other artifacts: for which of those an attestation was made is for whoever asks to know.
    pub(crate) fn asks_for_output_image(&self) -> bool {
        self.code == Code::SubjectMismatch
    }

    /// What people call it beside its id: the name of its policy, or the name that it was given where another rule had
    /// that already.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The arguments that its policy is given; none for a rule that is no policy.
    #[must_use]
    pub fn arguments(&self) -> Option<serde_json::Value> {
        match &self.program {
            Program::Cel(_) => None,
            Program::Policy(policy) => serde_json::to_value(&policy.arguments).ok(),
        }
    }
}

/// The compiled form of a rule.
#[derive(Clone)]
pub(crate) enum Program {
    Cel(Arc<cel::Expression>),
    Policy(Arc<policy::Policy>),
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cel(_) => "Cel",
            Self::Policy(_) => "Policy",
        })
    }
}

/// All the rules of one contract revision. Never empty. Cheap to clone, shared between threads.
#[derive(Debug, Clone)]
pub struct RuleSet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    contract: Option<String>,
    enforcement: Enforcement,
    rules: Vec<Rule>,
    digest: Digest,
    slots: Vec<Slot>,
}

/// A material of the contract, as far as evidence from elsewhere can fill it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) kind: MaterialType,
    pub(crate) optional: bool,
    /// Those of which one must be there, whatever `optional` says.
    pub(crate) group: Option<String>,
}

impl RuleSet {
    pub(crate) fn new(contract: Option<String>, enforcement: Enforcement, rules: Vec<Rule>, slots: Vec<Slot>) -> Self {
        let digest = digest_of(contract.as_deref(), &rules);
        Self(Arc::new(Inner { contract, enforcement, rules, digest, slots }))
    }

    /// Covers everything that an answer depends on: the rules with their sources and arguments, and the engines'
    /// version. Where in a file a clause was written is not part of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The rules, in the order of the contract's clauses.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    /// The contract's name, if it has one.
    #[must_use]
    pub fn contract(&self) -> Option<&str> {
        self.0.contract.as_deref()
    }

    /// Whether a deny stands in the way of a pull.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        self.0.enforcement
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.0.slots
    }

    /// Whether a material that is missing must be there; `there` tells which others are.
    pub(crate) fn demands(&self, name: &str, there: impl Fn(&str) -> bool) -> bool {
        let slots = self.slots();
        slots.iter().find(|slot| slot.name == name).is_some_and(|slot| match &slot.group {
            None => !slot.optional,
            Some(group) => !slots.iter().any(|other| other.group.as_ref() == Some(group) && there(&other.name)),
        })
    }
}

fn digest_of(contract: Option<&str>, rules: &[Rule]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update_framed(ENGINE_VERSION.as_bytes());
    hasher.update_framed(contract.unwrap_or_default().as_bytes());
    for rule in rules {
        let (input, name) = match &rule.input {
            RuleInput::Attestation => ("attestation", String::new()),
            RuleInput::Material { name } => ("material", name.clone()),
            RuleInput::OtherMaterials { selector } => ("other", format!("{selector:?}")),
        };
        let (engine, arguments) = match &rule.program {
            Program::Cel(expression) => ("cel", expression.fingerprint()),
            Program::Policy(policy) => ("policy", policy.fingerprint()),
        };
        let kind = rule.kind.map_or("", MaterialType::as_str);
        let phase = if rule.phase == Phase::Intake { "intake" } else { "admission" };
        let from = rule.effective_from.map(|from| from.to_string()).unwrap_or_default();
        let gate = if rule.gate { "gate" } else { "advisory" };
        let mend = rule.mend.as_deref().unwrap_or_default();
        let parts = [
            &rule.id,
            engine,
            phase,
            &rule.source,
            input,
            &name,
            kind,
            gate,
            &rule.message,
            mend,
            rule.code.as_str(),
            &from,
        ];
        for part in parts {
            hasher.update_framed(part.as_bytes());
        }
        hasher.update_framed(arguments.as_bytes());
    }
    hasher.finish()
}
