//! The bytes of materials, by digest, in a folder per organization: stored in one request, or in pieces ([`uploads`]).
//!
//! What `put` has answered for survives a power cut: the bytes are written beside their place, hashed, synced,
//! renamed, and the folder is synced. Bytes are hashed again whenever they are read as evidence. Nothing here
//! knows what the bytes mean.

mod intact;
pub mod sweep;
pub mod uploads;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use contracts::{Digest, Hasher};
use futures::{Stream, StreamExt, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
};
use tokio_util::io::ReaderStream;

use self::{intact::Known, uploads::Uploads};
use crate::names::Name;

/// How what is written in one request is named until it is whole; no digest begins like this.
const PARTIAL: &str = ".partial-";

/// Evidence bytes in a folder.
#[derive(Debug, Clone)]
pub struct EvidenceFolder {
    root: PathBuf,
    uploads: Arc<Uploads>,
    known: Arc<Known>,
    /// Whose turn it is to give a file its name or its time, or to remove one because it rests.
    turn: Arc<Mutex<()>>,
}

/// Stored evidence, opened: its length, and its bytes.
pub struct StoredEvidence {
    /// Length in bytes.
    pub length: u64,
    digest: Digest,
    file: File,
}

impl StoredEvidence {
    /// The bytes in pieces, hashed on the way. The last piece comes only when all of them have the digest;
    /// otherwise the stream ends with an error, never with a clean end.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let file = ReaderStream::with_capacity(self.file, 64 * 1024);
        let begin = (file, Bytes::new(), Some(Hasher::default()));
        stream::unfold(begin, move |(mut file, held, hasher)| async move {
            let mut hasher = hasher?;
            match file.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    Some((Ok(held), (file, piece, Some(hasher))))
                }
                Some(Err(error)) => Some((Err(error), (file, Bytes::new(), None))),
                None if hasher.finish() == self.digest => Some((Ok(held), (file, Bytes::new(), None))),
                None => Some((Err(io::Error::other("the stored bytes are damaged")), (file, Bytes::new(), None))),
            }
        })
    }
}

/// Whether `put` added anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// These bytes are new to the organization.
    Added,
    /// They were there; they are now the bytes just sent, which have the same digest.
    Present,
}

/// Why evidence could not be stored or read. Nothing half-written remains under a digest.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The bytes have another digest than the one they were sent under.
    #[error("the bytes have the digest `{actual}`, but were sent as `{expected}`: send each file under its own digest")]
    Mismatch {
        /// What the request names.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// More bytes than are taken.
    #[error("the evidence is larger than {limit} bytes, the most that is taken")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// The sender stopped before the end.
    #[error("the upload broke off before its end: {reason}")]
    Incomplete {
        /// What happened.
        reason: String,
    },
    /// The bytes on the disk are not those that were stored.
    #[error("the stored bytes of `{digest}` are damaged: upload them again")]
    Damaged {
        /// Which.
        digest: Digest,
    },
    /// A piece for another place of the upload than where it stands.
    #[error("the upload stands at byte {length}: go on from there")]
    Offset {
        /// How many bytes are here.
        length: u64,
    },
    /// There is no such upload to end.
    #[error("no upload of it was begun, or it was given up since: begin anew")]
    NotBegun,
    /// Another piece of the same upload is still coming in.
    #[error("another piece of this upload is still coming in: try again")]
    Busy,
    /// The organization has as much unfinished as it may.
    #[error(
        "the organization has too much unfinished: {} uploads or {} bytes; wait until others are done (what nobody goes on with is removed after a day)",
        contracts::limits::UPLOADS_OPEN,
        contracts::limits::UPLOADS_BYTES
    )]
    TooManyUploads,
    /// No room.
    #[error("there is no room left for evidence")]
    Full,
    /// The disk failed.
    #[error("the evidence could not be {doing}: {reason}")]
    Disk {
        /// `read`, `written`, `opened`.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl EvidenceError {
    fn disk(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Disk { doing, reason: error.to_string() },
        }
    }
}

