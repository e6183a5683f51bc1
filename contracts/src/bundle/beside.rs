//! How attestations lie beside an image in its registry: under which tags, and as what layers. Nothing is believed.

use std::collections::BTreeMap;

use super::Bundle;
use crate::{Digest, dsse::Envelope};

/// Cosign's DSSE layers.
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// Sigstore bundles, of whatever version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// The tag under which registries without the referrers API list what refers to an image.
#[must_use]
pub fn referrers_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The tag under which cosign 2 keeps attestations about an image.
#[must_use]
pub fn attestation_tag(subject: &Digest) -> String {
    format!("{}.att", referrers_tag(subject))
}

/// What a layer of a manifest beside an image may be, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttestationLayer {
    /// A Sigstore bundle.
    Bundle,
    /// A bare envelope, with what it takes to verify it in the layer's annotations.
    Cosign,
}

impl AttestationLayer {
    /// By media type; `None`: it is no attestation.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            DSSE => Some(Self::Cosign),
            _ if media_type.starts_with(BUNDLE) => Some(Self::Bundle),
            _ => None,
        }
    }

    /// Whether manifests of this kind of artifact hold bundles.
    #[must_use]
    pub fn is_bundle_artifact(artifact_type: &str) -> bool {
        artifact_type.starts_with(BUNDLE)
    }

    /// The layer as a bundle; `None`: it is not what its media type says.
    #[must_use]
    pub fn read(self, bytes: &[u8], annotations: &BTreeMap<String, String>) -> Option<Bundle> {
        match self {
            Self::Bundle => Bundle::parse(bytes).ok(),
            Self::Cosign => Bundle::from_cosign_layer(&Envelope::parse(bytes).ok()?, annotations).ok(),
        }
    }
}
