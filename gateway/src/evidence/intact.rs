//! Which stored files have their digest: each is hashed once, however many ask, and again only when it has changed.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use contracts::Digest;

use super::{EvidenceError, EvidenceFolder, blocking, hash_file};
use crate::names::Name;

/// Files of which it is remembered.
const KEPT: usize = 100_000;
/// Smaller files do not wait for the large ones before them.
const LARGE: u64 = 16 << 20;
/// Large files that are hashed at once.
const LANES: usize = 2;

/// What is known of the files, and where large ones wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Known {
    files: Mutex<HashMap<PathBuf, (Stamp, bool)>>,
    /// By the digest, so that those who ask for the same file wait for the first of them.
    lanes: [Arc<tokio::sync::Mutex<()>>; LANES],
}

/// What changes when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    /// The inode and when it last changed, where there are such: nobody can set the latter back.
    inode: (u64, i64, i64),
}

impl EvidenceFolder {
    /// Whether bytes are stored that have this digest. They are hashed, however many there are, without being held; and
    /// not again while their file is the same, which its length, inode and times of change tell.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn intact(&self, organization: &Name, digest: Digest) -> Result<bool, EvidenceError> {
        let place = self.place(organization, digest);
        let Some((stamp, known)) = self.look(&place).await? else { return Ok(false) };
        if let Some(known) = known {
            return Ok(known);
        }
        let lane = digest.as_bytes().first().map_or(0, |byte| usize::from(*byte) % LANES);
        let lane = self.known.lanes.get(lane).filter(|_| stamp.length >= LARGE).map(Arc::clone);
        let remembered = Arc::clone(&self.known);
        // Goes on when nobody waits any more: asked again, it is known.
        let hashing = tokio::spawn(async move {
            let turn = match lane {
                Some(lane) => Some(lane.lock_owned().await),
                None => None,
            };
            blocking("read", move || {
                let _turn = turn;
                remembered.hash(place, digest)
            })
            .await
        });
        hashing.await.map_err(|stopped| EvidenceError::Disk { doing: "read", reason: stopped.to_string() })?
    }

    /// Whether whoever would send these bytes can spare it. What was found damaged has to be sent again; a large file
    /// that nobody has asked about yet is taken for what it is called, and is hashed before it counts.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn spares_upload(&self, organization: &Name, digest: Digest) -> Result<bool, EvidenceError> {
        match self.look(&self.place(organization, digest)).await? {
            Some((_, Some(known))) => Ok(known),
            Some((stamp, None)) if stamp.length >= LARGE => Ok(true),
            Some(_) => self.intact(organization, digest).await,
            None => Ok(false),
        }
    }

    /// The file as it is now, if it is there, and what is known of it.
    async fn look(&self, place: &Path) -> Result<Option<(Stamp, Option<bool>)>, EvidenceError> {
        let found = match tokio::fs::metadata(place).await {
            Ok(found) => Stamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        };
        let stamp = found.map_err(EvidenceError::disk("read"))?;
        Ok(Some((stamp, self.known.of(place, &stamp))))
    }
}

impl Known {
    fn of(&self, place: &Path, stamp: &Stamp) -> Option<bool> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(place).filter(|(known, _)| known == stamp).map(|(_, intact)| *intact)
    }

    fn hash(&self, place: PathBuf, digest: Digest) -> io::Result<bool> {
        let file = match fs::File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let stamp = Stamp::of(&file.metadata()?)?;
        // Whoever had the turn before has looked at it.
        if let Some(known) = self.of(&place, &stamp) {
            return Ok(known);
        }
        let intact = hash_file(&file)? == digest;
        // Another file took its name meanwhile, say: of this one it was said, and that one is looked at when it is asked for.
        if Stamp::of(&file.metadata()?)? == stamp {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if files.len() >= KEPT {
                files.clear();
            }
            files.insert(place, (stamp, intact));
        }
        Ok(intact)
    }
}

impl Stamp {
    fn of(found: &fs::Metadata) -> io::Result<Self> {
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt;
            (found.ino(), found.ctime(), found.ctime_nsec())
        };
        #[cfg(not(unix))]
        let inode = (0, 0, 0);
        Ok(Self { length: found.len(), modified: found.modified()?, inode })
    }
}
