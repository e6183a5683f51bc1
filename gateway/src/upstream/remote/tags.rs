//! The names of a repository's tags, over all pages of the registry's list.

use std::{sync::Arc, time::Duration};

use contracts::{Tag, limits::MANIFEST_BYTES};
use moka::future::Cache;
use reqwest::{Method, header::LINK};
use serde::Deserialize;

use super::{
    client::{Ask, Wire},
    next_page, text,
};
use crate::upstream::UpstreamError;

/// Tags of one repository. Who has more is told so: half a list would be taken for the whole.
const TAGS: usize = 50_000;
/// Asked for at once; registries refuse more.
const PAGE: usize = 1000;
const PAGES: usize = 256;
/// For the whole list.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a list is current. Clients ask page by page.
const KEPT: Duration = Duration::from_secs(10);
/// Bytes of lists kept.
const BYTES: u64 = 8 * 1024 * 1024;

/// The lists that one registry told lately. Who asks meanwhile waits for the same answer.
pub(super) struct TagLists(Cache<String, Arc<[String]>>);

impl TagLists {
    pub(super) fn new() -> Self {
        let weight = |path: &String, tags: &Arc<[String]>| {
            let bytes = tags.iter().map(|tag| tag.len() + size_of::<String>()).sum::<usize>() + path.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(weight).time_to_live(KEPT).build())
    }

    pub(super) async fn of(&self, wire: &Wire, path: &str) -> Result<Arc<[String]>, UpstreamError> {
        let listed = async {
            match tokio::time::timeout(PATIENCE, gathered(wire, path)).await {
                Ok(tags) => tags,
                Err(_) => Err(wire.unavailable("its list of tags took too long".to_owned())),
            }
        };
        self.0.try_get_with(path.to_owned(), listed).await.map_err(|error| (*error).clone())
    }
}

#[derive(Deserialize)]
struct Listed {
    /// Some write `null` for none.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

async fn gathered(wire: &Wire, path: &str) -> Result<Arc<[String]>, UpstreamError> {
    let (mut all, mut next) = (Vec::new(), Some(format!("tags/list?n={PAGE}")));
    for _ in 0..PAGES {
        let Some(rest) = next.take() else { break };
        let ask = Ask { method: Method::GET, repository: path, rest: rest.clone(), accept: None, range: None };
        let response = wire.ask(&ask).await?;
        next = text(response.headers(), LINK).and_then(|link| next_page(&link, path, |rest| rest == "tags/list"));
        if next.as_ref() == Some(&rest) {
            return Err(wire.lied("the next page of its list of tags is the page itself"));
        }
        let bytes = wire.body(response, MANIFEST_BYTES).await?;
        let listed: Listed =
            serde_json::from_slice(&bytes).map_err(|_| wire.lied("its list of tags cannot be read"))?;
        // What is no tag can be asked for by nobody.
        all.extend(listed.tags.unwrap_or_default().into_iter().filter(|tag| tag.parse::<Tag>().is_ok()));
        if all.len() > TAGS {
            break;
        }
    }
    if next.is_some() || all.len() > TAGS {
        return Err(wire.lied(&format!("it lists more than the {TAGS} tags that are read of one repository")));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all.into())
}
