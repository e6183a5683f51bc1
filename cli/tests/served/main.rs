//! The real `sluice` binary serving: killed while it works, and among real registries, pullers and signers.
#![cfg(test)]

mod adding;
mod artifacts;
mod cached;
mod callers;
mod canary;
mod clients;
mod denials;
mod exemptions;
mod gate;
mod incomplete;
mod jobs;
mod kill;
mod materials;
mod operating;
mod pipelines;
mod real_clients;
mod real_clients_serving;
mod real_clients_sigstore;
mod scene;
mod tutorial;
mod uploads;
mod upstreams;
