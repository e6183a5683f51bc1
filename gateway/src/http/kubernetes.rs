//! `/k8s/validate` and `/k8s/mutate`: what a cluster's API server asks before it takes an object, by the same gate as
//! pulls. Whatever goes wrong is a no, or no review at all, which `failurePolicy: Fail` takes for one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use contracts::{
    Decision, Digest, PinnedRef, Reference, Target,
    api::{PullWay, Role, ToldBy},
    duration, limits,
    reference::ReferenceError,
};
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;

use super::{
    auth::{AuthError, authenticate_arrived},
    body, clock,
    error::ApiError,
    naming, registry,
};
use crate::{
    app::App,
    config::Digests,
    gate::Outcome,
    kubernetes::{Answer, Image, Patch, Review, ReviewError, Seen},
    metrics::Way,
    names::Name,
    pulls::Asker,
    upstream::{CanonicalError, UpstreamError},
};

/// How long API servers wait when they do not say.
const WAITED_FOR: Duration = Duration::from_secs(10);
/// What is left of that for the way back.
const WAY_BACK: Duration = Duration::from_millis(500);
/// Images of one object that are judged at once.
const JUDGED_AT_ONCE: usize = 8;

/// What whoever comes without a token is called, as on pulls.
const ANONYMOUS: &str = "anonymous";

/// The routes.
pub(super) fn router() -> Router<App> {
    Router::new().route("/k8s/validate", post(validate)).route("/k8s/mutate", post(mutate))
}

async fn validate(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    let asking = Asking::begin(&app, &headers, &extensions, &uri).await?;
    let review = read(&headers, body).await?;
    let answer = match review.images(&app.settings.kubernetes.templates) {
        Ok(Seen::Nothing) => Answer::allow(),
        Ok(Seen::Images { new, kept }) => asking.validate(&review, &new, &kept).await,
        Err(unjudged) => Answer::Deny { message: unjudged.to_string(), warnings: Vec::new() },
    };
    asking.tell("validated", &review, &answer);
    Ok(written(&answer, &review.uid))
}

async fn mutate(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    let asking = Asking::begin(&app, &headers, &extensions, &uri).await?;
    let review = read(&headers, body).await?;
    let answer = match review.images(&app.settings.kubernetes.templates) {
        Ok(Seen::Nothing) => Answer::allow(),
        // What an object named before is left alone: to change it would start its pods anew.
        Ok(Seen::Images { new, .. }) => asking.mutate(&new).await,
        Err(unjudged) => Answer::Deny { message: unjudged.to_string(), warnings: Vec::new() },
    };
    asking.tell("mutated", &review, &answer);
    Ok(written(&answer, &review.uid))
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Review, ApiError> {
    body::content_type(headers, None, &["application/json"], "`application/json`")?;
    let bytes = body::whole(body, limits::REVIEW_BYTES).await?;
    Ok(Review::parse(&bytes)?)
}

fn written(answer: &Answer, uid: &str) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::OK, no_store, axum::Json(answer.review(uid))).into_response()
}

/// Who asks, of what, and until when an answer is of use.
struct Asking<'a> {
    app: &'a App,
    organization: Name,
    /// With which token.
    token: ToldBy,
    now: Timestamp,
    patience: Duration,
}

/// What was found of one image.
enum Judged {
    /// It may be used, and this is to be said of it.
    Allowed(Option<String>),
    Denied(String),
    CouldNotTell(String),
}

/// Why an image has no digest to judge.
enum Unpinned {
    /// Whatever is tried again.
    No(String),
    CouldNotTell(String),
}

impl<'a> Asking<'a> {
    async fn begin(app: &'a App, headers: &HeaderMap, extensions: &Extensions, uri: &Uri) -> Result<Self, ApiError> {
        let (organization, token) = asking(app, headers, extensions).await?;
        Ok(Self { app, organization, token, now: clock::now(), patience: patience(uri) })
    }

