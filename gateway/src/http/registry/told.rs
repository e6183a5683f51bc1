//! Denials that were told a moment ago, so that they are understood.
//!
//! A denied HEAD has no digest. containerd before 2.3 then takes whatever the GET answers for the manifest, hashes
//! the denial, and asks for a blob with that digest. Told the same again, it shows the reason.

use std::time::Duration;

use contracts::Digest;
use moka::sync::Cache;

use super::answer::OciError;
use crate::names::Name;

/// Denials remembered at once.
const DENIALS: u64 = 1_000;
/// A client asks at once or never.
const MOMENT: Duration = Duration::from_secs(60);

/// By organization and the digest of the body that it was sent.
#[derive(Clone)]
pub(super) struct Told(Cache<(Name, Digest), OciError>);

impl Default for Told {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(DENIALS).time_to_live(MOMENT).build())
    }
}

impl Told {
    pub(super) fn tell(&self, organization: &Name, denial: &OciError) {
        self.0.insert((organization.clone(), Digest::of(&denial.body())), denial.brief());
    }

    /// The denial whose body this is the digest of.
    pub(super) fn again(&self, organization: &Name, digest: Digest) -> Option<OciError> {
        self.0.get(&(organization.clone(), digest))
    }
}
