//! The engine of Sluice: compiles contracts to Rego and CEL rules, and holds them against verified evidence.
//!
//! Evaluation is a pure function of the rules, the evidence, the subject and `now`. This crate must not contain I/O,
//! async code, a clock, a network, or anything that remembers an answer.

pub mod authoring;
mod cel;
mod claims;
mod compile;
mod discover;
mod document;
mod evaluate;
mod evidence;
pub mod library;
mod policy;
mod rego;
mod rule;
mod schema;

pub use compile::compile;
pub use document::{Document, DocumentError};
pub use evaluate::{EvaluateError, Evaluation, evaluate};
pub use evidence::{Attested, Evidence, MaterialEvidence};
pub use rule::{ENGINE_VERSION, Engine, Phase, Rule, RuleInput, RuleSet};
