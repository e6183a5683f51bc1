//! What speaks against an image when nothing satisfies.

use contracts::Finding;

use super::Answer;
use crate::gate::{GateError, broken_runs};

/// What the workflows had against an image, none of which satisfied.
#[derive(Default)]
pub(super) struct Against {
    denied: Option<Vec<Finding>>,
    could_not: Option<GateError>,
}

impl Against {
    /// Takes what one of them had. The first denial is told, unless it leaves nothing known of the image (the run is
    /// too old, say) and a later one does: that somebody's evidence breaks the contract must not be hidden behind it.
    pub(super) fn take(&mut self, one: Result<Answer, GateError>) {
        match one {
            Ok(Ok(_)) => {}
            Ok(Err(findings)) => {
                let hides = |known: &Vec<Finding>| broken_runs(known).is_empty() && !broken_runs(&findings).is_empty();
                if self.denied.as_ref().is_none_or(hides) {
                    self.denied = Some(findings);
                }
            }
            Err(error) => self.could_not = self.could_not.take().or(Some(error)),
        }
    }

    /// What to answer when other tools' attestations were the last to be asked.
    pub(super) fn foreign(self, findings: Vec<Finding>) -> Result<Answer, GateError> {
        if self.could_not.is_some() { self.answer(|| findings) } else { Ok(Err(findings)) }
    }

    /// What to answer when there is nothing else. What could not be told of one of them could have satisfied.
    pub(super) fn answer(self, nothing: impl FnOnce() -> Vec<Finding>) -> Result<Answer, GateError> {
        self.could_not.map_or_else(|| Ok(Err(self.denied.unwrap_or_else(nothing))), Err)
    }
}
