//! ZIP and tar archives, read in memory with every dimension bounded: how much is in them, how much it unpacks to, and
//! how they are named. Nothing is written to a disk, links lead nowhere, and an archive inside an archive is not opened.

use std::io::{Cursor, Read};

use flate2::read::GzDecoder;

use super::MaterialError;
use crate::{digest::shorten, limits};

/// The kinds of archive that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Zip,
    /// A gzip stream, most often of a tar.
    Gzip,
    Tar,
}

/// What the first bytes say. Names of files settle nothing.
pub(super) fn format(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Some(Format::Zip)
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        Some(Format::Gzip)
    } else if bytes.get(257..262) == Some(b"ustar") {
        Some(Format::Tar)
    } else {
        None
    }
}

/// Whether something in an archive is wanted, by its name with `/` between folders.
pub(super) type Wanted<'w> = &'w dyn Fn(&str) -> bool;

/// What is in an archive: regular files that are wanted, in the order of their names.
pub(super) struct Unpacked {
    /// Name and bytes.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// How many regular files there are, wanted or not.
    pub(super) count: usize,
}

/// Unpacks what is wanted of an archive. All of it counts towards the bounds.
///
/// # Errors
/// When it is not a whole archive of a known form, is larger than [`limits::ARCHIVE_ENTRIES`] and
/// [`limits::ARCHIVE_BYTES`] allow, or holds what has an unsafe name, is encrypted, or has the name of another.
pub(super) fn unpack(bytes: &[u8], wanted: Wanted<'_>) -> Result<Unpacked, MaterialError> {
    let mut walk = Walk { left: limits::ARCHIVE_BYTES, wanted, unpacked: Unpacked { files: Vec::new(), count: 0 } };
    match format(bytes) {
        Some(Format::Zip) => walk.zip(bytes)?,
        Some(Format::Gzip) => walk.tar(GzDecoder::new(bytes))?,
        Some(Format::Tar) => walk.tar(bytes)?,
        None => return Err(MaterialError::malformed("it is neither a ZIP nor a tar archive")),
    }
    let mut unpacked = walk.unpacked;
    unpacked.files.sort();
    if unpacked.files.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other)) {
        return Err(MaterialError::malformed("two files in the archive have the same name"));
    }
    Ok(unpacked)
}

/// A gzip stream that holds one file rather than a tar; `None` when it holds a tar.
///
/// # Errors
/// When it is no whole gzip stream, or unpacks to more than [`limits::ARCHIVE_BYTES`].
pub(super) fn gunzip(bytes: &[u8]) -> Result<Option<Vec<u8>>, MaterialError> {
    let mut left = limits::ARCHIVE_BYTES;
    let content = read(&mut GzDecoder::new(bytes), &mut left)?;
    Ok((format(&content) != Some(Format::Tar)).then_some(content))
}

/// The names of the regular files in an archive, as far as they can be read; `None` when it is not one.
pub(super) fn names(bytes: &[u8]) -> Option<Vec<String>> {
    /// Names looked at.
    const MOST: usize = 64;
    match format(bytes)? {
        Format::Zip => {
            plausible(bytes).ok()?;
            let archive = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
            archive.file_names().take(MOST).map(|name| name.ok().map(Into::into)).collect()
        }
        Format::Gzip => tar_names(GzDecoder::new(bytes).take(limits::ARCHIVE_BYTES as u64), MOST),
        Format::Tar => tar_names(bytes, MOST),
    }
}

fn tar_names(stream: impl Read, most: usize) -> Option<Vec<String>> {
    let mut archive = tar::Archive::new(stream);
    let mut names = Vec::new();
    for entry in archive.entries().ok()?.take(most) {
        let Ok(entry) = entry else { break };
        if entry.header().entry_type().is_file() {
            names.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        }
    }
    Some(names)
}

/// Each entry of a ZIP has a record with this signature, so counting them bounds what the directory can hold before
/// anything is made room for.
fn plausible(bytes: &[u8]) -> Result<(), MaterialError> {
    const RECORD: &[u8] = b"PK\x01\x02";
    let records = bytes.windows(RECORD.len()).filter(|window| *window == RECORD).count();
    if records > limits::ARCHIVE_ENTRIES { Err(too_many()) } else { Ok(()) }
}

struct Walk<'w> {
    /// Bytes that may still be unpacked.
    left: usize,
    wanted: Wanted<'w>,
    unpacked: Unpacked,
}

