//! Contracts held against bundles that lie in a folder, without a gateway: `sluice contract test` and
//! `sluice contract replay`.
//!
//! Signatures are verified and rules evaluated as the gateway does. What only a gateway knows is not asked: which run
//! is the newest, exemptions, the organization's own signers (they are named with `--key`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Bundle, Code, Decision, Digest, Finding, MaterialType, PinnedRef, PublicKey, TrustRoot, VerdictSubject,
    crafting::{self, DeclaredMaterial},
    limits,
};
use jiff::Timestamp;
use policies::{Attested, Evidence, MaterialEvidence, Phase, evaluate};
use serde_json::json;

use super::{Opened, open};
use crate::{
    args::{ContractReplay, ContractTest, Trusted},
    clock,
    exit::Exit,
    files,
    report::{Report, plain, table},
};

/// Files of one folder that are looked at.
const MOST: usize = 10_000;

/// The files of a folder of bundles.
struct Kept {
    folder: PathBuf,
    bundles: Vec<(String, Bundle)>,
    /// Every file by its digest: materials are found by what they are.
    by_digest: BTreeMap<Digest, PathBuf>,
}

impl Kept {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        walk(folder, 8, &mut paths)?;
        let mut kept = Self { folder: folder.to_owned(), bundles: Vec::new(), by_digest: BTreeMap::new() };
        for path in paths {
            let (digest, length) = files::digest(&path)?;
            if length <= limits::BUNDLE_BYTES as u64
                && let Ok(bundle) = Bundle::parse(&files::read(&path, limits::BUNDLE_BYTES)?)
            {
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                kept.bundles.push((name, bundle));
            }
            kept.by_digest.insert(digest, path);
        }
        if kept.bundles.is_empty() {
            bail!("there is no bundle in `{}`", folder.display());
        }
        Ok(kept)
    }

    /// A material as rules see it. What is not in the folder is absent.
    fn material(
        &self,
        opened: &Opened,
        declared: &DeclaredMaterial,
    ) -> anyhow::Result<Result<MaterialEvidence, Finding>> {
        let clauses = &opened.revision.contract().materials;
        let stays = clauses.iter().any(|clause| clause.name == declared.name && clause.skip_upload);
        if declared.kind == MaterialType::ContainerImage || stays {
            return Ok(Ok(MaterialEvidence::reference(declared)));
        }
        if let Some(bytes) = &declared.inline {
            return Ok(MaterialEvidence::from_bytes(declared, bytes));
        }
        match self.by_digest.get(&declared.digest) {
            Some(path) => {
                let bytes = files::read(path, limits::MATERIAL_DOCUMENT_BYTES)?;
                Ok(MaterialEvidence::from_bytes(declared, &bytes))
            }
            None => Ok(Ok(MaterialEvidence::absent(declared))),
        }
    }

    fn judge(&self, opened: &Opened, root: &TrustRoot, bundle: &Bundle, asked: &Asked) -> anyhow::Result<Judged> {
        let verified = match root.verify(bundle, asked.now) {
            Ok(verified) => verified,
            Err(error) => return Ok(Judged::denied(vec![Finding::error(error.code(), error.to_string())])),
        };
        let statement = &verified.get().statement;
        let attested = Attested::new(&verified, asked.now);
        let (mut findings, mut absent) = (Vec::new(), Vec::new());
        let (evidence, output) = match crafting::read(statement) {
            Ok(Some(run)) => {
                let mut materials = Vec::new();
                for declared in &run.materials {
                    match self.material(opened, declared)? {
                        Ok(material) => materials.push(material),
                        Err(finding) => findings.push(finding),
                    }
                    if !self.by_digest.contains_key(&declared.digest) {
                        absent.push(Absent::new(declared));
                    }
                }
                let image = run.materials.iter().find(|declared| declared.output && declared.image.is_some());
                let output = image.and_then(|image| {
                    Some(PinnedRef { repository: image.image.clone()?.repository, digest: image.digest })
                });
                (Evidence::of_run(attested, materials), output)
            }
            Ok(None) => (Evidence::of_foreign(vec![attested], &opened.rules), None),
            Err(error) => return Ok(Judged::denied(vec![Finding::error(error.code(), error.to_string())])),
        };
        let subject = asked.image.clone().or(output);
        if let Some(subject) = &subject
            && !statement.names_sha256(&subject.digest)
        {
            let message = format!("the attestation does not speak of {subject}");
            findings.push(Finding::error(Code::NoEvidence, message));
        }
        let evaluation = evaluate(
            &opened.rules,
            &evidence,
            subject.map(VerdictSubject::Image).as_ref(),
            Phase::Admission,
            asked.now,
        )?;
        findings.extend(evaluation.findings.into_iter().map(|finding| self.here(finding, &mut absent)));
        let denied = findings.iter().any(Finding::blocks);
        absent.retain(|material| material.asked);
        Ok(Judged { decision: if denied { Decision::Deny } else { Decision::Allow }, findings, absent })
    }

    /// A finding in the words of a folder: nothing is uploaded here.
    fn here(&self, finding: Finding, absent: &mut [Absent]) -> Finding {
        let about = finding.evidence.as_ref().and_then(|place| place.material.as_ref());
        let absent = absent.iter_mut().find(|absent| Some(&absent.name) == about);
        match absent.filter(|_| finding.code == Code::MaterialBytesAbsent) {
            Some(absent) => {
                absent.asked = true;
                let message =
                    format!("the file of the material `{}` is not in `{}`", absent.name, self.folder.display());
                Finding { message, ..finding }.mend(format!("put {} there", absent.file))
            }
            None => finding,
        }
    }
}

