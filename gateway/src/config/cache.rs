//! `[cache]`: where content that was served is kept, and how much of it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::reading::Reading;
use crate::upstream::CacheSettings;

/// What the folder is called beside the state file when none is named.
const FOLDER: &str = "cache";
/// The least that can be kept: smaller, nothing of use fits.
const LEAST: u64 = 64 * 1024 * 1024;

pub(super) const CACHE: &[&str] = &["folder", "size"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCache {
    folder: Option<Spanned<PathBuf>>,
    size: Spanned<String>,
}

impl Reading<'_> {
    pub(super) fn cache(&mut self, raw: RawCache, beside_state: &Path) -> CacheSettings {
        let folder = match raw.folder {
            Some(given) => self.path(Some(given), ""),
            None => beside_state.join(FOLDER),
        };
        let size = match contracts::size::parse(raw.size.get_ref()) {
            Ok(size) if size >= LEAST => size,
            Ok(_) => {
                let message = format!("`{}` is too little: give the cache at least `64MiB`", raw.size.get_ref());
                self.wrong(&raw.size.span(), message);
                LEAST
            }
            Err(error) => {
                self.wrong(&raw.size.span(), error.to_string());
                LEAST
            }
        };
        CacheSettings { folder, size }
    }
}
