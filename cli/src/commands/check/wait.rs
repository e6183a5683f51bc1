//! Asking again, while evidence may still be on its way.

use std::time::{Duration, Instant};

use contracts::{
    Decision, Finding,
    api::{CheckAnswer, CheckRequest},
};

use crate::{
    client::{Client, ClientError},
    report::{plain, say},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Asks until it is allowed or the time is over; the last answer counts. What no waiting mends is told at once.
pub async fn until_allowed(
    client: &Client,
    request: &CheckRequest,
    wait: Option<Duration>,
) -> Result<CheckAnswer, ClientError> {
    let end = wait.and_then(|wait| Instant::now().checked_add(wait));
    let (mut pause, mut said) = (FIRST_PAUSE, None);
    loop {
        let asked = client.check(request).await;
        let left = end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
        if left.is_zero() || !may_pass(&asked) {
            return asked;
        }
        let why = why(&asked);
        if said.as_ref() != Some(&why) {
            say(&plain(&format!("not yet: {why}; asking again for up to {}", span(left))));
            said = Some(why);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the next answer may be another one: a denial, an image that is not there yet, a gateway that is busy or away.
fn may_pass(asked: &Result<CheckAnswer, ClientError>) -> bool {
    match asked {
        Ok(answer) => answer.verdict.decision == Decision::Deny,
        Err(ClientError::Unreachable { .. }) => true,
        Err(ClientError::Refused { status, code, .. }) => *status >= 500 || *status == 429 || code == "image-not-found",
        Err(_) => false,
    }
}

fn why(asked: &Result<CheckAnswer, ClientError>) -> String {
    match asked {
        Ok(answer) => {
            let first = answer.verdict.findings.iter().find(|finding: &&Finding| finding.blocks());
            first.map_or_else(|| "denied".to_owned(), |finding| format!("{} ({})", finding.message, finding.code))
        }
        Err(error) => error.to_string(),
    }
}

fn span(left: Duration) -> String {
    let seconds = left.as_secs().max(1);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