/// A material whose bytes are not in the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Absent {
    name: String,
    /// Which file it is, in words.
    file: String,
    /// Whether something of the contract needs it.
    asked: bool,
}

impl Absent {
    fn new(declared: &DeclaredMaterial) -> Self {
        let named = declared.filename.as_ref().map(|name| format!(" (`{name}` when it was added)")).unwrap_or_default();
        let file = format!("the file with {}{named}", declared.digest);
        Self { name: declared.name.clone(), file, asked: false }
    }
}

/// What was judged without a file that the contract needs is not told by its verdict alone: it may be denied for that.
fn missing(report: Report, folder: &Path, judged: &[Judged]) -> Report {
    let absent: BTreeSet<&Absent> = judged.iter().flat_map(|judged| &judged.absent).collect();
    let told = absent.iter().map(|absent| {
        plain(&format!(
            "the material `{}` could not be judged: put {} into `{}`, under any name",
            absent.name,
            absent.file,
            folder.display()
        ))
    });
    told.fold(report, Report::note)
}

/// What a bundle is judged about.
struct Asked {
    now: Timestamp,
    image: Option<PinnedRef>,
}

struct Judged {
    decision: Decision,
    findings: Vec<Finding>,
    /// Materials that the contract needs, and that are not there.
    absent: Vec<Absent>,
}

impl Judged {
    const fn denied(findings: Vec<Finding>) -> Self {
        Self { decision: Decision::Deny, findings, absent: Vec::new() }
    }

    fn codes(&self) -> Vec<Code> {
        self.findings.iter().filter(|finding| finding.blocks()).map(|finding| finding.code).collect()
    }

    fn why(&self) -> String {
        let blocking = self.findings.iter().filter(|finding| finding.blocks());
        blocking.map(|finding| format!("{} ({})", finding.message, finding.code)).collect::<Vec<_>>().join("\n")
    }
}

/// The keys of the contracts and those that were named.
fn trust(contracts: &[&Opened], trusted: &Trusted) -> anyhow::Result<TrustRoot> {
    let mut keys: Vec<PublicKey> = contracts.iter().flat_map(|opened| opened.revision.keys().cloned()).collect();
    for path in &trusted.keys {
        let pem = files::read_text(path, limits::KEY_BYTES)?;
        keys.push(PublicKey::from_pem(&pem).with_context(|| format!("`{}` is not a public key", path.display()))?);
    }
    let sigstore =
        trusted.trusted_root.as_ref().map(|path| files::read(path, limits::TRUSTED_ROOT_BYTES)).transpose()?;
    if keys.is_empty() && sigstore.is_none() {
        bail!("nobody is known whose signatures count: name keys with --key, or a --trusted-root");
    }
    Ok(TrustRoot::new(keys, sigstore.as_deref())?)
}

pub(super) const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}

