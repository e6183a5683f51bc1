//! Summaries of other verifiers, and what one has to be to count (SLSA, "How to verify" of Verification Summary
//! Attestations, <https://slsa.dev/spec/v1.1/verification_summary>).
//!
//! Everything that the specification lets a reader compare is compared, exactly; what is not there does not match.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::PREDICATE_TYPE;
use crate::{
    Digest, Reference, SignerPolicy, Statement, Target, VerdictSubject, Verification, Verified, digest::shorten, limits,
};

/// What a contract demands of another verifier's summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierDemand {
    /// Its `verifier.id`.
    pub id: String,
    /// Who signs for it: one signer.
    pub signer: SignerPolicy,
    /// What it must have verified: each of these, or a higher level of the same track.
    pub levels: Vec<String>,
    /// What it must call the subject, one of these; when there is none, its digest or the image's repository.
    pub resources: Vec<String>,
    /// The digest of the policy that it must have verified by.
    pub policy: Option<Digest>,
    /// How long ago it may have done so.
    pub max_age: Option<SignedDuration>,
}

/// Why a summary does not count, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// It is no summary of the version that is read.
    #[error("it is a `{0}`, and not a summary of version 1")]
    Predicate(String),
    /// It is signed by somebody else.
    #[error("it is not signed by whom the contract names for `{0}`")]
    Signer(String),
    /// It is another verifier's.
    #[error("its verifier is `{0}`")]
    Verifier(String),
    /// It is about something else.
    #[error("it does not speak of `{0}`")]
    Subject(Digest),
    /// It is about the same bytes in another place.
    #[error("its `resourceUri` is `{0}`")]
    Resource(String),
    /// It did not pass.
    #[error("its result is `{0}`")]
    Result(String),
    /// It says less than is asked for.
    #[error("it does not say that `{0}` was verified")]
    Level(String),
    /// It was made by another policy.
    #[error("it was verified by another policy than `{0}`")]
    Policy(Digest),
    /// It does not say when it was made.
    #[error("it does not say when it was verified")]
    Timeless,
    /// It says that it was made later than now.
    #[error("it says that it was verified at {0}, which is yet to come")]
    Future(Timestamp),
    /// It is too old.
    #[error("it was verified at {at}, more than {most:#} ago")]
    Old {
        /// When it says, or is known to have been there before.
        at: Timestamp,
        /// How old it may be.
        most: SignedDuration,
    },
}

impl VerifierDemand {
    /// Holds a summary against the demand. `known_since` is since when it is known to exist. Answers until when it counts,
    /// if that ends.
    ///
    /// # Errors
    /// The first reason why it does not count.
    pub fn holds(
        &self,
        verified: &Verified<Verification>,
        subject: &VerdictSubject,
        known_since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Rejected> {
        let statement = &verified.statement;
        if statement.predicate_type != PREDICATE_TYPE {
            return Err(Rejected::Predicate(shorten(&statement.predicate_type)));
        }
        if !self.signer.satisfied_by(&verified.signers) {
            return Err(Rejected::Signer(self.id.clone()));
        }
        let said = |pointer: &str| text(statement, pointer);
        let verifier = said("/verifier/id");
        if verifier != self.id {
            return Err(Rejected::Verifier(shorten(verifier)));
        }
        if !statement.names_sha256(subject.digest()) {
            return Err(Rejected::Subject(*subject.digest()));
        }
        let resource = said("/resourceUri");
        let named = match self.resources.as_slice() {
            [] => is_at(resource, subject),
            names => names.iter().any(|name| name == resource),
        };
        if !named {
            return Err(Rejected::Resource(shorten(resource)));
        }
        let result = said("/verificationResult");
        if result != "PASSED" {
            return Err(Rejected::Result(shorten(result)));
        }
        self.says_enough(statement)?;
        if let Some(policy) = self.policy.filter(|policy| said("/policy/digest/sha256") != policy.hex()) {
            return Err(Rejected::Policy(policy));
        }
        self.is_fresh(said("/timeVerified"), known_since, now)
    }

    fn says_enough(&self, statement: &Statement) -> Result<(), Rejected> {
        let levels = statement.predicate.pointer("/verifiedLevels").and_then(Value::as_array);
        let verified: Vec<&str> = levels.into_iter().flatten().filter_map(Value::as_str).collect();
        // A summary that says both is none.
        if verified.contains(&"FAILED") {
            return Err(Rejected::Result("FAILED".to_owned()));
        }
        match self.levels.iter().find(|wanted| !verified.iter().any(|has| reaches(has, wanted))) {
            Some(missing) => Err(Rejected::Level(missing.clone())),
            None => Ok(()),
        }
    }

    fn is_fresh(&self, said: &str, known_since: Timestamp, now: Timestamp) -> Result<Option<Timestamp>, Rejected> {
        let said =
            if said.is_empty() { None } else { Some(said.parse::<Timestamp>().map_err(|_| Rejected::Timeless)?) };
        let latest = now.checked_add(limits::CLOCK_SKEW).unwrap_or(now);
        if let Some(at) = said.filter(|at| *at > latest) {
            return Err(Rejected::Future(at));
        }
        let Some(most) = self.max_age else { return Ok(None) };
        // What a verifier dates later than it was seen is as old as when it was seen.
        let at = said.ok_or(Rejected::Timeless)?.min(known_since);
        let until = at.checked_add(most).unwrap_or(Timestamp::MAX);
        if now < until { Ok(Some(until)) } else { Err(Rejected::Old { at, most }) }
    }
}

/// A text of the predicate; empty when it is not there or none.
fn text<'s>(statement: &'s Statement, pointer: &str) -> &'s str {
    statement.predicate.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a resource is the subject: its digest, or an image's repository, with the scheme of registries or without, and
