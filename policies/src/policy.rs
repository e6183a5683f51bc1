//! Policies: the scripts of one attachment for one kind of input, in Rego or in CEL, and what they answer.

use std::{sync::Arc, time::Instant};

use contracts::{FindingType, Hasher, Origin};
use jiff::Timestamp;
use regorus::Value;

use crate::{cel, evidence::Evidence, rego};

pub(crate) use crate::rego::{Answer, RunError};

/// A policy as one rule runs it.
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) scripts: Vec<Script>,
    pub(crate) arguments: Value,
    /// The shape that its findings have.
    pub(crate) finding_type: Option<FindingType>,
}

/// One script, compiled, with its data.
#[derive(Clone)]
pub(crate) enum Script {
    Rego(Arc<rego::Script>),
    Cel(Arc<cel::Script>),
}

/// What a script looks at.
#[derive(Clone)]
pub(crate) struct Asked<'a> {
    pub(crate) input: Value,
    /// How large the document was that it came from.
    pub(crate) bytes: usize,
    pub(crate) now: Timestamp,
    /// What `chainloop.discover` knows.
    pub(crate) evidence: &'a Evidence,
}

impl Script {
    /// Where its first line stands.
    pub(crate) fn origin(&self) -> &Origin {
        match self {
            Self::Rego(script) => script.origin(),
            Self::Cel(script) => script.origin(),
        }
    }

    /// What it came out as, of whatever shape.
    ///
    /// # Errors
    /// When it failed, or was not finished within its budget and before the deadline.
    pub(crate) fn result(&self, asked: Asked<'_>, deadline: Instant) -> Result<Value, RunError> {
        match self {
            Self::Rego(script) => script.result(asked, deadline),
            Self::Cel(script) => script.result(&asked, deadline),
        }
    }
}

impl Policy {
    /// Whether any script asks for the time.
    pub(crate) fn reads_now(&self) -> bool {
        self.scripts.iter().any(|script| match script {
            Script::Rego(script) => script.reads_now(),
            Script::Cel(script) => script.reads_now(),
        })
    }

    /// Whether all of it is CEL.
    pub(crate) fn in_cel(&self) -> bool {
        self.scripts.iter().all(|script| matches!(script, Script::Cel(_)))
    }

    /// Runs one of its scripts.
    ///
    /// # Errors
    /// When it gave no answer of the right shape within its budget and before the deadline.
    pub(crate) fn run(&self, script: &Script, asked: Asked<'_>, deadline: Instant) -> Result<Answer, RunError> {
        match script {
            Script::Rego(script) => script.run(asked, self.finding_type, deadline),
            Script::Cel(script) => script.run(&asked, &self.name, self.finding_type, deadline),
        }
    }

    /// What distinguishes this policy from another with the same sources.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = Hasher::default();
        hasher.update_framed(self.name.as_bytes());
        hasher.update_framed(rendered(&self.arguments).as_bytes());
        hasher.update_framed(self.finding_type.map_or("", FindingType::as_str).as_bytes());
        for script in &self.scripts {
            let (language, data, message) = match script {
                Script::Rego(script) => ("rego", script.data(), ""),
                Script::Cel(script) => ("cel", script.data(), script.message()),
            };
            hasher.update_framed(language.as_bytes());
            hasher.update_framed(rendered(data).as_bytes());
            hasher.update_framed(message.as_bytes());
        }
        hasher.finish().to_string()
    }
}

fn rendered(value: &Value) -> String {
    value.to_json_str().unwrap_or_default()
}