/// Holds a contract against bundles whose verdicts are known: those in `allow/` must be allowed, those in `deny/`
/// denied, in `deny/CODE/` for this reason.
pub async fn test(args: &ContractTest, hosts: &[String]) -> anyhow::Result<Report> {
    let opened = match open(&args.file, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let root = trust(&[&opened], &args.trusted)?;
    let kept = Kept::read(&args.folder)?;
    let asked = Asked { now: args.trusted.now.unwrap_or_else(clock::now), image: None };
    let (mut rows, mut data, mut all, mut failed) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
    for (name, bundle) in &kept.bundles {
        let Some((expected, code)) = expected(name)? else { continue };
        let judged = kept.judge(&opened, &root, bundle, &asked)?;
        let right = judged.decision == expected && code.is_none_or(|code| judged.codes().contains(&code));
        failed += usize::from(!right);
        let wrong = match (right, judged.decision) {
            (true, _) => String::new(),
            (false, Decision::Allow) => "it is allowed".to_owned(),
            (false, Decision::Deny) => judged.why(),
        };
        let result = if right { "pass" } else { "FAIL" };
        rows.push([name.clone(), word(expected).to_owned(), result.to_owned(), wrong]);
        data.push(json!({
            "bundle": name, "expected": expected, "code": code, "passes": right,
            "decision": judged.decision, "findings": judged.findings,
        }));
        all.push(judged);
    }
    if rows.is_empty() {
        bail!("`{}` has no bundle in `allow/` or `deny/`, so nothing was tested", args.folder.display());
    }
    let total = rows.len();
    let table = table::table(["bundle", "expected", "", "what is wrong"], rows);
    let bundles = if total == 1 { "1 bundle".to_owned() } else { format!("{total} bundles") };
    let text = format!("{table}\n{bundles}, {failed} failed");
    let exit = if failed == 0 { Exit::Yes } else { Exit::No };
    let report = Report::new(exit, &json!({"bundles": data, "total": total, "failed": failed}), text)?;
    Ok(missing(report, &args.folder, &all))
}

/// What is expected of a bundle, by where it lies.
fn expected(name: &str) -> anyhow::Result<Option<(Decision, Option<Code>)>> {
    let mut parts = name.split(['/', '\\']);
    let decision = match parts.next() {
        Some("allow") => Decision::Allow,
        Some("deny") => Decision::Deny,
        _ => return Ok(None),
    };
    let folders: Vec<&str> = parts.collect();
    let code = match folders.as_slice() {
        [code, _, ..] if decision == Decision::Deny => {
            let known = Code::ALL.iter().find(|(_, text, _)| text == code).map(|(known, ..)| *known);
            Some(known.with_context(|| format!("`deny/{code}` is not named after the code of a finding"))?)
        }
        _ => None,
    };
    Ok(Some((decision, code)))
}

/// Judges every bundle by both contracts, and lists those whose verdict changes: exit 0 none, 1 some.
pub async fn replay(args: &ContractReplay, hosts: &[String]) -> anyhow::Result<Report> {
    let (Some(old), Some(new), Some(folder)) = (&args.old, &args.new, &args.folder) else {
        bail!("name both contracts and the folder of bundles, or the contract as it is to be with --revision");
    };
    let old = match open(old, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let new = match open(new, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let root = trust(&[&old, &new], &args.trusted)?;
    let kept = Kept::read(folder)?;
    let asked = Asked { now: args.trusted.now.unwrap_or_else(clock::now), image: None };
    let (mut rows, mut data, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bundle) in &kept.bundles {
        let before = kept.judge(&old, &root, bundle, &asked)?;
        let after = kept.judge(&new, &root, bundle, &asked)?;
        if before.decision == after.decision {
            all.extend([before, after]);
            continue;
        }
        let why = if after.decision == Decision::Deny { after.why() } else { before.why() };
        rows.push([name.clone(), word(before.decision).to_owned(), word(after.decision).to_owned(), why]);
        data.push(json!({
            "bundle": name, "before": before.decision, "after": after.decision,
            "findings_before": before.findings, "findings_after": after.findings,
        }));
        all.extend([before, after]);
    }
    let (total, flips) = (kept.bundles.len(), rows.len());
    let mut text = String::new();
    if flips > 0 {
        text.push_str(&table::table(["bundle", "before", "after", "why it is denied"], rows));
        text.push('\n');
    }
    text.push_str(&plain(&format!("{flips} of {total} verdicts change")));
    let exit = if flips == 0 { Exit::Yes } else { Exit::No };
    Ok(missing(Report::new(exit, &json!({"flips": data, "total": total}), text)?, folder, &all))
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            walk(&entry.path(), depth - 1, found)?;
        } else if kind.is_file() {
            if found.len() >= MOST {
                bail!("there are more than {MOST} files in `{}`", folder.display());
            }
            found.push(entry.path());
        }
    }
    Ok(())
}
