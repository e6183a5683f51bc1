//! `[tuf]`: the repository that hands out the Sigstore trust root, and how long what it handed out counts.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::reading::Reading;
use crate::{documents::allowed, tuf::TufSettings};

/// What the file is called beside the state file that the repository's files are kept in.
const KEPT: &str = "tuf.json";
/// How often the repository is asked.
const REFRESH: Duration = Duration::from_secs(6 * 60 * 60);
/// How long what expired counts still.
const GRACE: Duration = Duration::from_secs(72 * 60 * 60);
/// The longest grace.
const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) const TUF: &[&str] = &["mirror", "root", "target", "refresh", "grace", "ca_file", "plain_http"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTuf {
    mirror: Spanned<String>,
    root: Spanned<PathBuf>,
    target: Option<Spanned<String>>,
    refresh: Option<Spanned<String>>,
    grace: Option<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    plain_http: bool,
}

impl Reading<'_> {
    pub(super) fn tuf(&mut self, raw: RawTuf, beside_state: &Path, other: bool) -> TufSettings {
        if other {
            let message = "`trusted_root` and `[tuf]` both say who vouches for certificates: leave one of them out";
            self.wrong(&raw.mirror.span(), message.to_owned());
        }
        let target = raw.target.map_or_else(
            || contracts::verify::tuf::TRUSTED_ROOT.to_owned(),
            |given| {
                if !contracts::verify::tuf::is_target_name(given.get_ref()) {
                    let message = format!(
                        "`{}` is no name of a target: write a path without `..`, such as `trusted_root.json`",
                        given.get_ref()
                    );
                    self.wrong(&given.span(), message);
                }
                given.into_inner()
            },
        );
        TufSettings {
            mirror: self.mirror(&raw.mirror, raw.plain_http),
            root: self.path(Some(raw.root), ""),
            target,
            refresh: self.duration(raw.refresh.as_ref(), REFRESH),
            grace: self.grace(raw.grace.as_ref()),
            ca_file: raw.ca_file.map(|given| self.path(Some(given), "")),
            kept: beside_state.join(KEPT),
        }
    }

    fn mirror(&mut self, given: &Spanned<String>, plain_http: bool) -> String {
        let text = given.get_ref().trim_end_matches('/').to_owned();
        let wrong = match Url::parse(&text) {
            Err(_) => Some("is not an address: write `https://` and the host"),
            Ok(url) if url.query().is_some() || url.fragment().is_some() => Some("must not hold `?` or `#`"),
            Ok(url) => allowed(&url, plain_http).err(),
        };
        if let Some(wrong) = wrong {
            self.wrong(&given.span(), format!("`{text}` {wrong}"));
        }
        text
    }

    fn grace(&mut self, given: Option<&Spanned<String>>) -> Duration {
        let Some(given) = given else { return GRACE };
        let text = given.get_ref();
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|grace| Duration::try_from(grace).ok());
        parsed.filter(|grace| *grace <= LONGEST_GRACE).unwrap_or_else(|| {
            let message = format!("`{text}` is not a duration from 0s to 720h: write it as `72h` or `30m`");
            self.wrong(&given.span(), message);
            GRACE
        })
    }
}