/// with a digest only if it is this one. A tag says nothing that the digest does not say better.
fn is_at(resource: &str, subject: &VerdictSubject) -> bool {
    if resource == subject.digest().to_string() {
        return true;
    }
    let Some(image) = subject.image() else { return false };
    let name = resource.strip_prefix("oci://").or_else(|| resource.strip_prefix("docker://")).unwrap_or(resource);
    let Ok(reference) = name.parse::<Reference>() else { return false };
    let same_bytes = match reference.target {
        Target::Digest(digest) => digest == image.digest,
        Target::Tag(_) => true,
    };
    same_bytes && reference.repository == image.repository
}

/// Whether a level is the wanted one, or a higher one of its track (`SLSA_BUILD_LEVEL_3` reaches `SLSA_BUILD_LEVEL_2`).
fn reaches(has: &str, wanted: &str) -> bool {
    let level = |text: &str| {
        let (track, level) = text.rsplit_once("_LEVEL_")?;
        Some((track.strip_prefix("SLSA_")?.to_owned(), level.parse::<u32>().ok()?))
    };
    has == wanted
        || match (level(has), level(wanted)) {
            (Some((one, has)), Some((other, wanted))) => one == other && has >= wanted,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_reached_within_its_track_alone() {
        for (has, wanted, expected) in [
            ("SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_3", true),
            ("SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_2", true),
            ("SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2", false),
            ("SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2", false),
            ("SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_1", false),
            ("ACME_LEVEL_3", "ACME_LEVEL_2", false),
            ("ACME_REVIEWED", "ACME_REVIEWED", true),
        ] {
            assert_eq!(reaches(has, wanted), expected, "{has} {wanted}");
        }
    }

    #[test]
    fn a_resource_is_the_digest_or_the_repository_of_the_subject() {
        let digest = Digest::of(b"image");
        let image: VerdictSubject = format!("registry.acme.dev/skynet/app@{digest}").parse().unwrap();
        let other = Digest::of(b"other");
        for (resource, expected) in [
            ("oci://registry.acme.dev/skynet/app".to_owned(), true),
            ("registry.acme.dev/skynet/app".to_owned(), true),
            ("docker://registry.acme.dev/skynet/app:v1".to_owned(), true),
            (format!("oci://registry.acme.dev/skynet/app@{digest}"), true),
            (digest.to_string(), true),
            (format!("oci://registry.acme.dev/skynet/app@{other}"), false),
            (other.to_string(), false),
            ("oci://registry.acme.dev/skynet/app2".to_owned(), false),
            ("oci://registry.acme.dev/skynet".to_owned(), false),
            ("oci://registry.evil.dev/skynet/app".to_owned(), false),
            ("https://registry.acme.dev/skynet/app".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_at(&resource, &image), expected, "{resource}");
        }
        assert!(is_at(&digest.to_string(), &VerdictSubject::Artifact(digest)));
        assert!(!is_at("oci://registry.acme.dev/skynet/app", &VerdictSubject::Artifact(digest)));
    }
}
