//! Lists whose answers are bounded: what does not fit in one is on the next page, and the header `Link` says where that is.

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use contracts::limits;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{MOST_LISTED, NO_STORE, query};
use crate::http::error::ApiError;

/// `?after=…&limit=…`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paged {
    after: Option<String>,
    limit: Option<usize>,
}

/// One page of a list, while it is made. Rows have keys, by which the list is sorted.
pub(super) struct Page<'u> {
    uri: &'u Uri,
    after: Option<String>,
    most: usize,
    body: Vec<u8>,
    rows: usize,
    last: String,
    full: bool,
}

impl<'u> Page<'u> {
    /// The page that a request asks for. All of a list when it fits: a bound on the rows has to be asked for.
    pub(super) fn asked(uri: &'u Uri) -> Result<Self, ApiError> {
        let Paged { after, limit } = query(uri)?;
        let most = match limit {
            None => usize::MAX,
            Some(n @ 1..=MOST_LISTED) => n,
            Some(other) => {
                return Err(ApiError::invalid(format!("`limit={other}`: ask for 1 to {MOST_LISTED}")));
            }
        };
        Ok(Self { uri, after, most, body: Vec::new(), rows: 0, last: String::new(), full: false })
    }

    /// Whether a row is on this page, unless it turns out to be too large: what is not need not be made.
    pub(super) fn wants(&self, key: &str) -> bool {
        !self.full && self.after.as_deref().is_none_or(|after| after < key)
    }

    /// Adds a row, when it is on this page and fits.
    pub(super) fn add<T: Serialize>(&mut self, key: &str, row: &T) -> Result<(), ApiError> {
        if !self.wants(key) {
            return Ok(());
        }
        let row = serde_json::to_vec(row).map_err(|error| ApiError::internal(error.to_string()))?;
        let fits = self.body.len().saturating_add(row.len()) <= limits::LISTED_BYTES;
        if self.rows == self.most || (self.rows > 0 && !fits) {
            self.full = true;
            return Ok(());
        }
        if self.rows > 0 {
            self.body.push(b',');
        }
        self.body.extend_from_slice(&row);
        self.rows = self.rows.saturating_add(1);
        key.clone_into(&mut self.last);
        Ok(())
    }

    /// The answer.
    pub(super) fn answer(self) -> Response {
        let mut body = Vec::with_capacity(self.body.len().saturating_add(2));
        body.push(b'[');
        body.extend_from_slice(&self.body);
        body.push(b']');
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = (StatusCode::OK, [(header::CACHE_CONTROL, NO_STORE), kind], body).into_response();
        if self.full { goes_on(answer, self.uri, "after", &self.last) } else { answer }
    }
}

/// The answer, saying that the list goes on: at the same address with this in the query.
pub(super) fn goes_on(mut answer: Response, uri: &Uri, key: &str, value: &str) -> Response {
    // Only the path and the query are used of it.
    let Ok(mut url) = Url::parse("http://gateway") else { return answer };
    url.set_path(uri.path());
    url.set_query(uri.query());
    let others: Vec<(String, String)> =
        url.query_pairs().filter(|(name, _)| name != key).map(|(name, value)| (name.into(), value.into())).collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(key, value);
    let next = format!("<{}?{}>; rel=\"next\"", url.path(), url.query().unwrap_or_default());
    if let Ok(next) = HeaderValue::from_str(&next) {
        answer.headers_mut().insert(header::LINK, next);
    }
    answer
}
