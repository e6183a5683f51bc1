//! Stored bytes that rest: nobody uploaded them, asked whether they are there, or judged by them for long. Which of those
//! nothing names is for the caller to know; what is asked for meanwhile stays.
//!
//! How long a file rests is told by its time of change, which is set anew when somebody wants it
//! ([`EvidenceFolder::renew`]). A file is looked at and removed in one turn, and renewed in one, so that who was told
//! that the bytes are there finds them.

use std::{fs, io, path::Path, sync::PoisonError, time::Duration};

use contracts::{Digest, limits};

use super::{EvidenceError, EvidenceFolder, blocking};
use crate::names::Name;

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The files.
    pub digests: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
}

impl EvidenceFolder {
    /// Says that bytes are wanted, if they are here. They rest anew from now on, or, when they were wanted not long ago, from
    /// then on.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn renew(&self, organization: &Name, digest: Digest) -> Result<(), EvidenceError> {
        let (place, turn) = (self.place(organization, digest), self.turn.clone());
        blocking("written", move || match age(&place)? {
            Some((age, _)) if age >= limits::EVIDENCE_RENEWED => {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let file = match fs::OpenOptions::new().write(true).open(&place) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    opened => opened?,
                };
                let modified = file.metadata()?.modified()?;
                file.set_modified(modified + modified.elapsed().unwrap_or_default())
            }
            _ => Ok(()),
        })
        .await
    }

    /// What has rested for so long, with its length.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn resting(&self, organization: &Name, long: Duration) -> Result<Vec<(Digest, u64)>, EvidenceError> {
        let folder = self.folder(organization);
        blocking("read", move || {
            let mut resting = Vec::new();
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(resting),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                // Whatever is called otherwise is none of ours.
                let digest = entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
                if let Some(digest) = digest
                    && let Some((age, length)) = age(&entry.path())?
                    && age >= long
                {
                    resting.push((digest, length));
                }
            }
            resting.sort();
            Ok(resting)
        })
        .await
    }

    /// Removes these, but for what does not rest any more. The caller knows that nothing names them, by a look at the state
    /// that began after [`EvidenceFolder::resting`] was asked: what is named since was renewed before.
    ///
    /// # Errors
    /// When the disk fails; some may be removed.
    pub async fn sweep(
        &self,
        organization: &Name,
        unnamed: Vec<Digest>,
        long: Duration,
    ) -> Result<Swept, EvidenceError> {
        let places: Vec<_> = unnamed.into_iter().map(|digest| (digest, self.place(organization, digest))).collect();
        let turn = self.turn.clone();
        blocking("written", move || {
            let mut swept = Swept::default();
            for (digest, place) in places {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((age, length)) = age(&place)?
                    && age >= long
                {
                    fs::remove_file(&place)?;
                    swept.digests.push(digest);
                    swept.bytes = swept.bytes.saturating_add(length);
                }
            }
            Ok(swept)
        })
        .await
    }
}

/// How long a file has rested, and its length; nothing when it is not there. One from the future has not rested.
fn age(place: &Path) -> io::Result<Option<(Duration, u64)>> {
    match fs::metadata(place) {
        Ok(found) if found.is_file() => Ok(Some((found.modified()?.elapsed().unwrap_or_default(), found.len()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LONG: Duration = limits::EVIDENCE_RESTED;

    async fn stored(folder: &EvidenceFolder, acme: &Name, bytes: &'static [u8], days: u64) -> Digest {
        let digest = Digest::of(bytes);
        let pieces = futures::stream::iter([Ok::<_, io::Error>(Bytes::from_static(bytes))]);
        folder.put(acme, digest, 100, pieces).await.unwrap();
        aged(folder, acme, digest, days);
        digest
    }

    fn aged(folder: &EvidenceFolder, acme: &Name, digest: Digest, days: u64) {
        let file = fs::File::options().write(true).open(folder.place(acme, digest)).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
    }

    #[tokio::test]
    async fn what_is_wanted_again_before_it_is_removed_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let acme: Name = "acme".parse().unwrap();
        let (gone, renewed) = (stored(&folder, &acme, b"gone", 8).await, stored(&folder, &acme, b"renewed", 8).await);
        let (again, new) = (stored(&folder, &acme, b"again", 8).await, stored(&folder, &acme, b"new", 6).await);
        fs::write(root.path().join("acme/notes"), b"not ours").unwrap();
        let resting = folder.resting(&acme, LONG).await.unwrap();
        let mut expected = vec![(gone, 4), (renewed, 7), (again, 5)];
        expected.sort();
        assert_eq!(resting, expected);
        // Meanwhile somebody asks for one, and somebody uploads another.
        folder.renew(&acme, renewed).await.unwrap();
        stored(&folder, &acme, b"again", 0).await;
        let all = vec![gone, renewed, again, new, Digest::of(b"never there")];
        let swept = folder.sweep(&acme, all, LONG).await.unwrap();
        assert_eq!(swept, Swept { digests: vec![gone], bytes: 4 });
        for (digest, kept) in [(gone, false), (renewed, true), (again, true), (new, true)] {
            assert_eq!(folder.has(&acme, digest).await.unwrap().is_some(), kept);
        }
        assert!(root.path().join("acme/notes").exists());
    }

    /// Each renewal has the bytes hashed again.
    #[tokio::test]
    async fn what_was_wanted_not_long_ago_is_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::open(root.path()).unwrap();
        let acme: Name = "acme".parse().unwrap();
        let digest = stored(&folder, &acme, b"used", 1).await;
        let before = fs::metadata(folder.place(&acme, digest)).unwrap().modified().unwrap();
        folder.renew(&acme, digest).await.unwrap();
        assert_eq!(fs::metadata(folder.place(&acme, digest)).unwrap().modified().unwrap(), before);
        folder.renew(&acme, Digest::of(b"not here")).await.unwrap();
    }
}
