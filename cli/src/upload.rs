//! Evidence on its way to the gateway: in one request when it is small, else in pieces, so that a broken connection or a
//! gateway that starts anew costs one piece and not the whole file. A file is never held in memory.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use contracts::Digest;
use indicatif::ProgressBar;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, SeekFrom},
};
use tokio_util::io::{InspectReader, ReaderStream};

use crate::{
    client::{Client, ClientError},
    files,
    report::{self, progress},
};

/// One piece; smaller files go in one request.
const PIECE: u64 = 8 * 1024 * 1024;
/// How often is tried again while nothing moves on, and how long it is waited before: longer each time.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// A file that is sent.
pub struct Sent<'s> {
    /// What it is called in messages.
    pub name: &'s str,
    /// Where it is.
    pub path: &'s Path,
    /// What it must still be.
    pub digest: Digest,
}

impl Sent<'_> {
    /// Sends it, unless the gateway has it. Goes on where an earlier try stopped, of whichever process.
    pub async fn to(&self, client: &Client) -> anyhow::Result<()> {
        let (now, length) = files::digest(self.path)?;
        if now != self.digest {
            bail!("`{}` was changed after it was added: add it again, which signs what it is now", self.path.display());
        }
        let bar = progress::over(length, &format!("uploading {}", self.name));
        let sent = progress::shown_while(&bar, self.patiently(client, length, &bar)).await;
        sent.with_context(|| format!("`{}` could not be uploaded", self.name))
    }

    /// Tries again while the gateway cannot be reached or cannot take it now. What moved on starts the count anew.
    async fn patiently(&self, client: &Client, length: u64, bar: &ProgressBar) -> anyhow::Result<()> {
        let (mut tries, mut pause, mut reached, mut told) = (0, PAUSE, 0, false);
        loop {
            let error = match self.once(client, length, bar).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if bar.position() > reached {
                (tries, pause, reached) = (0, PAUSE, bar.position());
            }
            tries += 1;
            if !error.downcast_ref::<ClientError>().is_some_and(passes) {
                return Err(error);
            }
            if tries >= TRIES {
                bail!("{error:#}. Nothing that was added is lost: push again once the gateway answers");
            }
            if !told && tries > 2 {
                report::say(&report::plain(&format!(
                    "the upload of {} was interrupted and goes on, for some two minutes without an answer: {error:#}",
                    self.name
                )));
                told = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, client: &Client, length: u64, bar: &ProgressBar) -> anyhow::Result<()> {
        if client.has_evidence(&self.digest).await? {
            return Ok(());
        }
        let unreadable = || format!("`{}` cannot be read", self.path.display());
        let mut file = File::open(self.path).await.with_context(unreadable)?;
        let counting = |bar: &ProgressBar| {
            let bar = bar.clone();
            move |piece: &[u8]| bar.inc(piece.len() as u64)
        };
        if length <= PIECE {
            bar.set_position(0);
            let reader = InspectReader::new(file, counting(bar));
            let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(reader, 128 * 1024));
            return Ok(client.upload_evidence(&self.digest, length, body).await?);
        }
        let mut offset = client.upload_offset(&self.digest).await?;
        let resumed = offset > 0;
        if offset > length {
            client.abandon_upload(&self.digest).await?;
            offset = 0;
        }
        file.seek(SeekFrom::Start(offset)).await.with_context(unreadable)?;
        while offset < length {
            bar.set_position(offset);
            let piece = PIECE.min(length - offset);
            let part = file.try_clone().await.with_context(unreadable)?.take(piece);
            let reader = InspectReader::new(part, counting(bar));
            let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(reader, 128 * 1024));
            offset = client.append_upload(&self.digest, offset, piece, body).await?;
        }
        bar.set_position(length);
        match client.finish_upload(&self.digest).await {
            // The gateway lost its hold of it while it was told so, and has it.
            Err(ClientError::Refused { status: 404, .. }) if client.has_evidence(&self.digest).await? => Ok(()),
            // What an earlier try left was not this file. It is dropped there, so it begins anew.
            Err(ClientError::Refused { code, .. }) if code == "digest-mismatch" && resumed => {
                Box::pin(self.once(client, length, bar)).await
            }
            done => Ok(done?),
        }
    }
}

/// Whether it may go well a moment later.
pub fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused { status, code, .. } => {
            matches!(status, 408 | 429 | 502..=504)
                || matches!(code.as_str(), "upload-offset" | "upload-busy" | "body-incomplete")
        }
        ClientError::Foreign { status, .. } => matches!(status, 408 | 429 | 502..=504),
        ClientError::Setup { .. } | ClientError::File { .. } => false,
    }
}