impl EvidenceFolder {
    /// Opens the folder, makes it if it is not there, and removes what was left unfinished, but for uploads in pieces that
    /// are not old. Nobody else may be writing to it: the caller holds the state file, which only one process can.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub fn open(root: &Path) -> Result<Self, EvidenceError> {
        let opened = EvidenceError::disk("opened");
        if !root.is_dir() {
            new_folder(root).map_err(&opened)?;
        }
        for organization in fs::read_dir(root).map_err(&opened)? {
            let path = organization.map_err(&opened)?.path();
            if !path.is_dir() {
                continue;
            }
            uploads::sweep_organization(&path).map_err(&opened)?;
            for entry in fs::read_dir(&path).map_err(&opened)? {
                let entry = entry.map_err(&opened)?;
                if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                    fs::remove_file(entry.path()).map_err(&opened)?;
                }
            }
        }
        Ok(Self { root: root.to_owned(), uploads: Arc::default(), known: Arc::default(), turn: Arc::default() })
    }

    /// Stores what the stream brings, at most `max` bytes, if it has this digest. When this returns, the bytes
    /// are durable.
    ///
    /// # Errors
    /// When the bytes have another digest, are too many or stop early, or the disk fails; nothing was stored.
    pub async fn put<S, E>(
        &self,
        organization: &Name,
        digest: Digest,
        max: u64,
        mut bytes: S,
    ) -> Result<Put, EvidenceError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let (file, partial) = self.partial(organization).await?;
        let mut file = File::from_std(file);
        let written = EvidenceError::disk("written");
        let mut hasher = Hasher::default();
        let mut length: u64 = 0;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|e| EvidenceError::Incomplete { reason: e.to_string() })?;
            length = length.saturating_add(piece.len() as u64);
            if length > max {
                return Err(EvidenceError::TooLarge { limit: max });
            }
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(&written)?;
        }
        let actual = hasher.finish();
        if actual != digest {
            return Err(EvidenceError::Mismatch { expected: digest, actual });
        }
        file.flush().await.map_err(&written)?;
        file.sync_all().await.map_err(&written)?;
        let (place, turn) = (self.place(organization, digest), Arc::clone(&self.turn));
        blocking("written", move || settle(&place, &turn, || partial.persist(&place).map_err(|e| e.error))).await
    }

    /// The length of the stored bytes, if there are any.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn has(&self, organization: &Name, digest: Digest) -> Result<Option<u64>, EvidenceError> {
        match tokio::fs::metadata(self.place(organization, digest)).await {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EvidenceError::disk("read")(error)),
        }
    }

    /// All the bytes, hashed again; `None` when they were never stored.
    ///
    /// # Errors
    /// When there are more than `max`, when they are damaged, or the disk fails.
    pub async fn read(&self, organization: &Name, digest: Digest, max: u64) -> Result<Option<Bytes>, EvidenceError> {
        let Some(stored) = self.stored(organization, digest).await? else { return Ok(None) };
        if stored.length > max {
            return Err(EvidenceError::TooLarge { limit: max });
        }
        let mut bytes = Vec::new();
        stored.file.take(max.saturating_add(1)).read_to_end(&mut bytes).await.map_err(EvidenceError::disk("read"))?;
        if Digest::of(&bytes) != digest {
            return Err(EvidenceError::Damaged { digest });
        }
        Ok(Some(bytes.into()))
    }

    /// Opens the bytes for streaming; `None` when they were never stored.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn stored(&self, organization: &Name, digest: Digest) -> Result<Option<StoredEvidence>, EvidenceError> {
        let failed = EvidenceError::disk("read");
        match File::open(self.place(organization, digest)).await {
            Ok(file) => {
                let length = file.metadata().await.map_err(&failed)?.len();
                Ok(Some(StoredEvidence { length, digest, file }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn partial(&self, organization: &Name) -> Result<(fs::File, tempfile::TempPath), EvidenceError> {
        let folder = self.folder(organization);
        blocking("written", move || {
            if !folder.is_dir() {
                new_folder(&folder)?;
            }
            let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&folder)?;
            Ok(file.into_parts())
        })
        .await
    }

    fn folder(&self, organization: &Name) -> PathBuf {
        self.root.join(organization.as_str())
    }

    fn place(&self, organization: &Name, digest: Digest) -> PathBuf {
        self.folder(organization).join(digest.hex())
    }
}

/// Moves bytes that are written and synced to where they are found, and makes that durable.
fn settle(place: &Path, turn: &Mutex<()>, rename: impl FnOnce() -> io::Result<()>) -> io::Result<Put> {
    let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let present = place.exists();
    rename()?;
    drop(held);
    if let Some(folder) = place.parent() {
        sync_folder(folder)?;
    }
    Ok(if present { Put::Present } else { Put::Added })
}

/// The digest of a file of any length.
pub(crate) fn hash_file(mut file: &fs::File) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Makes a folder that only the gateway's own user can look into, with those above it; durably.
fn new_folder(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above.filter(|above| !above.is_dir()) {
        new_folder(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another request made it just now.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    above.map_or(Ok(()), sync_folder)
}

/// Makes renames and new files in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, EvidenceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(EvidenceError::disk(doing)),
        Err(stopped) => Err(EvidenceError::Disk { doing, reason: stopped.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin {
        stream::iter(parts.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    fn files(root: &Path) -> usize {
        fs::read_dir(root).unwrap().flat_map(|d| fs::read_dir(d.unwrap().path()).unwrap()).count()
    }

    #[tokio::test]
    async fn keeps_only_what_has_its_digest() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let (acme, other): (Name, Name) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let digest = Digest::of(b"sbom");

        let wrong = folder.put(&acme, digest, 10, pieces(&[b"sb", b"0m"])).await;
        assert!(matches!(wrong, Err(EvidenceError::Mismatch { .. })));
        let long = folder.put(&acme, digest, 3, pieces(&[b"sb", b"om"])).await;
        assert!(matches!(long, Err(EvidenceError::TooLarge { limit: 3 })));
        let broken = stream::iter([Ok(Bytes::from_static(b"sbom")), Err("gone")]);
        assert!(matches!(folder.put(&acme, digest, 10, broken).await, Err(EvidenceError::Incomplete { .. })));
        assert_eq!((folder.has(&acme, digest).await.unwrap(), files(root.path())), (None, 0));

        assert_eq!(folder.put(&acme, digest, 10, pieces(&[b"sb", b"om"])).await.unwrap(), Put::Added);
        assert_eq!(folder.put(&acme, digest, 10, pieces(&[b"sbom"])).await.unwrap(), Put::Present);
        assert_eq!(folder.read(&acme, digest, 4).await.unwrap().as_deref(), Some(&b"sbom"[..]));
        assert_eq!(folder.read(&other, digest, 4).await.unwrap(), None);
        assert!(matches!(folder.read(&acme, digest, 3).await, Err(EvidenceError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn damage_is_seen_and_mended_by_uploading_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let acme: Name = "acme".parse().unwrap();
        let digest = Digest::of(b"sbom");
        folder.put(&acme, digest, 10, pieces(&[b"sbom"])).await.unwrap();
        assert!(folder.intact(&acme, digest).await.unwrap() && folder.intact(&acme, digest).await.unwrap());
        // Times of files are coarse.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(folder.place(&acme, digest), b"sb0m").unwrap();
        assert!(!folder.intact(&acme, digest).await.unwrap());
        assert!(matches!(folder.read(&acme, digest, 10).await, Err(EvidenceError::Damaged { .. })));
        let stored = folder.stored(&acme, digest).await.unwrap().unwrap();
        let streamed: Vec<_> = stored.into_stream().collect().await;
        assert!(streamed.last().unwrap().is_err());
        assert!(streamed.iter().flatten().all(Bytes::is_empty));
        // Found damaged, it has to be sent again; another file in its place is another matter.
        assert!(!folder.spares_upload(&acme, digest).await.unwrap());
        folder.put(&acme, digest, 10, pieces(&[b"sbom"])).await.unwrap();
        assert!(folder.spares_upload(&acme, digest).await.unwrap());
        assert!(folder.read(&acme, digest, 10).await.unwrap().is_some());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_can_look_at_evidence() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(&root.path().join("new/evidence")).unwrap();
        let acme: Name = "acme".parse().unwrap();
        let digest = Digest::of(b"piece");
        let upload = uploads::Upload { organization: &acme, uploader: "ci", digest };
        folder.append(upload, 0, 10, pieces(&[b"piece"])).await.unwrap();
        folder.finish(upload).await.unwrap();
        folder.put(&acme, Digest::of(b"whole"), 10, pieces(&[b"whole"])).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for made in ["new", "new/evidence", "new/evidence/acme", "new/evidence/acme/.uploads"] {
            assert_eq!(mode(&root.path().join(made)), 0o700, "{made}");
        }
        assert_eq!(mode(&folder.place(&acme, digest)), 0o600);
        assert_eq!(mode(&folder.place(&acme, Digest::of(b"whole"))), 0o600);
    }

    #[tokio::test]
    async fn unfinished_uploads_are_swept_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let acme: Name = "acme".parse().unwrap();
        folder.put(&acme, Digest::of(b"x"), 10, pieces(&[b"x"])).await.unwrap();
        fs::write(root.path().join("acme").join(format!("{PARTIAL}1")), b"half").unwrap();
        EvidenceFolder::open(root.path()).unwrap();
        assert_eq!(files(root.path()), 1);
    }
}
