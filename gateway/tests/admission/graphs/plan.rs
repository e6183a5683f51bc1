//! What a random case is: a graph in a registry, and what happens to it.

use std::collections::BTreeSet;

use proptest::prelude::*;

/// Which blobs each manifest has (the first is its configuration), which manifests each index lists, and what speaks about
/// them.
#[derive(Debug, Clone)]
pub struct Plan {
    pub manifests: Vec<BTreeSet<usize>>,
    pub indexes: Vec<BTreeSet<usize>>,
    pub artifacts: Vec<Speaking>,
    pub steps: Vec<Step>,
    /// Whether the registry has the referrers API, or only tags.
    pub api: bool,
    /// Whether the gateway keeps content.
    pub cached: bool,
}

/// An artifact about an index or manifest.
#[derive(Debug, Clone)]
pub struct Speaking {
    pub about: usize,
    pub place: Place,
    pub documents: BTreeSet<usize>,
    pub besides: Besides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It names its subject.
    Referrer,
    /// Under one of cosign's tags.
    Tag(&'static str),
}

/// What an artifact carries besides documents, which makes it no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Besides {
    Nothing,
    /// A blob of some image.
    Blob(usize),
    /// The manifest of some image, as a layer.
    Manifest(usize),
}

/// Nodes are numbered: indexes, then manifests, blobs, artifacts, documents.
#[derive(Debug, Clone)]
pub enum Step {
    /// A run about an index or manifest, accepted or rejected.
    Push {
        node: usize,
        accepted: bool,
    },
    Deny {
        node: usize,
        short: bool,
    },
    Undeny {
        node: usize,
    },
    /// An emergency for an index or manifest, where a run was rejected.
    Except {
        node: usize,
    },
    /// The newest run about an index or manifest is withdrawn.
    Withdraw {
        node: usize,
    },
    Restore {
        node: usize,
    },
    /// A client pulls everything that it gets.
    Pull,
    Wait,
}

pub const BLOBS: usize = 5;
pub const DOCUMENTS: usize = 4;

pub fn plan() -> impl Strategy<Value = Plan> {
    let blobs = prop::collection::btree_set(0..BLOBS, 1..4);
    let manifests = prop::collection::vec(blobs, 1..4);
    let node = 0..100_usize;
    let step = prop_oneof![
        6 => (node.clone(), prop::bool::weighted(0.7)).prop_map(|(node, accepted)| Step::Push { node, accepted }),
        4 => (node.clone(), any::<bool>()).prop_map(|(node, short)| Step::Deny { node, short }),
        2 => node.clone().prop_map(|node| Step::Undeny { node }),
        3 => node.clone().prop_map(|node| Step::Withdraw { node }),
        1 => node.clone().prop_map(|node| Step::Restore { node }),
        2 => node.prop_map(|node| Step::Except { node }),
        4 => Just(Step::Pull),
        1 => Just(Step::Wait),
    ];
    let graph = (manifests, prop::collection::vec(speaking(), 0..5), prop::collection::vec(step, 5..12));
    (graph, any::<bool>(), any::<bool>()).prop_flat_map(|((manifests, artifacts, steps), api, cached)| {
        let lists = prop::collection::btree_set(0..manifests.len(), 1..=manifests.len());
        let indexes = prop::collection::vec(lists, 0..3);
        let rest = (Just(manifests), Just(artifacts), Just(steps));
        (rest, indexes).prop_map(move |((manifests, artifacts, steps), indexes)| Plan {
            manifests,
            indexes,
            artifacts,
            steps,
            api,
            cached,
        })
    })
}

fn speaking() -> impl Strategy<Value = Speaking> {
    let place = prop_oneof![
        3 => Just(Place::Referrer),
        1 => prop::sample::select(vec![".att", ".sig", ".sbom"]).prop_map(Place::Tag),
    ];
    let besides = prop_oneof![
        4 => Just(Besides::Nothing),
        1 => (0..BLOBS).prop_map(Besides::Blob),
        1 => (0..100_usize).prop_map(Besides::Manifest),
    ];
    let documents = prop::collection::btree_set(0..DOCUMENTS, 1..3);
    (0..100_usize, place, documents, besides).prop_map(|(about, place, documents, besides)| Speaking {
        about,
        place,
        documents,
        besides,
    })
}
