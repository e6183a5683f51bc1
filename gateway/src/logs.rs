//! What the gateway logs and how: one event per decision, no secrets, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{LogFormat, LogSettings};

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is not a level.
    #[error(
        "`level = \"{level}\"` under `[log]` is not a level: write `info`, `debug`, or directives such as `info,gateway=debug`"
    )]
    Level {
        /// What was written.
        level: String,
    },
    /// Something else in this process logs already.
    #[error("logging has begun already")]
    Begun,
}

/// Begins to log on standard error. Once per process.
///
/// # Errors
/// When the level is not one, or logging has begun already.
pub fn begin(settings: &LogSettings) -> Result<(), LogError> {
    let level = settings.level.as_deref().unwrap_or("info");
    let filter = level.parse::<EnvFilter>().map_err(|_| LogError::Level { level: level.to_owned() })?;
    let lines = match settings.format {
        LogFormat::Human => fmt::layer().with_target(false).with_ansi(coloured()).with_writer(std::io::stderr).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::Begun)
}

/// Colours are for people at a terminal who did not decline them.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
