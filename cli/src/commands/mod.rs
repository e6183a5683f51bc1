//! The commands: settings in, a report out. They print nothing themselves.

pub mod attestation;
pub mod backup;
pub mod cache;
pub mod check;
pub mod contract;
pub mod deny;
pub mod doctor;
pub mod evidence;
pub mod exemption;
pub mod key;
pub mod organization;
pub mod policy;
pub mod pulls;
pub mod quickstart;
pub mod run;
pub mod schema;
pub mod serve;
pub mod shell;
pub mod token;
pub mod workflow;

use crate::{args, client::Client, settings::Connection};

/// A variable of the environment, when it is there and text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The gateway that the arguments, the environment and the configuration name.
pub fn connect(args: &args::Connection) -> anyhow::Result<Client> {
    Ok(Client::new(Connection::resolve(args, &variable)?)?)
}
