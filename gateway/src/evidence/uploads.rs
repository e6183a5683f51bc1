//! Uploads in pieces: for files that take long, over connections that break.
//!
//! An upload is a file in the organization's `.uploads` folder, named by who uploads which digest, so nobody else's bytes
//! are gone on with. The file's length is how far it came: it is there again after a restart, and nothing else has to
//! agree with it. When it is whole it is hashed, synced and renamed to its digest, as all evidence is
//! ([`super::EvidenceFolder::put`]); what has another digest is dropped. This module must not say who may upload.

use std::{
    collections::HashMap,
    fs,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use contracts::{Digest, Hasher, limits};
use futures::{Stream, StreamExt};

use super::{EvidenceError, EvidenceFolder, Put, blocking, hash_file, new_folder, settle, sync_folder};
use crate::names::Name;

/// The folder of unfinished uploads within an organization's; no digest is called so.
const FOLDER: &str = ".uploads";
/// How long a piece waits for the one before it, whose sender may be gone without having said so.
const PATIENCE: Duration = Duration::from_secs(40);
/// Uploads whose locks are kept in memory when nobody holds them.
const KEPT: usize = 1024;

/// Who works on which upload now. A lock is there for as long as anybody holds it or waits for it: two would let two write.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>);

/// One upload: who uploads what.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'u> {
    /// Whose evidence it will be.
    pub organization: &'u Name,
    /// Who uploads: nobody goes on with what another has begun.
    pub uploader: &'u str,
    /// What it will be.
    pub digest: Digest,
}

impl EvidenceFolder {
    /// How many bytes of an upload are here; none when it was not begun, or was swept.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn uploaded(&self, upload: Upload<'_>) -> Result<u64, EvidenceError> {
        length_of(&self.upload_path(upload)).await
    }

    /// Goes on with an upload at the place where it stands, which `offset` must name. What came before a piece broke off
    /// is kept. Answers with how far it is now.
    ///
    /// # Errors
    /// [`EvidenceError::Offset`] when it stands elsewhere; when the organization has too many or too much unfinished, the
    /// bytes are too many or stop early, or the disk fails.
    pub async fn append<S, E>(
        &self,
        upload: Upload<'_>,
        offset: u64,
        max: u64,
        mut bytes: S,
    ) -> Result<u64, EvidenceError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let path = self.upload_path(upload);
        let lock = self.uploads.of(&path);
        let alone = tokio::time::timeout(PATIENCE, lock.lock_owned()).await.map_err(|_| EvidenceError::Busy)?;
        self.room(upload.organization, &path).await?;
        let mut length = length_of(&path).await?;
        if length != offset {
            return Err(EvidenceError::Offset { length });
        }
        // The lock goes with the file into every write: one that was begun when its sender went keeps others away until
        // it has ended.
        let mut held = blocking("written", move || Ok((open_at(&path, offset)?, alone))).await?;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| EvidenceError::Incomplete { reason: error.to_string() })?;
            length = length.saturating_add(piece.len() as u64);
            if length > max || length - offset > limits::UPLOAD_PIECE_BYTES {
                return Err(EvidenceError::TooLarge { limit: max.min(limits::UPLOAD_PIECE_BYTES) });
            }
            let (mut file, alone) = held;
            held = blocking("written", move || file.write_all(&piece).map(|()| (file, alone))).await?;
        }
        Ok(length)
    }

    /// Ends an upload whose bytes are all here: when this returns they are evidence, and durable.
    ///
    /// # Errors
    /// When there is no such upload, its bytes have another digest (it is dropped), or the disk fails.
    pub async fn finish(&self, upload: Upload<'_>) -> Result<Put, EvidenceError> {
        let (path, digest) = (self.upload_path(upload), upload.digest);
        let (place, lock) = (self.place(upload.organization, digest), self.uploads.of(&path));
        let turn = Arc::clone(&self.turn);
        // Goes on when the one who asked is gone: asked again, it is there.
        let work = tokio::spawn(async move {
            let alone = lock.lock_owned().await;
            let done = blocking("written", move || {
                let _alone = alone;
                let file = match fs::File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(EvidenceError::NotBegun)),
                    Err(error) => return Err(error),
                };
                // What is in the file counts, and nothing that was noted while it was written.
                let actual = hash_file(&file)?;
                if actual != digest {
                    fs::remove_file(&path)?;
                    return Ok(Err(EvidenceError::Mismatch { expected: digest, actual }));
                }
                file.sync_all()?;
                let put = settle(&place, &turn, || fs::rename(&path, &place))?;
                if let Some(folder) = path.parent() {
                    sync_folder(folder)?;
                }
                Ok(Ok(put))
            });
            done.await?
        });
        work.await.map_err(|stopped| EvidenceError::Disk { doing: "written", reason: stopped.to_string() })?
    }

    /// Drops an upload.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn abandon(&self, upload: Upload<'_>) -> Result<(), EvidenceError> {
        let path = self.upload_path(upload);
        let lock = self.uploads.of(&path);
        let _alone = tokio::time::timeout(PATIENCE, lock.lock_owned()).await.map_err(|_| EvidenceError::Busy)?;
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EvidenceError::disk("written")(error)),
            _ => Ok(()),
        }
    }

    fn upload_path(&self, Upload { organization, uploader, digest }: Upload<'_>) -> PathBuf {
        let mut name = Hasher::default();
        name.update_framed(uploader.as_bytes());
        name.update_framed(digest.as_bytes());
        self.folder(organization).join(FOLDER).join(name.finish().hex())
    }

    /// Makes the folder, sweeps what was abandoned, and sees that one upload more, or more of this one, has room.
    async fn room(&self, organization: &Name, path: &Path) -> Result<(), EvidenceError> {
        let (folder, path) = (self.folder(organization), path.to_owned());
        let uploads = folder.join(FOLDER);
        let (count, bytes) = blocking("written", move || {
            for missing in [&folder, &uploads] {
                if !missing.is_dir() {
                    new_folder(missing)?;
                }
            }
            sweep(&uploads, Some(&path))
        })
        .await?;
        if count >= limits::UPLOADS_OPEN || bytes >= limits::UPLOADS_BYTES {
            return Err(EvidenceError::TooManyUploads);
        }
        Ok(())
    }
}

