//! Findings: one reason each, with a stable code, for a verdict or for a mistake in a document.

mod details;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use details::{FindingDetails, FindingType};

use crate::digest::Digest;

/// Declares the closed list of codes. A code is never reused for another meaning.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What kind of reason a finding is. The list is closed; a code's text never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl Code {
            /// Every code with its text and its line of documentation, in order.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$name, $text, concat!($($doc),+)),)+];

            /// The stable kebab-case text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    /// Nothing that speaks of this image counts as evidence for the contract.
    NoEvidence = "no-evidence",
    /// No contract of the organization answers for this repository.
    NoContract = "no-contract",
    /// Fewer distinct signers than the contract asks for, or none of those it names.
    SignerNotAllowed = "signer-not-allowed",
    /// A signature does not verify.
    SignatureInvalid = "signature-invalid",
    /// Who would vouch for a signer by identity cannot be told now: the trust root was not renewed in time, or is not there
    /// yet.
    TrustRootTooOld = "trust-root-too-old",
    /// An attestation is not what its format says: not a bundle, an envelope or a statement.
    AttestationMalformed = "attestation-malformed",
    /// The newest attestation of the workflow broke its contract.
    RunRejected = "run-rejected",
    /// A material that the contract asks for is missing.
    MaterialMissing = "material-missing",
    /// A material is there, but of another type than the contract asks for.
    MaterialType = "material-type",
    /// A material's bytes are not what its type says.
    MaterialMalformed = "material-malformed",
    /// A material's bytes were never uploaded, or were lost.
    MaterialBytesAbsent = "material-bytes-absent",
    /// A material's bytes do not have the digest that the attestation names.
    MaterialDigestMismatch = "material-digest-mismatch",
    /// Custom evidence breaks the JSON Schema that the contract gives for it.
    MaterialSchema = "material-schema",
    /// The attestation carries a material or value that the contract does not know.
    MaterialUnknown = "material-unknown",
    /// An annotation that the contract asks for is missing or has another value.
    AnnotationMissing = "annotation-missing",
    /// The run did not come from the kind of runner that the contract asks for.
    RunnerMismatch = "runner-mismatch",
    /// The evidence is older than the contract's `maxAge`.
    EvidenceTooOld = "evidence-too-old",
    /// A policy found a violation.
    PolicyViolation = "policy-violation",
    /// A policy did not judge: it said that it does not apply, or what it judges is not there.
    PolicySkipped = "policy-skipped",
    /// An admission rule of the contract is not satisfied.
    RuleFailed = "rule-failed",
    /// A rule could not be evaluated.
    RuleError = "rule-error",
    /// A rule returned something of another shape than rules return.
    RuleResultShape = "rule-result-shape",
    /// A rule used more than its budget of steps, memory or output.
    RuleBudget = "rule-budget",
    /// More evidence was found than is examined; what was examined does not satisfy the contract.
    LimitReached = "limit-reached",
    /// The statement names another organization, project, workflow or contract than it was pushed for.
    StatementMismatch = "statement-mismatch",
    /// The attestation was made for another image: none of its output images is the one that is asked about.
    SubjectMismatch = "subject-mismatch",
    /// No verifier that the contract names has said of this subject that it passed.
    SummaryMissing = "summary-missing",
    /// The attestation names another commit than the one that was proven to be built.
    CommitMismatch = "commit-mismatch",
    /// The certificate that signed and the identity token that it was pushed with are not of one build.
    IdentityMismatch = "identity-mismatch",
    /// The run was already attested.
    RunAlreadyUsed = "run-already-used",
    /// An operator of the organization denied the image, or something that it holds.
    DeniedByOperator = "denied-by-operator",
    /// An operator of the organization withdrew the attestation that would decide.
    AttestationWithdrawn = "attestation-withdrawn",
    /// A document is not well-formed YAML or JSON.
    DocumentSyntax = "document-syntax",
    /// A key that the document's kind does not know.
    DocumentUnknownKey = "document-unknown-key",
    /// A key that is missing.
    DocumentMissingKey = "document-missing-key",
    /// A value that its key does not take.
    DocumentInvalidValue = "document-invalid-value",
    /// The same key or name twice.
    DocumentDuplicate = "document-duplicate",
    /// Something published that this version does not evaluate yet.
    DocumentUnsupported = "document-unsupported",
    /// A file or a registry that a document refers to is not there, or a file is there that no document refers to.
    DocumentReference = "document-reference",
    /// What is fetched for a contract may be another file the next time, as no digest is pinned.
    ReferenceUnpinned = "reference-unpinned",
    /// A document or file is larger than allowed.
    DocumentTooLarge = "document-too-large",
    /// A policy does not block: its violations are shown only.
    PolicyAdvisory = "policy-advisory",
    /// A script for the start of an attestation judges what is pushed.
    PolicyPhase = "policy-phase",
    /// A policy's source does not compile.
    PolicyCompile = "policy-compile",
    /// A policy calls a function that policies may not call.
    PolicyBuiltin = "policy-builtin",
    /// A rule that always comes out the same, whatever the evidence.
    RuleConstant = "rule-constant",
    /// A variable of a policy is set and never used.
    PolicyUnused = "policy-unused",
    /// A name in a policy is also that of a function of Rego.
    PolicyShadows = "policy-shadows",
    /// A policy does not import `rego.v1`.
    PolicyImport = "policy-import",
    /// The `violations` of a policy are one value instead of a set that rules add to.
    PolicyOneValue = "policy-one-value",
    /// A part of a policy that no answer depends on, or that never applies.
    PolicyUnreachable = "policy-unreachable",
    /// A pattern or identity that lets in more than it seems to.
    PatternTooWide = "pattern-too-wide",
    /// A pattern that says nothing, as another one of the same list covers it.
    PatternShadowed = "pattern-shadowed",
    /// Nobody is named who may sign for the contract.
    SignersMissing = "signers-missing",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a finding stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It blocks.
    Error,
    /// It is shown and blocks nothing.
    Warning,
}

