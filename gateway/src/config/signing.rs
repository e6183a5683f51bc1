//! `[signing]`: the key that the gateway's own word is signed with, and the keys that it was signed with before.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use toml::{Spanned, de::DeTable, de::DeValue};

use super::{
    mistakes::{Mistake, unknown_in},
    reading::Reading,
};

/// What the key is called beside the state file when none is named.
const KEY_FILE: &str = "signing.key";

/// `[signing]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSettings {
    /// The private key in PEM (PKCS#8, `EC PRIVATE KEY`, or cosign's encrypted form).
    pub key: PathBuf,
    /// Whether the key is made when it is not there: only where none was named, so that a mistyped path does not
    /// become a new key in silence.
    pub make: bool,
    /// A file with the password of encrypted keys.
    pub password_file: Option<PathBuf>,
    /// Since when the key signs, for those who look at old signatures.
    pub from: Option<Timestamp>,
    /// How the gateway names itself, as a URI; without it, by its `external_url`, else by its key.
    pub verifier: Option<String>,
    /// Keys that signed before.
    pub previous: Vec<PreviousKey>,
}

/// `[[signing.previous]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousKey {
    /// The public key in PEM, or the private key's old file.
    pub key: PathBuf,
    /// Since when it signed.
    pub from: Option<Timestamp>,
    /// Until when it signed. After that nothing is its word.
    pub until: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigning {
    key: Option<Spanned<PathBuf>>,
    password_file: Option<Spanned<PathBuf>>,
    from: Option<Spanned<String>>,
    verifier: Option<Spanned<String>>,
    #[serde(default)]
    previous: Vec<RawPrevious>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrevious {
    key: Spanned<PathBuf>,
    from: Option<Spanned<String>>,
    until: Option<Spanned<String>>,
}

const SIGNING: &[&str] = &["key", "password_file", "from", "verifier", "previous"];
const PREVIOUS: &[&str] = &["key", "from", "until"];

/// Keys of the section that are no settings.
pub(super) fn unknown(text: &str, section: &DeTable<'_>, mistakes: &mut Vec<Mistake>) {
    unknown_in(text, section, SIGNING, mistakes);
    if let Some(DeValue::Array(previous)) = section.get("previous").map(Spanned::get_ref) {
        for key in previous.iter() {
            if let DeValue::Table(section) = key.get_ref() {
                unknown_in(text, section, PREVIOUS, mistakes);
            }
        }
    }
}

impl Reading<'_> {
    pub(super) fn signing(&mut self, raw: RawSigning, beside_state: &Path) -> SigningSettings {
        let make = raw.key.is_none();
        let key = match raw.key {
            Some(given) => self.path(Some(given), ""),
            None => beside_state.join(KEY_FILE),
        };
        let previous = raw.previous.into_iter().map(|previous| self.previous(previous)).collect();
        SigningSettings {
            key,
            make,
            password_file: raw.password_file.map(|given| self.path(Some(given), "")),
            from: self.instant(raw.from.as_ref()),
            verifier: raw.verifier.map(|given| self.verifier(&given)),
            previous,
        }
    }

    fn previous(&mut self, raw: RawPrevious) -> PreviousKey {
        let (from, until) = (self.instant(raw.from.as_ref()), self.instant(raw.until.as_ref()));
        if let (Some(begin), Some(end), Some(given)) = (from, until, &raw.until)
            && end <= begin
        {
            self.wrong(&given.span(), format!("`until` is {end}, which is not after `from`, {begin}"));
        }
        PreviousKey { key: self.path(Some(raw.key), ""), from, until }
    }

    fn verifier(&mut self, given: &Spanned<String>) -> String {
        let text = given.get_ref().trim_end_matches('/');
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let is_scheme = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme || text.len() <= scheme.len() + 1 || text.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            let message =
                format!("`{text}` is not a URI: write the gateway's address, or a name such as `urn:acme:sluice`");
            self.wrong(&given.span(), message);
        }
        text.to_owned()
    }

    fn instant(&mut self, given: Option<&Spanned<String>>) -> Option<Timestamp> {
        let given = given?;
        let text = given.get_ref();
        let instant = text.parse::<Timestamp>().or_else(|_| format!("{text}T00:00:00Z").parse());
        if instant.is_err() {
            let message = format!("`{text}` is not an instant: write `2027-01-31`, or `2027-01-31T12:00:00Z`");
            self.wrong(&given.span(), message);
        }
        instant.ok()
    }
}
