//! Conditional requests (RFC 9110, section 13), answered only after everything else was decided.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::Digest;

use super::answer::etag;

/// Whether the client has what has this digest.
pub(super) fn has(headers: &HeaderMap, digest: Digest) -> bool {
    names(headers, &etag(digest))
}

/// An answer that the client has already, without its body. What has no entity tag stays as it is: a denial has none.
pub(super) fn unless_known(headers: &HeaderMap, mut response: Response) -> Response {
    let whole = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    if !whole || !tag.is_some_and(|tag| names(headers, tag)) {
        return response;
    }
    let kept = std::mem::take(response.headers_mut());
    let mut unchanged = (StatusCode::NOT_MODIFIED, Body::empty()).into_response();
    *unchanged.headers_mut() = kept;
    for of_the_body in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_RANGE] {
        unchanged.headers_mut().remove(of_the_body);
    }
    unchanged
}

/// Whether `If-None-Match` names this tag, compared weakly as the RFC says.
fn names(headers: &HeaderMap, tag: &str) -> bool {
    let texts = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_every_form_that_clients_send() {
        let digest = Digest::of(b"x");
        let known = |texts: &[String]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(header::IF_NONE_MATCH, text.parse().unwrap());
            }
            has(&headers, digest)
        };
        let tag = format!("\"{digest}\"");
        for yes in [vec![tag.clone()], vec!["*".into()], vec![format!("W/{tag}")], vec![format!("\"a\", {tag}")]] {
            assert!(known(&yes), "{yes:?}");
        }
        assert!(known(&["\"a\"".into(), tag]));
        for no in [vec![], vec!["\"a\"".to_owned()], vec![digest.to_string()]] {
            assert!(!known(&no), "{no:?}");
        }
    }
}
