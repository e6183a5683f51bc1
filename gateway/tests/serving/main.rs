//! What a gateway serves beside images, under which names, and to whom: through the real server, over a registry that
//! can be made to lie.

#![cfg(test)]

mod budget;
mod evidence;
#[path = "../fake/mod.rs"]
mod fake;
mod fresh;
mod mirror;
mod names;
mod proofs;
mod referrers;
mod registry;
mod site;
mod stamps;
mod summaries;
mod tags;
mod tls;
mod tokens;
mod upstreams;
