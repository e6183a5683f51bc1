//! A registry that asks for patience gets it: it is not asked again before the time that it named.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, RETRY_AFTER},
};

/// No registry is left alone for longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(300);
/// How long it is left alone when it does not say, the first time and at most. Each time in a row is twice the one before.
const UNSAID: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When a registry may be asked again.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    until: Option<Instant>,
    /// How often in a row it asked for patience without saying for how long.
    unsaid: u32,
}

impl Patience {
    /// How long it is to be left alone from now on, if it is.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Takes note of an answer. `Some`: it asks to be left alone for so long.
    pub(super) fn heed(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = || retry_after(headers).map(|said| said.clamp(UNSAID.0, LONGEST));
        let wait = match status {
            StatusCode::TOO_MANY_REQUESTS => said().unwrap_or_else(|| {
                let wait = UNSAID.0.saturating_mul(2u32.saturating_pow(asked.unsaid)).min(UNSAID.1);
                asked.unsaid = asked.unsaid.saturating_add(1);
                wait
            }),
            StatusCode::SERVICE_UNAVAILABLE => said()?,
            status => {
                if status.is_success() {
                    asked.unsaid = 0;
                }
                return None;
            }
        };
        // Of several answers that were on their way at once, the one that asks for most counts.
        asked.until = asked.until.max(Instant::now().checked_add(wait));
        Some(wait)
    }
}

/// `Retry-After`: seconds, or an instant, which is taken by the clock of whoever wrote it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    static PARSER: DateTimeParser = DateTimeParser::new();
    let then = PARSER.parse_timestamp(text).ok()?;
    let now = PARSER.parse_timestamp(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_is_said_is_heeded_within_bounds() {
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        for (said, seconds) in [
            (&[("retry-after", "17")][..], 17),
            (&[("retry-after", "0")], 1),
            (&[("retry-after", "99999999")], 300),
            (&[("retry-after", "18446744073709551616")], 1),
            (&[("retry-after", "soon")], 1),
            (&[], 1),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:40 GMT"), date], 40),
            (&[("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT"), date], 1),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:40 GMT")], 1),
        ] {
            let patience = Patience::default();
            let wait = patience.heed(StatusCode::TOO_MANY_REQUESTS, &headers(said)).unwrap();
            assert_eq!(wait, Duration::from_secs(seconds), "{said:?}");
            assert!(patience.left().is_some_and(|left| left <= wait && left + Duration::from_millis(900) > wait));
        }
    }

    #[test]
    fn unsaid_it_is_twice_as_long_each_time_until_it_answers() {
        let patience = Patience::default();
        let heed = |status| patience.heed(status, &HeaderMap::new()).map(|wait| wait.as_secs());
        let waits: Vec<_> = (0..8).map(|_| heed(StatusCode::TOO_MANY_REQUESTS).unwrap()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(heed(StatusCode::SERVICE_UNAVAILABLE), None, "only when it says for how long");
        assert_eq!(heed(StatusCode::OK), None);
        assert_eq!(heed(StatusCode::TOO_MANY_REQUESTS), Some(1));
    }
}
