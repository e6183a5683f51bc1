//! Archives, packed in memory: the same files give the same bytes.

use std::io::{Cursor, Write as _};

use flate2::{Compression, GzBuilder};
use zip::{ZipWriter, write::SimpleFileOptions};

/// A ZIP of files by their names, which are taken as they are.
#[must_use]
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, SimpleFileOptions::default()).expect("the name is new");
        archive.write_all(content).expect("memory takes everything");
    }
    archive.finish().expect("memory takes everything").into_inner()
}

/// A gzipped tar of files by their names.
#[must_use]
pub fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    packed(files, |header, name| header.set_path(name).expect("the name is short and leads nowhere else"))
}

/// Likewise, with names that the library would not write.
#[must_use]
pub fn tgz_unchecked(files: &[(&str, &[u8])]) -> Vec<u8> {
    packed(files, |header, name| {
        for (slot, byte) in header.as_old_mut().name.iter_mut().zip(name.as_bytes()) {
            *slot = *byte;
        }
    })
}

fn packed(files: &[(&str, &[u8])], set_name: impl Fn(&mut tar::Header, &str)) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        set_name(&mut header, name);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *content).expect("memory takes everything");
    }
    gzip(&archive.into_inner().expect("memory takes everything"))
}

/// A gzip stream of one file.
#[must_use]
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut stream = GzBuilder::new().write(Vec::new(), Compression::fast());
    stream.write_all(content).expect("memory takes everything");
    stream.finish().expect("memory takes everything")
}
