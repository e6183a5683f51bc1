//! What an evaluation tells, within bounds: a run is kept with all that was found, and many runs are listed at once.

use contracts::{Code, Finding, Severity, limits};

/// The findings so far.
#[derive(Default)]
pub(super) struct Told {
    findings: Vec<Finding>,
    blocking: Share,
    warning: Share,
}

/// What those that block, or those that do not, take of what may be told.
#[derive(Default)]
struct Share {
    bytes: usize,
    /// How many more there were than are told, and the code of the first.
    more: Option<(usize, Code)>,
}

impl Told {
    /// Takes a finding, in full as long as there is room. What blocks and what does not take no room of each other.
    pub(super) fn take(&mut self, finding: Finding) {
        let share = if finding.blocks() { &mut self.blocking } else { &mut self.warning };
        share.bytes = share.bytes.saturating_add(finding.weight());
        match &mut share.more {
            Some((more, _)) => *more += 1,
            None if share.bytes > limits::EVALUATION_FINDINGS_BYTES => share.more = Some((1, finding.code)),
            None => self.findings.push(finding),
        }
    }

    /// All that is told, in the order in which it was found, with how many more there were.
    pub(super) fn all(self) -> Vec<Finding> {
        let Self { mut findings, blocking, warning } = self;
        for (share, severity, what) in
            [(blocking, Severity::Error, "that stand in the way"), (warning, Severity::Warning, "that do not block")]
        {
            if let Some((more, code)) = share.more {
                let message = format!("and {more} more findings {what}, which are too many to be told");
                findings.push(Finding { severity, ..Finding::error(code, message) });
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_what_blocks_is_told_and_counted() {
        let mut told = Told::default();
        for n in 0..10_000 {
            told.take(Finding::warning(Code::PolicyAdvisory, format!("{n} {}", "x".repeat(1000))));
        }
        for n in 0..10_000 {
            told.take(Finding::error(Code::PolicyViolation, format!("{n} {}", "x".repeat(1000))));
        }
        let all = told.all();
        let bytes: usize = all.iter().map(Finding::weight).sum();
        assert!(bytes < 2 * limits::EVALUATION_FINDINGS_BYTES + 4096, "{bytes}");
        let (blocking, warnings): (Vec<_>, Vec<_>) = all.iter().partition(|finding| finding.blocks());
        for (some, code) in [(blocking, Code::PolicyViolation), (warnings, Code::PolicyAdvisory)] {
            let last = some.last().map(|finding| (finding.code, finding.message.clone()));
            let more = format!("and {} more findings", 10_000 - (some.len() - 1));
            assert!(last.is_some_and(|(last, message)| last == code && message.starts_with(&more)));
        }
    }
}
