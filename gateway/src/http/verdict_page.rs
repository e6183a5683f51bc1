//! The page of a verdict: where the message of a denial sends a person. It shows what was decided and never decides.
//!
//! It is for everyone who has a token of the organization, whatever its role: those who were told of the verdict were
//! told its address. But for verdicts that were asked with contracts which the token may not name. A browser asks for the token as a password. There are no scripts, and nothing is loaded.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use contracts::{Decision, Digest, Finding, Severity, Verdict};

use super::{api::check, auth::authenticate, error::ApiError};
use crate::{app::App, gate::Remembered};

const PATH: &str = "/verdicts";
/// Findings that are shown; the others are counted.
const SHOWN: usize = 200;
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
                     code{overflow-wrap:anywhere}li{margin:.75rem 0}dt{font-weight:bold}";
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
];

/// Where the page of a verdict is, below the address of the gateway.
pub(super) fn address(external_url: &str, key: Digest) -> String {
    format!("{external_url}{PATH}/{key}")
}

/// The route of the page.
pub(super) fn router() -> Router<App> {
    Router::new().route(&format!("{PATH}/{{key}}"), get(page))
}

async fn page(State(app): State<App>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    match find(&app, &key, &headers).await {
        Ok(Some(made)) => (StatusCode::OK, HEADERS, shown(&made)).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, HEADERS, unknown()).into_response(),
        Err(error) => {
            let status = error.status();
            let mut response = (status, HEADERS, failed(&error)).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let ask = HeaderValue::from_static("Basic realm=\"sluice: any user name, a token as the password\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            }
            response
        }
    }
}

async fn find(app: &App, key: &str, headers: &HeaderMap) -> Result<Option<Arc<Remembered>>, ApiError> {
    let caller = authenticate(app, headers).await?;
    let Ok(key) = key.parse::<Digest>() else { return Ok(None) };
    let made = app.gate.remembered(&caller.organization, key).await?;
    match made {
        Some(made) if check::may_see(app, &caller, &made.verdict).await? => Ok(Some(made)),
        _ => Ok(None),
    }
}

fn shown(made: &Remembered) -> String {
    let verdict = &made.verdict;
    let (image, key) = (escaped(&verdict.subject.to_string()), made.key);
    let mut text = format!("<h1>{}</h1>\n<p><code>{image}</code></p>\n", answer(verdict));
    let (blocking, others): (Vec<&Finding>, Vec<&Finding>) =
        verdict.findings.iter().partition(|finding| finding.blocks());
    list(&mut text, "What stands in the way", &blocking);
    list(&mut text, "What else was found", &others);
    text.push_str("<dl>\n");
    for contract in &verdict.contracts {
        let (name, revision) = (escaped(&contract.contract), contract.revision);
        let _infallible = writeln!(text, "<dt>contract</dt><dd>{name}, revision {revision}</dd>");
    }
    let _infallible = writeln!(text, "<dt>decided</dt><dd>{}</dd>", verdict.evaluated_at);
    if let Some(until) = verdict.valid_until {
        let _infallible = writeln!(text, "<dt>holds until, unless something changes</dt><dd>{until}</dd>");
    }
    let _infallible = writeln!(text, "<dt>verdict</dt><dd><code>{key}</code></dd>\n</dl>");
    let named: String = verdict.named.iter().map(|name| format!(" --contract {}", escaped(name))).collect();
    let _infallible = writeln!(
        text,
        "<p>This is what was decided then. <code>sluice check {image}{named} --explain</code> asks again.</p>"
    );
    document(&format!("{}: {image}", answer(verdict)), &text)
}

fn answer(verdict: &Verdict) -> &'static str {
    match (verdict.decision, verdict.enforced, verdict.exempted) {
        (Decision::Deny, _, _) => "Denied",
        (Decision::Allow, false, _) => "Let through, though not everything is in order",
        (Decision::Allow, true, true) => "Allowed, by an exemption",
        (Decision::Allow, true, false) => "Allowed",
    }
}

fn list(text: &mut String, title: &str, findings: &[&Finding]) {
    if findings.is_empty() {
        return;
    }
    let _infallible = writeln!(text, "<h2>{title}</h2>\n<ul>");
    for finding in findings.iter().take(SHOWN) {
        let rule = finding.rule.as_deref().unwrap_or(finding.code.as_str());
        let warning = if finding.severity == Severity::Error { "" } else { " (a warning)" };
        let _infallible =
            write!(text, "<li><strong>{}</strong>{warning}: {}", escaped(rule), escaped(&finding.message));
        if let Some(mend) = &finding.mend {
            let _infallible = write!(text, "<br>What to do: {}", escaped(mend));
        }
        if let Some(origin) = &finding.origin {
            let _infallible = write!(text, "<br>Asked for by <code>{}</code>", escaped(&origin.to_string()));
        }
        text.push_str("</li>\n");
    }
    if findings.len() > SHOWN {
        let _infallible = writeln!(text, "<li>and {} more</li>", findings.len() - SHOWN);
    }
    text.push_str("</ul>\n");
}

fn unknown() -> String {
    let text = "<h1>Not known any more</h1>\n<p>There is no such verdict in your organization, or it was forgotten: only \
                the last ones are kept. <code>sluice check IMAGE --explain</code> asks again.</p>\n";
    document("No such verdict", text)
}

fn failed(error: &ApiError) -> String {
    document("Not shown", &format!("<h1>Not shown</h1>\n<p>{}</p>\n", escaped(error.message())))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<main>\n{body}</main>\n</html>\n"
    )
}

/// Names and messages repeat what others wrote.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use contracts::Code;

    use super::*;

    #[test]
    fn nothing_that_others_wrote_becomes_part_of_the_page() {
        let finding =
            Finding::error(Code::PolicyViolation, "<script>alert('1')</script>").by_rule("\"&<b>").mend("<img src=x>");
        let verdict = Verdict {
            decision: Decision::Deny,
            enforced: true,
            exempted: false,
            subject: format!("registry.test/skynet/app@{}", Digest::of(b"x")).parse().unwrap(),
            named: Vec::new(),
            contracts: Vec::new(),
            findings: vec![finding],
            depends_on: Vec::new(),
            evaluated_at: testdata::noon(),
            valid_until: None,
        };
        let page = shown(&Remembered::new(Digest::of(b"key"), verdict));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"), "{page}");
        for written in ["<script", "<b>", "<img"] {
            assert!(!page.contains(written), "{page}");
        }
    }
}
