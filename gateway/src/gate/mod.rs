//! The gate: decides about a [`PinnedRef`] and hands out the [`Permit`] without which nothing is served.
//!
//! This module must not contain HTTP, or anything that reads a clock.

mod permit;

pub use permit::{Outcome, Permit, Remembered};
