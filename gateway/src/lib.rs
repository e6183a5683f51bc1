//! The enforcement point: the gate, the memory of verdicts, intake, stores, upstream registries, and the HTTP
//! edge (the API, the registry, the pages).
//!
//! This crate must not parse documents, verify signatures or evaluate rules itself: `contracts` and `policies` do.

pub mod app;
pub mod config;
pub mod denials;
mod documents;
mod emergencies;
pub mod evidence;
pub mod federation;
pub mod gate;
pub mod http;
pub mod intake;
pub mod kubernetes;
pub mod logs;
mod materials;
pub mod metrics;
pub mod names;
mod outputs;
mod places;
pub mod pulls;
pub mod rules;
mod server;
pub mod store;
mod tls;
#[cfg(test)]
mod trial;
pub mod trust;
pub mod tuf;
pub mod upstream;
pub mod word;
pub mod workers;

pub use app::{Gateway, Running};
