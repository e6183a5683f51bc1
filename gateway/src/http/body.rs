//! Request bodies: bounded in bytes and in time, whatever their sender says of them.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use contracts::{json::parse_unverified, limits};
use futures::{Stream, StreamExt, stream};
use serde::de::DeserializeOwned;

/// How long a sender may be silent within a body.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a body that is kept in memory may take as a whole.
const WHOLE: Duration = Duration::from_secs(120);

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("the body is larger than {limit} bytes, the most that is taken here")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// It stopped before its end.
    #[error("the body broke off before its end: {reason}")]
    Incomplete {
        /// What happened.
        reason: String,
    },
    /// It came too slowly.
    #[error("the body came too slowly: the upload was given up")]
    TooSlow,
    /// It is of a type that this route does not read.
    #[error("the content type `{found}` is not read here: send {expected}")]
    ContentType {
        /// What was sent.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// It is not the JSON that this route reads.
    #[error("the body is not what this route reads: {reason}")]
    Json {
        /// What is wrong and where.
        reason: String,
    },
}

/// The body in pieces, as they come. Ends with an error when the sender is silent for too long.
pub fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
    pieces_within(body, SILENCE)
}

fn pieces_within(body: Body, silence: Duration) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
    let data = body.into_data_stream();
    Box::pin(stream::unfold(Some(data), move |data| async move {
        let mut data = data?;
        match tokio::time::timeout(silence, data.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(data))),
            Ok(Some(Err(error))) => Some((Err(BodyError::Incomplete { reason: error.to_string() }), None)),
            Err(_) => Some((Err(BodyError::TooSlow), None)),
        }
    }))
}

/// The whole body, at most `limit` bytes.
///
/// # Errors
/// When it is longer, breaks off or takes too long.
pub async fn whole(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut pieces = pieces(body);
    let read = async {
        let mut all = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if all.len().saturating_add(piece.len()) > limit {
                return Err(BodyError::TooLarge { limit });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    };
    tokio::time::timeout(WHOLE, read).await.unwrap_or(Err(BodyError::TooSlow))
}

/// The body as a JSON document, at most [`limits::SMALL_REQUEST_BYTES`] of it. A key given twice is a mistake, wherever it
/// is.
///
/// # Errors
/// When it is not JSON, or not of this shape, or not a body that can be read at all.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, BodyError> {
    json_within(headers, body, limits::SMALL_REQUEST_BYTES).await
}

/// As [`json`], at most [`limits::REQUEST_BYTES`]: for administrators, whose bodies carry documents.
///
/// # Errors
/// As [`json`].
pub async fn documents<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, BodyError> {
    json_within(headers, body, limits::REQUEST_BYTES).await
}

async fn json_within<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limit: usize) -> Result<T, BodyError> {
    content_type(headers, Some("application/json"), &["application/json"], "`application/json`")?;
    let bytes = whole(body, limit).await?;
    let wrong = |reason: String| BodyError::Json { reason };
    // Keys given twice are looked for first: the second reader, which knows the shape and the place of a mistake,
    // would take the last of them within maps.
    parse_unverified(&bytes, limit).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))
}

/// Checks the content type, without its parameters.
///
/// # Errors
/// When it is none of those allowed.
pub fn content_type(
    headers: &HeaderMap,
    default: Option<&str>,
    allowed: &[&str],
    expected: &'static str,
) -> Result<(), BodyError> {
    let sent = match headers.get(header::CONTENT_TYPE) {
        Some(value) => value.to_str().unwrap_or("?").to_owned(),
        None => default.unwrap_or("none").to_owned(),
    };
    let essence = sent.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if allowed.contains(&essence.as_str()) {
        Ok(())
    } else {
        Err(BodyError::ContentType { found: sent.chars().take(100).collect(), expected })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn body(pieces: Vec<io::Result<&'static str>>, then_silent: bool) -> Body {
        let pieces = stream::iter(pieces);
        if then_silent { Body::from_stream(pieces.chain(stream::pending())) } else { Body::from_stream(pieces) }
    }

    #[tokio::test]
    async fn a_body_is_bounded_by_what_comes_and_not_by_what_is_said() {
        let whole = |pieces, limit| whole(body(pieces, false), limit);
        assert_eq!(whole(vec![Ok("ab"), Ok("cd")], 4).await.unwrap(), "abcd");
        assert!(matches!(whole(vec![Ok("ab"), Ok("cde")], 4).await, Err(BodyError::TooLarge { limit: 4 })));
        let broken = vec![Ok("ab"), Err(io::Error::other("gone"))];
        assert!(matches!(whole(broken, 4).await, Err(BodyError::Incomplete { .. })));
    }

    #[tokio::test]
    async fn a_silent_sender_is_given_up() {
        let mut pieces = pieces_within(body(vec![Ok("ab")], true), Duration::from_millis(10));
        assert_eq!(pieces.next().await.unwrap().unwrap(), "ab");
        assert!(matches!(pieces.next().await, Some(Err(BodyError::TooSlow))));
        assert!(pieces.next().await.is_none());
    }
}
