//! The real `sluice` binary serving: killed while it works, and among real registries, pullers and signers.
#![cfg(test)]

mod exemptions;
mod incomplete;
mod kill;
mod materials;
mod real_clients;
mod scene;
