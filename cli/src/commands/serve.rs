//! `sluice serve`.

use anyhow::Context;
use gateway::{app, config::Settings, logs};

use crate::{args, exit::Exit};

/// Runs the gateway until it is told to stop (SIGTERM, Ctrl-C); open requests may finish.
pub async fn run(args: &args::Serve) -> anyhow::Result<Exit> {
    let settings = Settings::load(&args.config)?;
    logs::begin(&settings.log)?;
    let stop = Stop::listen().context("signals cannot be waited for")?;
    app::serve(settings, stop.received()).await?;
    Ok(Exit::Yes)
}

/// The wish that the program stops. Listened for before anything starts, so that none is missed.
#[cfg(unix)]
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Stop;

#[cfg(not(unix))]
impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn received(self) {
        // An error here means that no signal can come.
        let _ = tokio::signal::ctrl_c().await;
    }
}
