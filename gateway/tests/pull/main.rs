//! Pulling through a gateway that keeps content, and from registries that mean it harm: a real server, a real client,
//! and registries that can be made to lie.
#![cfg(test)]

mod cache;
mod evidence;
#[path = "../fake/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod fake;
mod hostile;
mod kept;
mod sharing;
mod site;
mod slow;
mod stalled;
mod wire;