/// Removes what was abandoned in an organization's folder, when the gateway starts.
pub(super) fn sweep_organization(folder: &Path) -> io::Result<()> {
    let uploads = folder.join(FOLDER);
    if uploads.is_dir() { sweep(&uploads, None).map(drop) } else { Ok(()) }
}

/// Removes uploads that nobody went on with for long. Answers with how many are left beside this one, and how many bytes
/// all have.
fn sweep(uploads: &Path, except: Option<&Path>) -> io::Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0_u64);
    for entry in fs::read_dir(uploads)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(found) => found,
            // It was finished just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let this = except == Some(entry.path().as_path());
        // A file from the future is not old.
        let age = found.modified()?.elapsed().unwrap_or_default();
        if !this && age > limits::UPLOAD_AGE {
            fs::remove_file(entry.path())?;
            continue;
        }
        bytes = bytes.saturating_add(found.len());
        count += usize::from(!this);
    }
    Ok((count, bytes))
}

impl Uploads {
    fn of(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(known.entry(path.to_owned()).or_default())
    }
}

/// The file of an upload, where it goes on.
fn open_at(path: &Path, offset: u64) -> io::Result<fs::File> {
    if offset == 0 {
        // A file of its own: whoever has the one before still open does not write into this one.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return new_file(path),
        }
    }
    let mut file = fs::File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// A file that only the gateway's own user can look into.