    async fn validate(&self, review: &Review, new: &[Image], kept: &[Image]) -> Answer {
        let judged = self.judge_all(review, new, kept).await;
        let of = |image: &Image| judged.get(&image.written);
        let (mut denials, mut unclear, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for image in new {
            match of(image) {
                Some(Judged::Allowed(None)) => {}
                Some(Judged::Allowed(Some(warning))) => warnings.push(named(image, warning)),
                Some(Judged::Denied(reason)) => denials.push(named(image, reason)),
                Some(Judged::CouldNotTell(reason)) => unclear.push(named(image, reason)),
                None => unclear.push(named(image, "it was not judged")),
            }
        }
        for image in kept {
            if let Some(Judged::Denied(reason)) = of(image) {
                warnings.push(format!("not changed, and would be refused now: {}", named(image, reason)));
            }
        }
        if !denials.is_empty() {
            return Answer::Deny { message: denials.join("; "), warnings };
        }
        if !unclear.is_empty() {
            return Answer::CouldNotTell { message: unclear.join("; ") };
        }
        Answer::Allow { warnings, patch: Vec::new() }
    }

    async fn mutate(&self, new: &[Image]) -> Answer {
        let mut pinning = Vec::new();
        for written in distinct(new) {
            pinning.push(
                async move {
                    let pinned = self.pinned_name(&written).await;
                    (written, pinned)
                }
                .boxed(),
            );
        }
        let pinning = stream::iter(pinning).buffer_unordered(JUDGED_AT_ONCE);
        let Ok(pinned) = tokio::time::timeout(self.patience, pinning.collect::<BTreeMap<_, _>>()).await else {
            return Answer::CouldNotTell { message: self.too_long() };
        };
        let (mut patch, mut denials, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
        for image in new {
            match pinned.get(&image.written) {
                Some(Ok(None)) => {}
                Some(Ok(Some(value))) => patch.push(Patch { pointer: image.pointer.clone(), value: value.clone() }),
                Some(Err(Unpinned::No(reason))) => denials.push(named(image, reason)),
                Some(Err(Unpinned::CouldNotTell(reason))) => unclear.push(named(image, reason)),
                None => unclear.push(named(image, "its tag was not resolved")),
            }
        }
        if !denials.is_empty() {
            return Answer::Deny { message: denials.join("; "), warnings: Vec::new() };
        }
        if !unclear.is_empty() {
            return Answer::CouldNotTell { message: unclear.join("; ") };
        }
        Answer::Allow { warnings: Vec::new(), patch }
    }

    /// The name with the digest that its tag points at, in the place of the tag. `None`: it has one.
    async fn pinned_name(&self, written: &str) -> Result<Option<String>, Unpinned> {
        let (_, tag) = self.pin(written).await?;
        Ok(tag.map(|digest| {
            let name = match written.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => name,
                _ => written,
            };
            format!("{name}@{digest}")
        }))
    }

    /// All of them within the time that there is: those that wait for a place count from the begin, too.
    async fn judge_all(&self, review: &Review, new: &[Image], kept: &[Image]) -> BTreeMap<String, Judged> {
        let end = tokio::time::Instant::now() + self.patience;
        // A pod is what runs: what is new in one starts. A dry run leaves nothing behind.
        let noted = review.kind.runs() && !review.dry_run;
        let started = if noted { distinct(new) } else { BTreeSet::new() };
        let mut judging = Vec::new();
        for written in distinct(new.iter().chain(kept)) {
            let starts = started.contains(&written);
            judging.push(
                async move {
                    let judged = tokio::time::timeout_at(end, self.judge(review, &written, starts)).await;
                    let judged = judged.unwrap_or_else(|_| Judged::CouldNotTell(self.too_long()));
                    if matches!(judged, Judged::CouldNotTell(_)) {
                        self.app.metrics.could_not_decide(Way::Kubernetes);
                    }
                    (written, judged)
                }
                .boxed(),
            );
        }
        stream::iter(judging).buffer_unordered(JUDGED_AT_ONCE).collect().await
    }

    /// `starts`: it is new in a pod, which is noted.
    async fn judge(&self, review: &Review, written: &str, starts: bool) -> Judged {
        let (pinned, tag) = match self.pin_to_judge(written).await {
            Ok(pinned) => pinned,
            Err(Unpinned::No(reason)) => {
                self.app.metrics.decided(Way::Kubernetes, Decision::Deny, true);
                return Judged::Denied(reason);
            }
            Err(Unpinned::CouldNotTell(reason)) => return Judged::CouldNotTell(reason),
        };
        let outcome = match self.app.gate.admit(&self.organization, &pinned, self.now).await {
            Ok(outcome) => outcome,
            Err(error) => return Judged::CouldNotTell(ApiError::from(error).message().to_owned()),
        };
        if starts {
            // Who and where is what the review says; the token is what is known.
            let (by, name) = (&review.user, &review.namespace);
            let asker = Asker { way: PullWay::Kubernetes, by, name, told_by: Some(&self.token) };
            self.app.pulls.note(&self.organization, asker, &pinned, None, &outcome, self.now);
        }
        let verdict = &outcome.verdict().verdict;
        self.app.metrics.verdict(Way::Kubernetes, verdict);
        match &outcome {
            Outcome::Deny(verdict) => {
                let external_url = self.app.settings.external_url.as_deref();
                Judged::Denied(registry::denial(verdict, external_url))
            }
            Outcome::Permit(_) if !verdict.enforced => {
                let reasons: Vec<&str> = verdict.findings.iter().take(3).map(|f| f.message.as_str()).collect();
                Judged::Allowed(Some(format!("let through unenforced: {}", reasons.join("; "))))
            }
            Outcome::Permit(_) if tag => Judged::Allowed(Some(
                "judged as its tag points now; what a node pulls later can be another image: name its digest"
                    .to_owned(),
            )),
            Outcome::Permit(_) => Judged::Allowed(None),
        }
    }

    /// What to judge, and whether it was a tag that said so.
    async fn pin_to_judge(&self, written: &str) -> Result<(PinnedRef, bool), Unpinned> {
        if self.app.settings.kubernetes.digests == Digests::Required && !written.contains('@') {
            // Its grammar first: a name that is none gets no digest from anybody.
            reference(written)?;
            return Err(Unpinned::No(
                "it is named without a digest, and what a tag points at can change before a node pulls it: name its digest, or let the webhook at `/k8s/mutate` do so"
                    .to_owned(),
            ));
        }
        let (pinned, tag) = self.pin(written).await?;
        Ok((pinned, tag.is_some()))
    }

    /// The image under its canonical repository; with the digest, if a tag had to be resolved for it.
    async fn pin(&self, written: &str) -> Result<(PinnedRef, Option<Digest>), Unpinned> {
        let image = reference(written)?;
        let repository = naming::written(self.app, &self.organization, &image);
        let repository = repository.map_err(|error| Unpinned::No(error.to_string()))?;
        match image.target {
            Target::Digest(digest) => Ok((PinnedRef { repository, digest }, None)),
            Target::Tag(tag) => {
                let upstream = self.app.upstreams.locate(&self.organization, repository.host());
                let unknown = || CanonicalError::Unknown { host: repository.host().to_owned() };
                let upstream = upstream.ok_or_else(|| Unpinned::No(unknown().to_string()))?;
                let digest = upstream.resolve(&repository, &tag).await.map_err(|error| match error {
                    UpstreamError::NotFound { .. } => Unpinned::No(error.to_string()),
                    other => Unpinned::CouldNotTell(format!("its tag could not be resolved, try again: {other}")),
                })?;
                Ok((PinnedRef { repository, digest }, Some(digest)))
            }
        }
    }

    fn too_long(&self) -> String {
        let seconds = self.patience.as_secs_f32();
        format!("deciding took longer than the API server waits ({seconds:.1} s): try again")
    }

    /// The one event of a review.
    fn tell(&self, done: &'static str, review: &Review, answer: &Answer) {
        let Review { kind, namespace, name, user, dry_run, .. } = review;
        let organization = &self.organization;
        // They repeat what was sent.
        let plain = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(253).collect() };
        let (kind, namespace, name, user) = (plain(&kind.to_string()), plain(namespace), plain(name), plain(user));
        match answer {
            Answer::Allow { patch, .. } => tracing::debug!(
                %organization, kind, namespace, name, user, dry_run, changes = patch.len(), "{done} an object"
            ),
            Answer::Deny { message, .. } => tracing::info!(
                %organization, kind, namespace, name, user, dry_run, reason = plain(message), "refused an object"
            ),
            Answer::CouldNotTell { message } => tracing::warn!(
                %organization, kind, namespace, name, user, dry_run, reason = plain(message),
                "could not tell whether an object may be taken"
            ),
        }
    }
}

