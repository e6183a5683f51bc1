//! The engine through its front door: contracts as people write them, attestations as builds sign them.

#![cfg(test)]

mod answers;
mod corpus;
mod documentation;
mod fields;
mod language;
mod materials;
mod mistakes;
mod schemas;
mod support;
mod time;