/// A place in a document that a person wrote. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file, relative to the contract's folder, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where in the evidence a finding points.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidencePlace {
    /// The attestation, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Digest>,
    /// The material, by the contract's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
}

/// One reason, for a verdict or about a document. Rules, places and the mend are there when they are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of reason.
    pub code: Code,
    /// Whether it blocks.
    pub severity: Severity,
    /// The reason in a sentence: lower case, no full stop.
    pub message: String,
    /// The rule's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where in the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidencePlace>,
    /// The clause of the contract or policy that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// What a policy tells of what it found, in the published shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<FindingDetails>>,
    /// The exemption on account of which it does not block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempted: Option<Box<Exempted>>,
}

/// Which exemption covers a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exempted {
    /// Its name.
    pub name: String,
    /// The digest of the document.
    pub digest: Digest,
    /// Until when.
    pub until: Timestamp,
}

impl Finding {
    /// A blocking finding.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            severity: Severity::Error,
            message,
            rule: None,
            evidence: None,
            origin: None,
            mend: None,
            details: None,
            exempted: None,
        }
    }

    /// About how many bytes it takes, in memory and as JSON.
    #[must_use]
    pub fn weight(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let details = self.details.as_ref().and_then(|details| serde_json::to_vec(details).ok());
        let texts = [
            self.message.len(),
            length(&self.rule),
            length(&self.mend),
            self.origin.as_ref().map_or(0, |origin| origin.file.len()),
            self.evidence.as_ref().map_or(0, |place| length(&place.material)),
            details.map_or(0, |details| details.len()),
        ];
        texts.iter().sum::<usize>() + 384
    }

    /// A finding that blocks nothing.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// With the place in a document.
    #[must_use]
    pub fn at(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// With the rule's id.
    #[must_use]
    pub fn by_rule(self, rule: impl Into<String>) -> Self {
        Self { rule: Some(rule.into()), ..self }
    }

    /// With the place in the evidence.
    #[must_use]
    pub fn in_evidence(self, place: EvidencePlace) -> Self {
        Self { evidence: Some(place), ..self }
    }

    /// With what to do about it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }

    /// As one that an exemption covers: it is shown still, and blocks nothing.
    #[must_use]
    pub fn exempted(self, by: Exempted) -> Self {
        Self { severity: Severity::Warning, exempted: Some(Box::new(by)), ..self }
    }

    /// Whether it is told beneath another: that a policy could not judge a material, beneath why.
    #[must_use]
    pub fn is_beneath(&self, other: &Self) -> bool {
        self.code == Code::PolicySkipped
            && matches!(other.code, Code::MaterialMissing | Code::MaterialType)
            && self.evidence.as_ref().is_some_and(|place| place.material.is_some())
            && self.evidence == other.evidence
    }

    /// Whether it stands in the way.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All the findings about a document, never empty of errors when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics(pub Vec<Finding>);

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            if let Some(origin) = &finding.origin {
                write!(f, "{origin}: ")?;
            }
            f.write_str(&finding.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
