//! What the load harness and the micro-benchmarks share: programs under measurement, a load generator, and the
//! contract, policies and attestations that all of them are measured with.

pub mod generator;
pub mod mint;
pub mod peers;
pub mod process;
pub mod registry;
pub mod rules;
pub mod scenarios;
pub mod site;
pub mod table;
pub mod wire;