impl Walk<'_> {
    fn zip(&mut self, bytes: &[u8]) -> Result<(), MaterialError> {
        plausible(bytes)?;
        let broken = |error: zip::result::ZipError| {
            MaterialError::malformed(format!("it is not a whole ZIP archive: {}", shorten(&error.to_string())))
                .mend("the file may be cut off: make it again")
        };
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        for index in 0..archive.len() {
            let (name, file) = {
                let entry = archive.by_index_raw(index).map_err(broken)?;
                let name = safe_name(&entry.name().map_err(broken)?)?;
                if entry.encrypted() {
                    return Err(MaterialError::malformed(format!("`{}` in the archive is encrypted", shorten(&name))));
                }
                (name, entry.is_file())
            };
            if !file {
                continue;
            }
            self.unpacked.count += 1;
            if !(self.wanted)(&name) {
                continue;
            }
            let mut entry = archive.by_index(index).map_err(broken)?;
            let content = read(&mut entry, &mut self.left)
                .map_err(|error| error.about(&format!("`{}` in the archive", shorten(&name))))?;
            self.unpacked.files.push((name, content));
        }
        Ok(())
    }

    fn tar(&mut self, stream: impl Read) -> Result<(), MaterialError> {
        let broken = |error: &std::io::Error| {
            MaterialError::malformed(format!("it is not a whole tar archive: {}", shorten(&error.to_string())))
                .mend("the file may be cut off: make it again")
        };
        // One byte more than is read, so that reaching it is told from ending there.
        let most = limits::ARCHIVE_BYTES as u64 + 1;
        let mut archive = tar::Archive::new(Counted { inner: stream, left: most });
        let mut entries = 0;
        for entry in archive.entries().map_err(|error| broken(&error))? {
            let mut entry = entry.map_err(|error| if is_too_large(&error) { too_large() } else { broken(&error) })?;
            entries += 1;
            if entries > limits::ARCHIVE_ENTRIES {
                return Err(too_many());
            }
            let name = safe_name(&String::from_utf8_lossy(&entry.path_bytes()))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            self.unpacked.count += 1;
            if (self.wanted)(&name) {
                let content = read(&mut entry, &mut self.left)
                    .map_err(|error| error.about(&format!("`{}` in the archive", shorten(&name))))?;
                self.unpacked.files.push((name, content));
            }
        }
        if entries == 0 {
            return Err(MaterialError::malformed("the tar archive holds nothing"));
        }
        Ok(())
    }
}

/// A stream that fails when it gave as much as may be unpacked: skipping costs unpacking as well.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "too large"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn is_too_large(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::FileTooLarge
}

/// Reads to the end, at most what is left. Sizes that the archive declares are not believed.
fn read(stream: &mut dyn Read, left: &mut usize) -> Result<Vec<u8>, MaterialError> {
    let mut content = Vec::new();
    let read = stream.take(*left as u64 + 1).read_to_end(&mut content).map_err(|error| {
        if is_too_large(&error) {
            return too_large();
        }
        MaterialError::malformed(format!("it cannot be unpacked: {}", shorten(&error.to_string())))
            .mend("the file may be cut off: make it again")
    })?;
    *left = left.checked_sub(read).ok_or_else(too_large)?;
    Ok(content)
}

/// The name with `/` between folders. A name that leads out of the archive's own folder is refused, though nothing is
/// written: whoever unpacks the archive elsewhere would be harmed.
fn safe_name(name: &str) -> Result<String, MaterialError> {
    let name = name.replace('\\', "/");
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.len() > limits::ARCHIVE_NAME_BYTES
        || name.starts_with('/')
        || drive
        || name.contains('\0')
        || name.split('/').any(|part| part == "..")
    {
        let message = format!("`{}` in the archive is a name that leads out of it", shorten(&name));
        return Err(MaterialError::malformed(message).mend("pack the files with names relative to their folder"));
    }
    Ok(name.strip_prefix("./").unwrap_or(&name).to_owned())
}

fn too_many() -> MaterialError {
    MaterialError::too_large(format!("the archive holds more than {} files", limits::ARCHIVE_ENTRIES))
        .mend("pack only the reports of one run")
}

fn too_large() -> MaterialError {
    MaterialError::too_large(format!("the archive unpacks to more than {} bytes", limits::ARCHIVE_BYTES))
        .mend("pack only the reports of one run")
}
