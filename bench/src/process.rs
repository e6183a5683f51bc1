//! Programs under measurement: started on loopback, watched, and stopped by process id.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

/// A running program. Dropping it kills it.
pub struct Program {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Program {
    /// Starts a program that will listen on `address`, and waits until it does.
    pub async fn start(command: &mut Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {:?}", command.as_std().get_program()))?;
        let mut program = Self { child, address };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(status) = program.child.try_wait()? {
                bail!("{:?} ended with {status} before it listened", command.as_std().get_program());
            }
            if started.elapsed() > Duration::from_secs(20) {
                bail!("{:?} does not listen on {address}", command.as_std().get_program());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(program)
    }

    /// Peak resident memory so far, in KiB, as the kernel counts it.
    pub fn peak_resident_kib(&self) -> anyhow::Result<u64> {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> anyhow::Result<u64> {
        let pid = self.child.id().context("the program has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }

    /// Resident memory now, in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.of_status("VmRSS:")
    }

    /// Stops it and waits.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Whether a program of this name can be started: a path, or found on `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<std::path::PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join(name)).find(|p| p.is_file())
}
