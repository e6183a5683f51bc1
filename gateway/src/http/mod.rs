//! The HTTP edge: the API, the registry, and what operators watch. It reads the clock, turns requests into calls
//! and errors into answers; it must not contain anything that decides.

pub mod auth;
pub mod clock;
pub mod error;
