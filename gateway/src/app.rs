//! The parts of a running gateway, put together.

use std::sync::Arc;

use crate::{config::Settings, evidence::EvidenceFolder, metrics::Metrics, store::Store};

/// What every request handler is given. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The bytes of materials.
    pub evidence: Arc<EvidenceFolder>,
    /// The configuration as it was at the start.
    pub settings: Arc<Settings>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}
