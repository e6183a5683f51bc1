//! The shipped policies: listed, documented, and held by their own test cases, line by line and comparison by
//! comparison.
#![cfg(test)]

mod cases;
mod mutants;
mod opa;
mod page;
mod schema;
mod shelf;