fn new_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn length_of(path: &Path) -> Result<u64, EvidenceError> {
    match tokio::fs::metadata(path).await {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(EvidenceError::disk("read")(error)),
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn bytes(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, &'static str>> + Unpin {
        stream::iter(parts.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    fn by<'u>(organization: &'u Name, uploader: &'u str) -> Upload<'u> {
        Upload { organization, uploader, digest: Digest::of(b"abcdef") }
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_stopped_also_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let acme: Name = "acme".parse().unwrap();
        let upload = by(&acme, "ci");
        assert_eq!(folder.uploaded(upload).await.unwrap(), 0);
        let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err("gone")]);
        assert!(matches!(folder.append(upload, 0, 6, broken).await, Err(EvidenceError::Incomplete { .. })));
        assert!(matches!(folder.append(upload, 0, 6, bytes(&[b"x"])).await, Err(EvidenceError::Offset { length: 2 })));
        assert_eq!(folder.append(upload, 2, 6, bytes(&[b"c"])).await.unwrap(), 3);

        let folder = EvidenceFolder::open(root.path()).unwrap();
        assert_eq!(folder.uploaded(upload).await.unwrap(), 3);
        assert_eq!(folder.append(upload, 3, 6, bytes(&[b"de", b"f"])).await.unwrap(), 6);
        assert!(matches!(folder.append(upload, 6, 6, bytes(&[b"g"])).await, Err(EvidenceError::TooLarge { .. })));
        assert_eq!(folder.finish(upload).await.unwrap(), Put::Added);
        assert_eq!(folder.read(&acme, upload.digest, 6).await.unwrap().as_deref(), Some(&b"abcdef"[..]));
        assert!(matches!(folder.finish(upload).await, Err(EvidenceError::NotBegun)));
    }

    #[tokio::test]
    async fn wrong_bytes_are_dropped_and_nobody_goes_on_with_anothers() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let (acme, other): (Name, Name) = ("acme".parse().unwrap(), "other".parse().unwrap());
        folder.append(by(&acme, "ci"), 0, 6, bytes(&[b"abcdeF"])).await.unwrap();
        assert_eq!(folder.uploaded(by(&acme, "another")).await.unwrap(), 0);
        assert_eq!(folder.uploaded(by(&other, "ci")).await.unwrap(), 0);
        assert!(matches!(folder.finish(by(&acme, "ci")).await, Err(EvidenceError::Mismatch { .. })));
        assert_eq!(folder.uploaded(by(&acme, "ci")).await.unwrap(), 0);
        assert_eq!(folder.has(&acme, by(&acme, "ci").digest).await.unwrap(), None);
        folder.append(by(&acme, "ci"), 0, 6, bytes(&[b"abc"])).await.unwrap();
        folder.append(by(&acme, "ci"), 3, 6, bytes(&[b"def"])).await.unwrap();
        assert_eq!(folder.finish(by(&acme, "ci")).await.unwrap(), Put::Added);
    }

    /// Whoever waits for an upload that is dropped meanwhile does not write beside those who begin it anew.
    #[tokio::test]
    async fn one_alone_writes_whatever_was_dropped_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let folder = Arc::new(EvidenceFolder::open(root.path()).unwrap());
        let acme: Name = "acme".parse().unwrap();
        let (send, slow) = tokio::sync::mpsc::channel::<Result<Bytes, &'static str>>(1);
        let slow = stream::unfold(slow, |mut slow| async move { Some((slow.recv().await?, slow)) });
        let (first, org) = (Arc::clone(&folder), acme.clone());
        let first = tokio::spawn(async move { first.append(by(&org, "ci"), 0, 6, Box::pin(slow)).await });
        send.send(Ok(Bytes::from_static(b"EVIL"))).await.unwrap();
        let (drop_it, org) = (Arc::clone(&folder), acme.clone());
        let dropped = tokio::spawn(async move { drop_it.abandon(by(&org, "ci")).await });
        tokio::task::yield_now().await;
        let (late, org) = (Arc::clone(&folder), acme.clone());
        let (send_late, later) = tokio::sync::mpsc::channel::<Result<Bytes, &'static str>>(1);
        let later = stream::unfold(later, |mut later| async move { Some((later.recv().await?, later)) });
        let late = tokio::spawn(async move { late.append(by(&org, "ci"), 0, 6, Box::pin(later)).await });
        drop(send);
        assert!(first.await.unwrap().is_ok() && dropped.await.unwrap().is_ok());
        // The one who waited has it now, and whoever comes waits in turn.
        let short = Duration::from_millis(100);
        tokio::time::sleep(short).await;
        let beside = folder.append(by(&acme, "ci"), 0, 6, bytes(&[b"abcdef"]));
        assert!(tokio::time::timeout(short, beside).await.is_err());
        send_late.send(Ok(Bytes::from_static(b"EVIL"))).await.unwrap();
        drop(send_late);
        late.await.unwrap().unwrap();
        // It waits for the one before, and so does not begin where that one began.
        let again = folder.append(by(&acme, "ci"), 0, 6, bytes(&[b"abcdef"])).await;
        assert!(matches!(again, Err(EvidenceError::Offset { length: 4 })), "{again:?}");
        assert!(folder.finish(by(&acme, "ci")).await.is_err());
        folder.append(by(&acme, "ci"), 0, 6, bytes(&[b"abcdef"])).await.unwrap();
        assert_eq!(folder.finish(by(&acme, "ci")).await.unwrap(), Put::Added);
    }

    #[tokio::test]
    async fn unfinished_uploads_are_bounded_and_swept() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let (acme, other): (Name, Name) = ("acme".parse().unwrap(), "other".parse().unwrap());
        for n in 0..limits::UPLOADS_OPEN {
            folder.append(by(&acme, &n.to_string()), 0, 6, bytes(&[b"a"])).await.unwrap();
        }
        let more = folder.append(by(&acme, "more"), 0, 6, bytes(&[b"a"])).await;
        assert!(matches!(more, Err(EvidenceError::TooManyUploads)));
        // One that was begun goes on, and so does another organization.
        folder.append(by(&acme, "0"), 1, 6, bytes(&[b"b"])).await.unwrap();
        folder.append(by(&other, "0"), 0, 6, bytes(&[b"a"])).await.unwrap();
        folder.abandon(by(&acme, "1")).await.unwrap();
        folder.append(by(&acme, "more"), 0, 6, bytes(&[b"a"])).await.unwrap();
        let old = fs::File::options().write(true).open(folder.upload_path(by(&acme, "2"))).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        EvidenceFolder::open(root.path()).unwrap();
        assert_eq!(folder.uploaded(by(&acme, "2")).await.unwrap(), 0);
        assert_eq!(folder.uploaded(by(&acme, "3")).await.unwrap(), 1);
    }
}
