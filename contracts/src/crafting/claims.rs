//! What a build claims of itself.

/// Claims that are not evidence: that policies passed, who was authenticated, and how the runner was.
const CLAIMS: [&str; 6] =
    ["auth", "runnerAuthenticated", "runnerEnvironment", "runnerWorkflowFilePath", "signingCA", "signingTSA"];

/// Claims about a commit that only the platform that holds it can make.
const COMMIT_CLAIMS: [&str; 1] = ["author.verification_status"];

/// What builds claim of themselves in crafted statements, of whatever version: that policies passed (`policy…`), who
/// was authenticated, how the runner was, and of commits that a platform verified them. The gateway puts its own
/// findings there, so none of it is shown to rules.
#[derive(Debug, Clone, Copy)]
pub struct SelfClaims(());

impl SelfClaims {
    /// Those of statements with this predicate type; `None` where builds do not speak of themselves.
    #[must_use]
    pub fn of(predicate_type: &str) -> Option<Self> {
        predicate_type.starts_with("chainloop.dev/attestation/").then_some(Self(()))
    }

    /// Whether this key of the predicate is one.
    #[must_use]
    pub fn in_predicate(self, key: &str) -> bool {
        key.starts_with("policy") || CLAIMS.contains(&key)
    }

    /// Whether this annotation of a subject is one.
    #[must_use]
    pub fn in_subject_annotations(self, key: &str) -> bool {
        COMMIT_CLAIMS.contains(&key)
    }
}
