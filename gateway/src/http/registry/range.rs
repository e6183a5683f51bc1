//! The `Range` header, as far as registry clients use it.

use axum::http::{HeaderMap, header};
use contracts::Digest;

use super::answer::etag;
use crate::upstream::ByteRange;

/// The range asked for of this blob, when it is one that can be served as such. Several ranges, or the last bytes,
/// are answered with the whole, which HTTP allows (RFC 9110, section 14.2).
pub(super) fn asked(headers: &HeaderMap, digest: Digest) -> Option<ByteRange> {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let text = ranges.next()?.to_str().ok()?;
    let of_another = headers.get(header::IF_RANGE).is_some_and(|tag| tag.as_bytes() != etag(digest).as_bytes());
    if ranges.next().is_some() || of_another {
        return None;
    }
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let first = number(first)?;
    match last {
        "" => Some(ByteRange { first, last: None }),
        last => number(last).filter(|last| first <= *last).map(|last| ByteRange { first, last: Some(last) }),
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, only_if: Option<&str>) -> Option<(u64, Option<u64>)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, text.parse().unwrap());
        headers.extend(only_if.map(|tag| (header::IF_RANGE, tag.parse().unwrap())));
        asked(&headers, Digest::of(b"x")).map(|range| (range.first, range.last))
    }

    #[test]
    fn one_range_from_the_front_or_the_whole() {
        assert_eq!(read("bytes=0-", None), Some((0, None)));
        assert_eq!(read("bytes=5-9", None), Some((5, Some(9))));
        for whole in [
            "bytes=-5",
            "bytes=9-5",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "items=0-1",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(read(whole, None), None, "{whole}");
        }
        assert_eq!(read("bytes=5-", Some("\"sha256:other\"")), None);
        assert_eq!(read("bytes=5-", Some(&etag(Digest::of(b"x")))), Some((5, None)));
    }
}
