//! `[kubernetes]`: what a cluster's API server may ask, and how.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, de::DeTable};

use super::{
    mistakes::{Mistake, unknown_in},
    reading::Reading,
};
use crate::{
    kubernetes::Templates,
    names::{Name, NameError},
};

/// `[kubernetes]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// The organization for which API servers are answered that send no token. Most clusters' cannot.
    pub anonymous: Option<Name>,
    /// What happens to images that are named by a tag alone.
    pub digests: Digests,
    /// Where pod templates stand in kinds of other makers.
    pub templates: Templates,
}

/// What `/k8s/validate` does with an image that is named without a digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digests {
    /// It is refused: what is judged would not be what runs.
    #[default]
    Required,
    /// What the tag points at now is judged, with a warning.
    Resolved,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKubernetes {
    anonymous: Option<Spanned<String>>,
    #[serde(default)]
    digests: Digests,
    #[serde(default)]
    templates: BTreeMap<String, Spanned<Pointers>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pointers {
    One(String),
    Several(Vec<String>),
}

const KUBERNETES: &[&str] = &["anonymous", "digests", "templates"];

/// Keys of the section that are no settings.
pub(super) fn unknown(text: &str, section: &DeTable<'_>, mistakes: &mut Vec<Mistake>) {
    unknown_in(text, section, KUBERNETES, mistakes);
}

impl Reading<'_> {
    pub(super) fn kubernetes(&mut self, raw: RawKubernetes) -> KubernetesSettings {
        let anonymous = raw.anonymous.and_then(|given| {
            let name = given.get_ref().parse();
            name.map_err(|error: NameError| self.wrong(&given.span(), error.to_string())).ok()
        });
        let mut templates = Templates::new();
        for (kind, given) in raw.templates {
            let (span, pointers) = (given.span(), given.into_inner());
            let pointers = match pointers {
                Pointers::One(one) => vec![one],
                Pointers::Several(several) => several,
            };
            let (group, name) = kind.split_once('/').unwrap_or_default();
            let named =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
            if !named(group) || !group.contains('.') || !named(name) {
                let message = format!("`{kind}` is not a kind: write its group and its name, as `argoproj.io/Rollout`");
                self.wrong(&span, message);
            }
            if pointers.is_empty() {
                self.wrong(&span, format!("`{kind}` has no place: write where its pod template stands"));
            }
            for pointer in &pointers {
                if !pointer.starts_with('/') || pointer.ends_with('/') || pointer.ends_with("/spec/spec") {
                    let message = format!(
                        "`{pointer}` is not where a pod template stands: write a JSON pointer, such as `/spec/template`"
                    );
                    self.wrong(&span, message);
                }
            }
            templates.insert((group.to_owned(), name.to_owned()), pointers);
        }
        KubernetesSettings { anonymous, digests: raw.digests, templates }
    }
}
