//! Lists, which the gateway tells page by page.

use reqwest::{Method, header};
use serde::de::DeserializeOwned;

use super::{Answer, Client};

impl Client {
    /// A list, or its first rows: where a page says that there is another one, that is asked for too.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        most: usize,
    ) -> Answer<Vec<T>> {
        let (mut rows, mut request) = (Vec::new(), self.request(Method::GET, path, query)?);
        loop {
            let answer = self.accepted(self.send(request).await?).await?;
            let next = answer.headers().get(header::LINK).and_then(|link| next(link.to_str().ok()?));
            let page: Vec<T> = self.read_json(answer).await?;
            let ended = page.is_empty();
            rows.extend(page);
            rows.truncate(most);
            let Some(next) = next.filter(|_| !ended && rows.len() < most) else { return Ok(rows) };
            let next: Vec<(&str, &str)> = next.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            request = self.request(Method::GET, path, &next)?;
        }
    }
}

/// The query of the next page. Nothing else of the address is used: what is asked, and whom, does not change on the way.
fn next(link: &str) -> Option<Vec<(String, String)>> {
    let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|one| matches!(one.trim(), "rel=next" | "rel=\"next\""));
    let (_, query) = address.split_once('?').filter(|_| is_next)?;
    let mut url = reqwest::Url::parse("http://gateway").ok()?;
    url.set_query(Some(query));
    Some(url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_told_by_its_query_alone() {
        let told = next("</api/v1/workflows?limit=2&after=a%20b>; rel=\"next\"").unwrap();
        assert_eq!(told, [("limit".to_owned(), "2".to_owned()), ("after".to_owned(), "a b".to_owned())]);
        for none in ["", "</api/v1/runs?after=x>; rel=\"prev\"", "</api/v1/runs>; rel=\"next\"", "/runs?after=x"] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
