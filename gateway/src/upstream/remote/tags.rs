//! The names of a repository's tags, over all pages of the registry's list.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::{Tag, limits::MANIFEST_BYTES};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use moka::{policy::EvictionPolicy, sync::Cache};
use reqwest::{Method, header::LINK};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use tokio::sync::Semaphore;

use super::{
    client::{Ask, Wire},
    next_page, text,
};
use crate::upstream::{UpstreamError, manifest::parsed};

/// Tags of one repository. Who has more is told so: half a list would be taken for the whole.
const TAGS: usize = 50_000;
/// Asked for at once; registries refuse more.
const PAGE: usize = 1000;
const PAGES: usize = 256;
/// For the whole list, and for the wait before it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a list is current. Clients ask page by page.
const KEPT: Duration = Duration::from_secs(10);
/// Bytes of lists kept.
const BYTES: u64 = 16 * 1024 * 1024;
/// Lists read at a time, of one registry.
const AT_ONCE: usize = 2;

/// The lists that one registry told lately, those that are too long among them. Who asks for one that is being read waits
/// for it; it is read to its end, whoever leaves.
pub(super) struct TagLists {
    kept: Cache<String, Listed>,
    reading: Mutex<HashMap<String, Shared<BoxFuture<'static, Answer>>>>,
    places: Semaphore,
}

type Answer = Result<Listed, UpstreamError>;

/// A list, or that there are more than are listed.
#[derive(Clone)]
enum Listed {
    All(Arc<[String]>),
    TooMany,
}

impl TagLists {
    pub(super) fn new() -> Arc<Self> {
        let weight = |path: &String, listed: &Listed| {
            let tags: usize = match listed {
                Listed::All(tags) => tags.iter().map(|tag| tag.len() + size_of::<String>()).sum(),
                Listed::TooMany => 0,
            };
            u32::try_from(tags + path.len() + 64).unwrap_or(u32::MAX)
        };
        // By age alone: a long list must not be read anew for each of its pages.
        let kept = Cache::builder().max_capacity(BYTES).weigher(weight).time_to_live(KEPT);
        let kept = kept.eviction_policy(EvictionPolicy::lru()).build();
        Arc::new(Self { kept, reading: Mutex::default(), places: Semaphore::new(AT_ONCE) })
    }

    pub(super) async fn of(self: &Arc<Self>, wire: &Arc<Wire>, path: &str) -> Result<Arc<[String]>, UpstreamError> {
        let listed = match self.kept.get(path) {
            Some(listed) => listed,
            None => self.joined(wire, path).await?,
        };
        match listed {
            Listed::All(tags) => Ok(tags),
            Listed::TooMany => {
                Err(wire.lied(&format!("it lists more than the {TAGS} tags that are read of one repository")))
            }
        }
    }

    fn joined(self: &Arc<Self>, wire: &Arc<Wire>, path: &str) -> Shared<BoxFuture<'static, Answer>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended is left here only when its task was stopped: the next one begins anew.
        if let Some(answer) = reading.get(path).filter(|answer| answer.peek().is_none()) {
            return answer.clone();
        }
        let (lists, asked, at) = (Arc::clone(self), Arc::clone(wire), path.to_owned());
        let task = tokio::spawn(async move {
            let answer = lists.read(&asked, &at).await;
            if let Ok(listed) = &answer {
                lists.kept.insert(at.clone(), listed.clone());
            }
            lists.reading.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
            answer
        });
        let stopped = wire.unavailable("reading its list of tags was given up".to_owned());
        let answer = task.map(|answer| answer.unwrap_or(Err(stopped))).boxed().shared();
        reading.insert(path.to_owned(), answer.clone());
        answer
    }

    async fn read(&self, wire: &Wire, path: &str) -> Answer {
        let read = async {
            let _place = self.places.acquire().await;
            gathered(wire, path).await
        };
        let late = |_| Err(wire.unavailable("its list of tags took too long".to_owned()));
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(late)
    }
}

async fn gathered(wire: &Wire, path: &str) -> Answer {
    let (mut all, mut listed) = (Vec::new(), 0);
    let mut next = Some(format!("tags/list?n={PAGE}"));
    for _ in 0..PAGES {
        let Some(rest) = next.take() else { break };
        let ask = Ask { method: Method::GET, repository: path, rest: rest.clone(), accept: None, range: None };
        let response = wire.ask(&ask).await?;
        next = text(response.headers(), LINK).and_then(|link| next_page(&link, path, |rest| rest == "tags/list"));
        if next.as_ref() == Some(&rest) {
            return Err(wire.lied("the next page of its list of tags is the page itself"));
        }
        let bytes = wire.body(response, MANIFEST_BYTES).await?;
        let page =
            parsed(bytes, |bytes| serde_json::from_slice::<Page>(bytes).map_err(|error| error.to_string())).await;
        let page = page.map_err(|_| wire.lied("its list of tags cannot be read"))?.tags.unwrap_or_default();
        listed += page.listed;
        if listed > TAGS {
            return Ok(Listed::TooMany);
        }
        all.extend(page.tags);
    }
    if next.is_some() {
        return Ok(Listed::TooMany);
    }
    all.sort_unstable();
    all.dedup();
    Ok(Listed::All(all.into()))
}

#[derive(Deserialize)]
struct Page {
    /// Some write `null` for none.
    #[serde(default)]
    tags: Option<Names>,
}

/// The names of a page, as far as they are tags, and how many it lists. Those past the bound are counted alone.
#[derive(Default)]
struct Names {
    tags: Vec<String>,
    listed: usize,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tags")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Names::default();
                while names.listed < TAGS {
                    let Some(name) = list.next_element::<String>()? else { return Ok(names) };
                    names.listed += 1;
                    // What is no tag can be asked for by nobody.
                    if name.parse::<Tag>().is_ok() {
                        names.tags.push(name);
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    names.listed += 1;
                }
                Ok(names)
            }
        }
        deserializer.deserialize_seq(Reading)
    }
}
