//! How long a workflow may be let through on its own word: not for longer than the contract says because it asks again.
//!
//! Emergencies of one workflow that follow one another within [`REST`] are one, whoever asked and for whichever images.
//! Together they last no longer than `maxDuration`; time that two of them share counts once.
//!
//! Pure: the records and the instant go in.

use jiff::{SignedDuration, Timestamp};

use crate::store::{ExemptionBody, ExemptionRecord};

/// How long a workflow that used up its time waits for another emergency: long enough for approvers to be awake.
pub(crate) const REST: SignedDuration = SignedDuration::from_hours(24);

/// What is left of a workflow's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// An emergency that begins now ends at the latest then.
    Until(Timestamp),
    /// Nothing, until then.
    Nothing {
        /// When another one may begin.
        again: Timestamp,
    },
}

/// What is left for a workflow (`project/workflow`) at this instant, when its contract allows so much.
#[must_use]
pub(crate) fn left(records: &[ExemptionRecord], workflow: &str, longest: SignedDuration, now: Timestamp) -> Left {
    let mut spans: Vec<(Timestamp, Timestamp)> = records
        .iter()
        .filter_map(|record| match &record.body {
            ExemptionBody::Emergency(emergency) if emergency.workflow == workflow => {
                let end = record.withdrawn_at.map_or(emergency.until, |withdrawn| withdrawn.min(emergency.until));
                Some((emergency.from, end.max(emergency.from)))
            }
            _ => None,
        })
        .collect();
    spans.sort_unstable();
    // What the latest of them used until now, and when it ends.
    let mut used = SignedDuration::ZERO;
    let mut last: Option<Timestamp> = None;
    for (from, end) in spans {
        let goes_on = last.is_some_and(|last| from < last.saturating_add(REST).unwrap_or(Timestamp::MAX));
        if !goes_on {
            used = SignedDuration::ZERO;
        }
        let counted = last.filter(|_| goes_on).map_or(from, |last| from.max(last));
        used = used.saturating_add(end.min(now).duration_since(counted).max(SignedDuration::ZERO));
        last = Some(last.filter(|_| goes_on).map_or(end, |last| last.max(end)));
    }
    let again = last.map(|last| last.saturating_add(REST).unwrap_or(Timestamp::MAX)).filter(|again| now < *again);
    let Some(again) = again else { return Left::Until(now.saturating_add(longest).unwrap_or(Timestamp::MAX)) };
    let left = longest.saturating_sub(used);
    if left <= SignedDuration::ZERO {
        return Left::Nothing { again };
    }
    Left::Until(now.saturating_add(left).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use contracts::{Digest, exemption::Emergency};

    use super::*;

    const LONGEST: SignedDuration = SignedDuration::from_hours(4);

    fn at(minutes: i64) -> Timestamp {
        testdata::noon() + SignedDuration::from_mins(minutes)
    }

    fn emergency(from: i64, until: i64) -> ExemptionRecord {
        let emergency = Emergency {
            name: format!("emergency-{from}"),
            organization: "acme".into(),
            contract: "release".into(),
            workflow: "skynet/release".into(),
            digests: BTreeSet::from([Digest::of(b"image")]),
            reason: "r".into(),
            from: at(from),
            until: at(until),
            caller: "on-call".into(),
        };
        ExemptionRecord {
            name: emergency.name.clone(),
            digest: emergency.exemption().digest,
            until: at(until),
            body: ExemptionBody::Emergency(emergency),
            applied_at: at(from),
            withdrawn_at: None,
            ended: false,
        }
    }

    fn ask(records: &[ExemptionRecord], now: i64) -> Left {
        left(records, "skynet/release", LONGEST, at(now))
    }

    #[test]
    fn those_that_follow_one_another_last_no_longer_than_one() {
        let day = 24 * 60;
        assert_eq!(ask(&[], 0), Left::Until(at(240)));
        let whole = [emergency(0, 240)];
        // While it lasts, another image of the same workflow is let through until the same instant.
        assert_eq!(ask(&whole, 60), Left::Until(at(240)));
        assert_eq!(ask(&whole, 240), Left::Nothing { again: at(240 + day) });
        assert_eq!(ask(&whole, 239 + day), Left::Nothing { again: at(240 + day) });
        assert_eq!(ask(&whole, 240 + day), Left::Until(at(480 + day)));
        // Shared time counts once, and what was not used is left.
        let two = [emergency(0, 60), emergency(30, 90)];
        assert_eq!(ask(&two, 600), Left::Until(at(600 + 150)));
        let three = [emergency(0, 60), emergency(30, 90), emergency(600, 750)];
        assert_eq!(ask(&three, 800), Left::Nothing { again: at(750 + day) });
        // Renewed once a day it is one still.
        let daily: Vec<_> = (0..5).map(|n| emergency(n * (day - 1), n * (day - 1) + 60)).collect();
        assert!(matches!(ask(&daily, 4 * (day - 1) + 61), Left::Nothing { .. }));
        assert!(matches!(ask(&daily[..3], 3 * (day - 1)), Left::Until(_)));
        // One that was withdrawn used what it lasted.
        let withdrawn = [ExemptionRecord { withdrawn_at: Some(at(30)), ..emergency(0, 240) }];
        assert_eq!(ask(&withdrawn, 31), Left::Until(at(31 + 210)));
        assert_eq!(left(&whole, "skynet/nightly", LONGEST, at(240)), Left::Until(at(480)));
        // A contract that allows less by now.
        assert_eq!(
            left(&two, "skynet/release", SignedDuration::from_mins(30), at(100)),
            Left::Nothing { again: at(90 + day) }
        );
    }
}
