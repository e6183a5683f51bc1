//! `…/tags/list`: the names of a repository's tags. A name opens nothing: what it points at is asked for like anything else.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{address::Page, answer::OciError, pull::Pull};

/// Tags in one answer, also when more are asked for.
const MOST: usize = 1000;

/// The body of an answer.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    tags: &'a [String],
}

impl Pull {
    /// One page of the list, in lexical order, and the address of the next one when there is more. Only where the
    /// organization's rules let something be pulled: of a repository that they say nothing about, or of another
    /// organization's in the same registry, nothing is told.
    pub(super) async fn tags(&self, name: &str, namespace: Option<&str>, page: &Page) -> Result<Response, OciError> {
        if !self.gate.opens(&self.organization, &self.repository).await? {
            return Err(OciError::unlisted_repository(&self.repository));
        }
        let listed = self.upstream.tags(&self.repository).await;
        let all = listed.map_err(|error| OciError::upstream(&error, "NAME_UNKNOWN"))?;
        let begin = page.after.as_ref().map_or(0, |after| all.partition_point(|tag| tag <= after));
        let rest = all.get(begin..).unwrap_or_default();
        let most = page.most.unwrap_or(MOST).min(MOST);
        let tags = rest.get(..most).unwrap_or(rest);
        let mut response = axum::Json(Listed { name, tags }).into_response();
        if let Some(last) = tags.last().filter(|_| tags.len() < rest.len()) {
            let namespace = namespace.map(|namespace| format!("&ns={namespace}")).unwrap_or_default();
            let link = format!("</v2/{name}/tags/list?n={most}&last={last}{namespace}>; rel=\"next\"");
            let link = HeaderValue::from_str(&link).map_err(|_| OciError::unsendable())?;
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }
}
