//! The gate over the real store, with a registry that does what the test says.

mod artifacts;
mod beside;
mod brought;
mod ends;
mod exempted;
mod held;
mod identity;
mod memory;
mod outlives;
mod outputs;
mod own;
mod summaries;
mod withdrawn;
