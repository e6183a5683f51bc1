//! What may be used, and how that changes, on every way in: pulls, checks and the cluster's webhook, over a registry in
//! memory.

#![cfg(test)]

mod denials;
mod deploy;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../fake/mod.rs"]
mod fake;
mod graphs;
mod kubernetes;
mod names;
mod proofs;
mod pulls;
mod site;
mod withdrawals;
