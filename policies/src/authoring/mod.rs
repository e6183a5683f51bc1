//! What authors of policies need: one policy asked about one input, as a contract that attaches it as a gate would; and
//! what pipelines need before they sign: what a contract would say ([`preview`]).
//!
//! The policy goes through the same compiler and evaluator as any contract; there is no second engine. Its inputs,
//! though, are nobody's evidence: nothing here takes a signature, returns a verdict, or may stand on the way to one.

mod ask;
mod cases;
mod files;
mod group;
mod lint;
mod preview;

pub use ask::{AskError, Asked, Exported, Input, ScriptRun, Trace, ask, export};
pub use cases::{CaseResult, Coverage, Lines, run_case};
pub use files::PolicyFiles;
pub use group::lint_group;
pub use lint::lint;
pub use preview::{AtHand, preview};
