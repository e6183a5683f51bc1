//! The log of who pulled what. A pull never waits for it: what happened goes into a queue, is put together for a second, and
//! is then written at once. When more happens than can be written, the rest is counted and not kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contracts::{
    PinnedRef, Tag,
    api::{PullInfo, PullWay, ToldBy},
};
use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    gate::{Outcome, Remembered},
    names::Name,
    store::Store,
};

/// What waits to be written.
const QUEUE: usize = 8192;
/// For how long pulls are put together.
const TOGETHER: Duration = Duration::from_secs(1);

/// Takes what happened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulls {
    clients: Queue,
    /// Clusters have one of their own: what can be made up leaves no pull without its note.
    clusters: Queue,
}

#[derive(Debug, Clone)]
struct Queue {
    waiting: mpsc::Sender<(Name, PullInfo)>,
    lost: Arc<AtomicU64>,
}

/// Who asked for an image, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// By which way.
    pub way: PullWay,
    /// A token's id, or the user that a cluster names.
    pub by: &'a str,
    /// What the token is called, or the namespace that a cluster names.
    pub name: &'a str,
    /// Whose word that is, when it is not the gateway's own.
    pub told_by: Option<&'a ToldBy>,
}

impl Pulls {
    /// Begins to write to a store. The task ends, with what waits written and the store let go of, when the last clone is
    /// dropped.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> (Self, JoinHandle<()>) {
        let ((clients, of_clients), (clusters, of_clusters)) = (Queue::new(), Queue::new());
        let lost = (Arc::clone(&clients.lost), Arc::clone(&clusters.lost));
        let task = tokio::spawn(async move {
            let clients = write(Arc::clone(&store), of_clients, lost.0);
            tokio::join!(clients, write(store, of_clusters, lost.1));
        });
        (Self { clients, clusters }, task)
    }

    /// Notes that an image was asked for. Does not wait.
    pub fn note(
        &self,
        organization: &Name,
        asker: Asker<'_>,
        asked: &PinnedRef,
        tag: Option<&Tag>,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let Remembered { key, verdict, .. } = outcome.verdict();
        let root = match outcome {
            Outcome::Permit(permit) => permit.root(),
            Outcome::Deny(_) => asked.digest,
        };
        let plain = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(253).collect() };
        let pull = PullInfo {
            at: now,
            way: asker.way,
            image: asked.to_string(),
            tag: tag.map(ToString::to_string),
            through: (root != asked.digest).then_some(root),
            by: plain(asker.by),
            name: plain(asker.name),
            told_by: asker.told_by.map(|told| ToldBy { id: plain(&told.id), name: plain(&told.name) }),
            decision: verdict.decision,
            enforced: verdict.enforced,
            verdict: *key,
            requests: 1,
        };
        let queue = match asker.way {
            PullWay::Pull => &self.clients,
            PullWay::Kubernetes => &self.clusters,
        };
        if queue.waiting.try_send((organization.clone(), pull)).is_err() {
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Queue {
    fn new() -> (Self, mpsc::Receiver<(Name, PullInfo)>) {
        let (waiting, taken) = mpsc::channel(QUEUE);
        (Self { waiting, lost: Arc::new(AtomicU64::new(0)) }, taken)
    }
}

async fn write(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<(Name, PullInfo)>, lost: Arc<AtomicU64>) {
    while let Some(first) = waiting.recv().await {
        let mut together = Together::default();
        together.add(first);
        let end = tokio::time::Instant::now() + TOGETHER;
        while together.count < QUEUE
            && let Ok(Some(next)) = tokio::time::timeout_at(end, waiting.recv()).await
        {
            together.add(next);
        }
        for (organization, pulls) in together.in_order() {
            if let Err(error) = store.put_pulls(&organization, pulls).await {
                tracing::warn!(%organization, %error, "the log of pulls was not written");
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "more was pulled than the log of pulls could take");
        }
    }
}

/// What is equal in all but its instant: image, who, verdict, and whose word that is.
type Same = (String, String, String, Option<String>);

#[derive(Default)]
struct Together {
    of: BTreeMap<Name, BTreeMap<Same, PullInfo>>,
    count: usize,
}

impl Together {
    /// The entries of each organization, the oldest first: they are kept in the order in which they are written.
    fn in_order(self) -> impl Iterator<Item = (Name, Vec<PullInfo>)> {
        self.of.into_iter().map(|(organization, pulls)| {
            let mut pulls: Vec<PullInfo> = pulls.into_values().collect();
            pulls.sort_by_key(|pull| pull.at);
            (organization, pulls)
        })
    }

    fn add(&mut self, (organization, pull): (Name, PullInfo)) {
        self.count = self.count.saturating_add(1);
        let told_by = pull.told_by.as_ref().map(|told| told.id.clone());
        let same = (pull.image.clone(), pull.by.clone(), pull.verdict.to_string(), told_by);
        let all = self.of.entry(organization).or_default();
        match all.get_mut(&same) {
            // A client asks by the tag, and then by the digest.
            Some(known) => {
                known.requests = known.requests.saturating_add(1);
                known.tag = known.tag.take().or(pull.tag);
            }
            None => {
                all.insert(same, pull);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::{Decision, Digest};

    use super::*;

    #[test]
    fn what_came_within_a_second_is_kept_in_the_order_in_which_it_came() {
        let mut together = Together::default();
        for (second, image) in [(1, "z"), (2, "a"), (3, "z"), (4, "m")] {
            let pull = PullInfo {
                at: Timestamp::from_second(second).unwrap(),
                way: PullWay::Pull,
                image: image.to_owned(),
                tag: None,
                through: None,
                by: "id".to_owned(),
                name: "node".to_owned(),
                told_by: None,
                decision: Decision::Allow,
                enforced: true,
                verdict: Digest::of(b"verdict"),
                requests: 1,
            };
            together.add(("acme".parse().unwrap(), pull));
        }
        let written: Vec<_> = together.in_order().flat_map(|(_, pulls)| pulls).collect();
        let told: Vec<_> = written.iter().map(|pull| (pull.image.as_str(), pull.requests)).collect();
        assert_eq!(told, [("z", 2), ("a", 1), ("m", 1)]);
    }
}
