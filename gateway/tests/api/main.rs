//! The gateway through its front door: a real server on a free port, a real client, whole answers.

#![cfg(test)]

mod artifacts;
mod attestations;
mod contracts;
mod crafting;
mod doors;
mod evidence;
mod exemptions;
mod federation;
mod lists;
mod materials;
mod removal;
mod scene;
mod support;
mod sweep;
mod tenancy;
mod tokens;
mod verdict_page;
mod whole;
mod word;
