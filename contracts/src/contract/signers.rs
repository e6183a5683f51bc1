//! The `signers` of a contract.

use std::collections::BTreeSet;

use super::{SignerClause, SignersClause};
use crate::{
    Code,
    digest::shorten,
    paths,
    yaml::{Fields, Issues, Node, Place},
};

pub(super) fn read(spec: &Fields<'_>, issues: &mut Issues) -> Option<SignersClause> {
    // Written but empty is a mistake: the organization's default would take its place in silence.
    spec.entry("signers")?;
    let node = spec.need("signers", issues)?;
    let signers = Fields::read(node, "`signers`", &["threshold", "any"], issues)?;
    let items = signers.list("any", issues);
    if items.is_empty() {
        let message = "`signers` names nobody";
        let mend = "list at least one signer under `any`, or leave `signers` out to use the organization's";
        issues.error_with(Code::SignersMissing, signers.place_of("any"), message, mend);
    }
    let mut any = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(clause) = read_signer(item, issues) else { continue };
        let distinct = match &clause {
            SignerClause::Key { path, .. } => ("key", path.clone(), String::new()),
            SignerClause::Identity { issuer, identity, .. } => ("identity", issuer.clone(), identity.clone()),
        };
        if seen.insert(distinct) {
            any.push(clause);
        } else {
            issues.error(Code::DocumentDuplicate, item.place, "this signer is named twice");
        }
    }
    let threshold = read_threshold(&signers, items.len(), issues)?;
    Some(SignersClause { threshold, any, origin: issues.at(node.place) })
}

fn read_threshold(signers: &Fields<'_>, named: usize, issues: &mut Issues) -> Option<u32> {
    if signers.entry("threshold").is_none() {
        return Some(1);
    }
    let text = signers.need_text("threshold", issues)?;
    let place = signers.place_of("threshold");
    match text.value.parse::<u32>() {
        Ok(0) => {
            let message = "a `threshold` of 0 would let everyone in";
            issues.error_with(Code::DocumentInvalidValue, place, message, "write 1 or more");
            None
        }
        Ok(threshold) if usize::try_from(threshold).is_ok_and(|t| t > named) && named > 0 => {
            let message = format!("`threshold` is {threshold}, but only {named} can sign, so nothing would ever pass");
            let mend = "lower it, or name more signers under `any`";
            issues.error_with(Code::DocumentInvalidValue, place, message, mend);
            None
        }
        Ok(threshold) => Some(threshold),
        Err(_) => {
            let message = format!("`{}` is not a number of signers: write 1 or more", shorten(text.value));
            issues.error(Code::DocumentInvalidValue, place, message);
            None
        }
    }
}

fn read_signer(node: &Node, issues: &mut Issues) -> Option<SignerClause> {
    let signer = Fields::read(node, "a signer", &["publicKey", "issuer", "identity"], issues)?;
    read_named(&signer, node, issues)
}

/// The signer that a map names, which may have other keys as well.
pub(super) fn read_named(signer: &Fields<'_>, node: &Node, issues: &mut Issues) -> Option<SignerClause> {
    let of_identity = ["issuer", "identity"].iter().find_map(|key| signer.entry(key));
    if let (Some(_), Some(entry)) = (signer.entry("publicKey"), of_identity) {
        let message = "a signer is the holder of a key or an identity, not both at once";
        issues.error_with(Code::DocumentInvalidValue, entry.place, message, "make two items of it");
        return None;
    }
    if signer.entry("publicKey").is_some() {
        return read_key(signer, node, issues);
    }
    if of_identity.is_none() {
        let message = "a signer needs `publicKey`, or `issuer` and `identity`";
        issues.error(Code::DocumentMissingKey, node.place, message);
        return None;
    }
    let issuer = read_exact(signer, "issuer", issues);
    let identity = read_exact(signer, "identity", issues);
    let issuer = issuer?;
    if !issuer.starts_with("https://") && !issuer.starts_with("http://") {
        let message = format!("`{}` is not the address of an issuer", shorten(&issuer));
        let mend = "write it in full, for example https://token.actions.githubusercontent.com";
        issues.error_with(Code::DocumentInvalidValue, signer.place_of("issuer"), message, mend);
    }
    Some(SignerClause::Identity { issuer, identity: identity?, origin: issues.at(node.place) })
}

fn read_key(signer: &Fields<'_>, node: &Node, issues: &mut Issues) -> Option<SignerClause> {
    let text = signer.need_text("publicKey", issues)?;
    let place = signer.place_of("publicKey");
    if !text.value.starts_with("file://") {
        let message = "`publicKey` is a file next to the contract";
        let mend = "put the key in PEM into a file and write `file://` and its path";
        issues.error_with(Code::DocumentUnsupported, place, message, mend);
        return None;
    }
    match paths::resolve(issues.file(), text.value) {
        Ok(path) => Some(SignerClause::Key { path, origin: issues.at(node.place) }),
        Err(error) => {
            issues.error(error.code(), place, error.to_string());
            None
        }
    }
}

/// A text that is compared letter by letter, so a wildcard in it is a misunderstanding that must not stand.
pub(super) fn read_exact(signer: &Fields<'_>, key: &str, issues: &mut Issues) -> Option<String> {
    let node = signer.need(key, issues)?;
    let place: Place = node.place;
    if node.scalar().is_some_and(|scalar| scalar.text.trim().is_empty()) {
        issues.error(Code::PatternTooWide, place, format!("`{key}` is empty, which names nobody"));
        return None;
    }
    let text = signer.need_text(key, issues)?;
    if text.value.contains(['*', '?']) {
        let message = format!("`{}` has a wildcard, but an `{key}` is compared letter by letter", shorten(text.value));
        issues.error_with(Code::PatternTooWide, place, message, "write it in full; name several signers one by one");
        return None;
    }
    if text.value.contains(['^', '$', '\\', '|', '(', ')', '[', ']', '{', '}']) {
        let message = format!(
            "`{}` looks like a regular expression, but an `{key}` is compared letter by letter",
            shorten(text.value)
        );
        issues.error_with(Code::PatternTooWide, place, message, "write it in full; name several signers one by one");
        return None;
    }
    if text.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("`{key}` has spaces or line ends in it");
        issues.error(Code::DocumentInvalidValue, place, message);
        return None;
    }
    Some(text.value.to_owned())
}