/// A name as the kubelet reads it.
fn reference(written: &str) -> Result<Reference, Unpinned> {
    written.parse().map_err(|error: ReferenceError| Unpinned::No(error.to_string()))
}

fn distinct<'i>(images: impl IntoIterator<Item = &'i Image>) -> BTreeSet<String> {
    images.into_iter().map(|image| image.written.clone()).collect()
}

/// `image X of container web: why`
fn named(image: &Image, why: &str) -> String {
    let written: String = image.written.chars().filter(|c| !c.is_control()).take(300).collect();
    format!("image {written} of {}: {why}", image.what)
}

/// Whose contracts decide: the token's, or those of the organization for which no token is asked. And which token it is.
async fn asking(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<(Name, ToldBy), ApiError> {
    match authenticate_arrived(app, headers, extensions).await {
        Ok(caller) if caller.may(Role::Pull) && caller.workflow.is_none() => {
            Ok((caller.organization, ToldBy { id: caller.token_id, name: caller.token_name }))
        }
        Ok(_) => Err(ApiError::forbidden("asking for a cluster needs a token of role `pull`, bound to no workflow")),
        Err(AuthError::Missing) => match &app.settings.kubernetes.anonymous {
            Some(organization) => {
                Ok((organization.clone(), ToldBy { id: ANONYMOUS.to_owned(), name: ANONYMOUS.to_owned() }))
            }
            None => Err(AuthError::Missing.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// How long an answer may take: what the API server says that it waits, less the way back.
fn patience(uri: &Uri) -> Duration {
    let said = uri.query().and_then(|query| {
        let values = query.split('&').filter_map(|pair| pair.strip_prefix("timeout="));
        values.filter_map(|text| duration::parse(text).ok()).find_map(|said| Duration::try_from(said).ok())
    });
    let said = said.unwrap_or(WAITED_FOR).min(limits::DECISION_TIME);
    said.checked_sub(WAY_BACK).unwrap_or(WAY_BACK)
}

impl From<ReviewError> for ApiError {
    fn from(error: ReviewError) -> Self {
        let message = error.to_string();
        match error {
            ReviewError::Json(_) => Self::new(StatusCode::BAD_REQUEST, "invalid-json", message),
            ReviewError::Version { .. } => Self::new(StatusCode::BAD_REQUEST, "review-version", message),
            ReviewError::Field { .. } => Self::new(StatusCode::BAD_REQUEST, "review-malformed", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_before_the_api_server_stops_waiting() {
        let of = |text: &str| patience(&text.parse().unwrap());
        assert_eq!(of("/k8s/validate?timeout=5s"), Duration::from_millis(4500));
        assert_eq!(of("/k8s/validate"), Duration::from_millis(9500));
        assert_eq!(of("/k8s/validate?timeout=later&timeout=1s"), Duration::from_millis(500));
        assert_eq!(of("/k8s/validate?timeout=9h"), limits::DECISION_TIME - WAY_BACK);
    }
}
