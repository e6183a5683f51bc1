//! The gate: decides about a [`PinnedRef`] and hands out the [`Permit`] without which nothing is served.
//!
//! This module must not contain HTTP, or anything that reads a clock.

mod error;
mod permit;

use std::{sync::Arc, time::Duration};

use contracts::{Digest, PinnedRef};
use jiff::Timestamp;

pub use error::GateError;
pub use permit::{Outcome, Permit, Remembered};

use crate::{
    evidence::EvidenceFolder, metrics::Metrics, names::Name, rules::Rules, store::Store, upstream::Upstream,
    workers::Workers,
};

/// Finds the upstream that an organization uses for a registry host, if there is one (`Upstreams::locate`).
pub type Locate = Arc<dyn Fn(&Name, &str) -> Option<Arc<dyn Upstream>> + Send + Sync>;

/// What a gate is made of.
#[derive(Clone)]
pub struct Parts {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The bytes of materials.
    pub evidence: Arc<EvidenceFolder>,
    /// Every organization's contracts, compiled.
    pub rules: Arc<Rules>,
    /// Where attestations beside an image are looked for.
    pub locate: Locate,
    /// Where verifying and evaluating runs.
    pub workers: Workers,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How long a look at an upstream's attestations of an allowed image is taken as current.
    pub discovery_interval: Duration,
}

/// Decides. One for the whole gateway.
pub struct Gate {
    parts: Parts,
}

impl Gate {
    /// A gate that remembers nothing yet but what the store does.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Decides about an image for an organization. The same question gets a remembered answer for as long as
    /// nothing that it was computed from has changed; a change that was acknowledged before the call counts.
    ///
    /// # Errors
    /// When it cannot be decided now. Nothing is remembered then.
    pub async fn decide(&self, organization: &Name, pinned: &PinnedRef, now: Timestamp) -> Result<Outcome, GateError> {
        let _ = (organization, pinned, now, &self.parts.metrics);
        Err(GateError::Evaluation { reason: "the gate is not built yet".to_owned() })
    }

    /// The permit for a child manifest or blob, through an image that it was found reachable from and that is
    /// allowed now. `None`: there is no such image.
    ///
    /// # Errors
    /// When no image permits it and about one of them it could not be decided.
    pub async fn permit_child(
        &self,
        organization: &Name,
        child: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Permit>, GateError> {
        let _ = (organization, child, now);
        Err(GateError::Evaluation { reason: "the gate is not built yet".to_owned() })
    }

    /// Remembers what a manifest that is about to be served refers to, so that it may be served too while the
    /// image may. Call it before the manifest's first byte is sent.
    ///
    /// # Errors
    /// When it cannot be remembered: the manifest must not be served then.
    pub async fn grant(&self, permit: &Permit, children: &[Digest]) -> Result<(), GateError> {
        let _ = (permit, children);
        Err(GateError::Evaluation { reason: "the gate is not built yet".to_owned() })
    }
}
