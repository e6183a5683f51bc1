//! What is asked about: an image, a file or a digest, told apart by how it is written and by what is there.
//!
//! What an attacker may put into a folder must not decide what a question is about: a file that is called like an image is
//! never taken for the image, nor the image for the file.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use contracts::{Digest, Reference};

use crate::{args::SubjectKind, files, image, report::progress};

/// What a person asks about.
pub enum Subject {
    /// As it was written: the gateway resolves its tag.
    Image(String),
    /// A file, by its name and digest.
    File(String, Digest),
    /// A digest of what is not at hand.
    Digest(Digest),
}

impl Subject {
    /// Reads what was typed. A file is hashed here and goes nowhere.
    pub async fn of(text: &str, kind: Option<SubjectKind>) -> anyhow::Result<Self> {
        let kind = match kind {
            Some(kind) => kind,
            // A folder of an image's name is no file of it.
            None => told_apart(text, std::fs::metadata(text).is_ok_and(|about| !about.is_dir()))?,
        };
        Ok(match kind {
            SubjectKind::Image => {
                let there_is_none = || format!("`{text}` is no image, and there is no file of that name");
                text.parse::<Reference>().with_context(there_is_none)?;
                Self::Image(text.to_owned())
            }
            SubjectKind::File => Self::File(text.to_owned(), hashed(text).await?),
            SubjectKind::Digest => Self::Digest(text.parse()?),
        })
    }

    pub fn image(&self) -> Option<String> {
        match self {
            Self::Image(text) => Some(text.clone()),
            Self::File(..) | Self::Digest(_) => None,
        }
    }

    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Image(_) => None,
            Self::File(_, digest) | Self::Digest(digest) => Some(*digest),
        }
    }

    pub fn file(&self) -> Option<&str> {
        match self {
            Self::File(name, _) => Some(name),
            Self::Image(_) | Self::Digest(_) => None,
        }
    }

    /// An error, with what else may have been meant.
    pub fn explained(&self, error: anyhow::Error, text: &str) -> anyhow::Error {
        match self {
            Self::Image(_) if !image::names_a_registry(text) => {
                anyhow!("{error:#} (there is no file `{text}`, so an image was asked about)")
            }
            Self::Digest(digest) => anyhow!("{error:#}; {}", as_image(digest)),
            Self::Image(_) | Self::File(..) => error,
        }
    }
}

/// What somebody types who meant an image by its digest.
pub fn as_image(digest: &Digest) -> String {
    format!("if it is an image, name where it lies, too: sluice check REPOSITORY@{digest}")
}

/// What a text names. A path is a file whether or not it is there; anything else is one only when it is there and does
/// not read like an image that somebody would write.
fn told_apart(text: &str, there: bool) -> anyhow::Result<SubjectKind> {
    let path = Path::new(text);
    let written_as_path =
        path.is_absolute() || text.starts_with("./") || text.starts_with("../") || text.contains('\\');
    if written_as_path {
        return Ok(SubjectKind::File);
    }
    if text.starts_with("sha256:") {
        return Ok(SubjectKind::Digest);
    }
    if !there {
        return Ok(SubjectKind::Image);
    }
    // `registry/…`, `…:tag`, `…@digest`, or one word without an ending: `alpine`.
    let explicit = image::names_a_registry(text) || text.contains([':', '@']) || !text.contains(['/', '.']);
    if explicit && text.parse::<Reference>().is_ok() {
        bail!(
            "`{text}` reads like an image, and there is a file of that name: say `./{text}` (or --as file) for the file, --as image for the image"
        );
    }
    Ok(SubjectKind::File)
}

async fn hashed(text: &str) -> anyhow::Result<Digest> {
    let path = Path::new(text).to_owned();
    let about = std::fs::metadata(&path).with_context(|| format!("there is no file `{text}` that can be read"))?;
    if about.is_dir() {
        bail!("`{text}` is a folder: name a file in it");
    }
    let bar = progress::over(about.len(), &format!("hashing {text}"));
    let moving = bar.clone();
    let hashing = tokio::task::spawn_blocking(move || files::digest_telling(&path, |read| moving.set_position(read)));
    let (digest, _) = progress::shown_while(&bar, hashing).await.context("the file could not be hashed")??;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_taken_for_an_image_nor_an_image_for_a_file() {
        use SubjectKind::{Digest, File, Image};
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, without_file, with_file) in [
            ("./app", Some(File), Some(File)),
            ("../app", Some(File), Some(File)),
            ("/dev/fd/63", Some(File), Some(File)),
            (digest.as_str(), Some(Digest), Some(Digest)),
            ("sha256:short", Some(Digest), Some(Digest)),
            ("registry.acme.dev/app:v1", Some(Image), None),
            ("registry.acme.dev/app", Some(Image), None),
            ("localhost/app", Some(Image), None),
            ("acme/app:v1", Some(Image), None),
            ("alpine", Some(Image), None),
            ("dist/app.tar.gz", Some(Image), Some(File)),
            ("dist/app", Some(Image), Some(File)),
            ("app.tar.gz", Some(Image), Some(File)),
            ("App v1:2.tgz", Some(Image), Some(File)),
        ] {
            assert_eq!(told_apart(text, false).ok(), without_file, "{text}");
            assert_eq!(told_apart(text, true).ok(), with_file, "{text}");
        }
        let told = told_apart("alpine", true).unwrap_err().to_string();
        assert!(told.contains("`./alpine`") && told.contains("--as image"), "{told}");
    }
}
