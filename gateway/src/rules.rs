//! What each organization's contracts say, compiled once.
//!
//! This module must not evaluate anything.

use std::sync::Arc;

use bytes::Bytes;

use crate::{gate::GateError, store::Store, workers::Workers};

/// Compiled contracts of all organizations. What it gives is never older than the last acknowledged change.
pub struct Rules {
    store: Arc<dyn Store>,
    workers: Workers,
    trusted_root: Option<Bytes>,
}

impl Rules {
    /// Rules over a store. `trusted_root` is a Sigstore `trusted_root.json`, for keyless signatures.
    ///
    /// # Errors
    /// [`GateError::Trust`] when the trusted root cannot be used.
    pub fn new(store: Arc<dyn Store>, workers: Workers, trusted_root: Option<Bytes>) -> Result<Self, GateError> {
        let rules = Self { store, workers, trusted_root };
        let _ = (&rules.store, &rules.workers, &rules.trusted_root);
        Ok(rules)
    }
}
