//! `sluice attestation add`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Digest, Finding, MaterialType, Reference,
    contract::{Contract, MaterialClause},
    crafting::{CraftedMaterial, ImageName},
    limits, materials,
};

use super::{
    foresee, shape,
    wanted::{self, Wanted},
};
use crate::{
    args,
    commands::variable,
    desk::{Desk, Kept},
    exit::Exit,
    files, image, layout,
    report::{Report, plain},
    state::{Collected, Session},
};

/// How often adding is tried again when another job changed the attestation meanwhile.
const TRIES: u32 = 60;

pub async fn run(desk: &mut Desk, args: &args::AttestationAdd) -> anyhow::Result<Report> {
    let wanted = wanted::of(args)?;
    for round in 0..TRIES {
        let mut session = desk.open().await?;
        session.refuse_when_pushed()?;
        let contract = session.contract()?;
        let added = add_all(&mut session, &contract, &wanted, &args.registry).await?;
        let findings = foresee::of(&session, &contract, &added.names)?;
        desk.carry(&mut session, &added.names).await?;
        // What was signed before says something else now.
        session.signed = None;
        match desk.keep(&session).await? {
            Kept::Yes => return tell(&session, &contract, &added, &findings),
            Kept::Changed => desk.pause(round).await,
        }
    }
    bail!("other jobs keep changing this attestation: try again")
}

/// What one call added.
#[derive(Default)]
struct Added {
    names: Vec<String>,
    replaced: Vec<String>,
}

/// Adds everything or nothing: the session is kept by the caller, once all of it is there.
async fn add_all(
    session: &mut Session,
    contract: &Contract,
    wanted: &[Wanted],
    registry: &args::Registry,
) -> anyhow::Result<Added> {
    let mut added = Added::default();
    for one in wanted {
        let collected = take(session, contract, one, registry).await;
        let collected = match &one.written {
            Some(written) => collected.with_context(|| written.clone())?,
            None => collected?,
        };
        let name = collected.material.name.clone();
        if session.materials.insert(name.clone(), collected).is_some() {
            added.replaced.push(name.clone());
        }
        added.names.push(name);
    }
    if session.materials.len() > limits::STATEMENT_MATERIALS {
        bail!("an attestation may have {} materials", limits::STATEMENT_MATERIALS);
    }
    Ok(added)
}

/// One material, as the contract wants it.
async fn take(
    session: &Session,
    contract: &Contract,
    one: &Wanted,
    registry: &args::Registry,
) -> anyhow::Result<Collected> {
    let slot = choose(session, contract, one)?;
    let error = match collect(&slot, one, registry).await {
        Ok(collected) => return Ok(collected),
        Err(error) => error,
    };
    match where_it_fits(contract, &slot, one) {
        Some(other) => {
            bail!("{error:#}; it fits `{other}`: sluice attestation add --name {other} --value {}", one.value)
        }
        None => Err(error),
    }
}

/// The material of the contract that a file is of the type of, when it is not of the type of the slot.
fn where_it_fits<'c>(contract: &'c Contract, slot: &Slot, wanted: &Wanted) -> Option<&'c str> {
    let bytes = files::read(Path::new(&wanted.value), limits::MATERIAL_DOCUMENT_BYTES).ok()?;
    let kinds = materials::recognise(&bytes).kinds;
    let fits = |clause: &&MaterialClause| kinds.contains(&clause.kind);
    let other = contract.materials.iter().find(fits).filter(|_| !kinds.contains(&slot.kind))?;
    Some(&other.name)
}

fn tell(session: &Session, contract: &Contract, added: &Added, findings: &[Finding]) -> anyhow::Result<Report> {
    let names = &added.names;
    let listed: Vec<shape::Material> =
        shape::materials(session, contract).into_iter().filter(|listed| names.contains(&listed.name)).collect();
    let lines: Vec<String> = names
        .iter()
        .filter_map(|name| session.materials.get(name))
        .map(|added| format!("{}: {} {}", added.material.name, added.material.kind, added.material.digest))
        .collect();
    let mut report = Report::new(Exit::Yes, &listed, plain(&lines.join("\n")))?;
    for name in &added.replaced {
        report = report.note(plain(&format!("`{name}` was there and is replaced")));
    }
    let beyond: Vec<String> =
        names.iter().filter(|name| contract.material(name).is_none()).map(|name| format!("`{name}`")).collect();
    if !beyond.is_empty() {
        report = report.note(plain(&format!("the contract does not ask for {}", beyond.join(", "))));
        for meant in names.iter().filter_map(|name| meant(session, contract, name)) {
            report = report.note(plain(&meant));
        }
    }
    let told = foresee::told(findings);
    if told.is_empty() {
        return Ok(report);
    }
    report = report.note(told);
    let blocked = |name: &&String| {
        let about =
            |finding: &&Finding| finding.evidence.as_ref().is_some_and(|at| at.material.as_ref() == Some(*name));
        findings.iter().filter(|finding| finding.blocks()).any(|finding| about(&finding))
    };
    for name in names.iter().filter(blocked) {
        report = report.note(plain(&format!("once it is mended: sluice attestation add --name {name} --value FILE")));
    }
    Ok(report)
}

/// What may have been meant by a name that the contract does not have: what it asks for, has the same type, and is not
/// there yet.
fn meant(session: &Session, contract: &Contract, name: &str) -> Option<String> {
    let added = session.materials.get(name).filter(|_| contract.material(name).is_none())?;
    let open =
        |clause: &&MaterialClause| clause.kind == added.material.kind && !session.materials.contains_key(&clause.name);
    let open: Vec<String> = contract.materials.iter().filter(open).map(|clause| format!("`{}`", clause.name)).collect();
    (!open.is_empty()).then(|| {
        format!(
            "did you mean {}? It is asked for, is of this type, and is not there yet. `{name}` goes along as well, unless \
             it is taken out again: sluice attestation remove --name {name}",
            open.join(" or ")
        )
    })
}

/// Where a material goes.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    kind: MaterialType,
    output: bool,
    skip_upload: bool,
    /// Annotations that the contract gives or asks for.
    annotations: BTreeMap<String, Option<String>>,
}

impl From<&MaterialClause> for Slot {
    fn from(clause: &MaterialClause) -> Self {
        let annotations = clause.annotations.iter().map(|a| (a.name.clone(), a.value.clone()));
        Self {
            name: clause.name.clone(),
            kind: clause.kind,
            output: clause.output,
            skip_upload: clause.skip_upload,
            annotations: annotations.collect(),
        }
    }
}

impl Slot {
    /// One that the contract does not know.
    fn beyond(name: String, kind: MaterialType) -> Self {
        Self { name, kind, output: false, skip_upload: false, annotations: BTreeMap::new() }
    }
}

/// The slot that is meant: the one that is named, or the one that fits what the value is.
fn choose(session: &Session, contract: &Contract, wanted: &Wanted) -> anyhow::Result<Slot> {
    if let Some(name) = &wanted.name {
        return match contract.material(name) {
            Some(clause) if wanted.kind.is_none_or(|kind| kind == clause.kind) => Ok(clause.into()),
            Some(clause) => bail!("the contract asks for a `{}` as `{name}`", clause.kind),
            None => beyond(name, wanted),
        };
    }
    let open = session.open_slots(contract);
    let looks = match wanted.kind {
        Some(kind) => Looks::kind(kind),
        None => look_at(&wanted.value, &open)?,
    };
    let candidates: Vec<&MaterialClause> =
        open.iter().copied().filter(|slot| looks.kinds.contains(&slot.kind)).collect();
    match candidates.as_slice() {
        [only] => Ok((*only).into()),
        [] => match (looks.recognised, looks.kinds.as_slice()) {
            // What it is is clear, and the contract has no more use for it: it is recorded beside.
            (true, [kind]) => Ok(Slot::beyond(unused_name(session, contract, wanted), *kind)),
            _ => bail!("nothing that the contract still asks for fits `{}`, {looks}; {}", wanted.value, asked(&open)),
        },
        several => {
            let names: Vec<&str> = several.iter().map(|slot| slot.name.as_str()).collect();
            bail!("`{}` fits several materials of the contract: say --name {}", wanted.value, names.join(" or --name "))
        }
    }
}

/// A name after the file's, which nothing else has.
fn unused_name(session: &Session, contract: &Contract, wanted: &Wanted) -> String {
    let stem = Path::new(&wanted.value).file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let plain = wanted::slug(&stem);
    let taken = |name: &str| session.materials.contains_key(name) || contract.material(name).is_some();
    let numbered = (2..).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain)
}

/// A material that the contract does not know.
fn beyond(name: &str, wanted: &Wanted) -> anyhow::Result<Slot> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = name.bytes().all(|byte| word(byte) || byte == b'-')
        && name.bytes().next().is_some_and(word)
        && name.bytes().last().is_some_and(word);
    if !well_formed {
        bail!("`{name}` is not a material's name: use lower-case letters, digits and hyphens");
    }
    let kind = match wanted.kind {
        Some(kind) => kind,
        None => {
            let looks = look_at(&wanted.value, &[])?;
            match looks.kinds.as_slice() {
                [only] => *only,
                _ => bail!(
                    "the contract does not know `{name}`, and `{}` is {looks}: say with --kind what it is, or choose one \
                     of the contract's materials with --name",
                    wanted.value
                ),
            }
        }
    };
    Ok(Slot::beyond(name.to_owned(), kind))
}

/// What a value can be, and what it looks like.
struct Looks {
    kinds: Vec<MaterialType>,
    form: &'static str,
    /// Whether its bytes say it.
    recognised: bool,
}

impl Looks {
    fn kind(kind: MaterialType) -> Self {
        Self { kinds: vec![kind], form: "said to be", recognised: true }
    }
}

impl std::fmt::Display for Looks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(|kind| format!("`{kind}`")).collect();
        match (self.recognised, kinds.as_slice()) {
            (true, [kind]) => write!(f, "{} of type {kind}", self.form),
            (true, kinds) => write!(f, "{} that can be of type {}", self.form, kinds.join(" or ")),
            (false, kinds) => write!(
                f,
                "{} of no type that is recognised by its bytes: it can be recorded as {}",
                self.form,
                kinds.join(" or ")
            ),
        }
    }
}

/// What a file can be is told by its bytes; what is no file is never taken for one, and a name that may be a mistyped
/// path never for a text or an image.
fn look_at(value: &str, open: &[&MaterialClause]) -> anyhow::Result<Looks> {
    /// What any file may be.
    const ANY_FILE: [MaterialType; 4] =
        [MaterialType::Artifact, MaterialType::Evidence, MaterialType::RadamsaReport, MaterialType::RadamsaCrashes];
    let path = Path::new(value);
    let image = |kind, form| Looks { kinds: vec![kind], form, recognised: true };
    if path.is_file() {
        let length = path.metadata().with_context(|| format!("`{value}` cannot be read"))?.len();
        if length > limits::MATERIAL_DOCUMENT_BYTES as u64 {
            return Ok(Looks { kinds: vec![MaterialType::Artifact], form: "a large file", recognised: false });
        }
        let found = materials::recognise(&files::read(path, limits::MATERIAL_DOCUMENT_BYTES)?);
        if found.kinds.is_empty() {
            return Ok(Looks { kinds: ANY_FILE.to_vec(), form: found.form, recognised: false });
        }
        return Ok(Looks { kinds: found.kinds, form: found.form, recognised: true });
    }
    if value.starts_with(CHART_IN_REGISTRY) {
        return Ok(image(MaterialType::HelmChart, "a chart in a registry"));
    }
    if layout::is_layout(value) {
        return Ok(image(MaterialType::ContainerImage, "an image in a folder"));
    }
    if names_an_image(value) {
        return Ok(image(MaterialType::ContainerImage, "an image in a registry"));
    }
    if path.is_dir() {
        bail!("`{value}` is a folder: name a file");
    }
    let texts: Vec<String> = open
        .iter()
        .filter(|slot| slot.kind == MaterialType::String)
        .map(|slot| format!("--name {}", slot.name))
        .collect();
    let text = if texts.is_empty() { "--kind STRING".to_owned() } else { texts.join(" or ") };
    bail!(
        "there is no file `{value}`, and it is no image with a registry, a tag or a digest; if it is a text, say {text}; if \
         it is an image, say --kind CONTAINER_IMAGE"
    )
}

/// How a chart is written that is in a registry.
const CHART_IN_REGISTRY: &str = "oci://";

/// Whether what is written is an image and nothing else: it has a digest, or a path under a registry's host, or a path
/// and a tag.
fn names_an_image(value: &str) -> bool {
    let Some((host, rest)) = value.split_once('/') else { return value.contains("@sha256:") };
    let hosted = host == "localhost" || host.contains('.') && !host.starts_with('.') || host.contains(':');
    (hosted || rest.contains(':') || rest.contains("@sha256:")) && value.parse::<Reference>().is_ok()
}

fn asked(open: &[&MaterialClause]) -> String {
    if open.is_empty() {
        return "it asks for nothing more; --name and --kind add something beyond it".to_owned();
    }
    let list: Vec<String> = open.iter().map(|slot| format!("`{}` ({})", slot.name, slot.kind)).collect();
    format!("it asks for {}", list.join(", "))
}

async fn collect(slot: &Slot, wanted: &Wanted, registry: &args::Registry) -> anyhow::Result<Collected> {
    let empty = CraftedMaterial {
        name: slot.name.clone(),
        kind: slot.kind,
        digest: Digest::of(b""),
        size: None,
        filename: None,
        value: None,
        image: None,
        output: slot.output,
        skip_upload: slot.skip_upload,
        annotations: BTreeMap::new(),
    };
    let mut collected = match slot.kind {
        MaterialType::String => string(empty, &wanted.value)?,
        MaterialType::ContainerImage if layout::is_layout(&wanted.value) => in_layout(empty, &wanted.value)?,
        MaterialType::ContainerImage => in_registry(empty, &wanted.value, registry).await?,
        MaterialType::HelmChart if wanted.value.starts_with(CHART_IN_REGISTRY) => {
            let reference = wanted.value.strip_prefix(CHART_IN_REGISTRY).unwrap_or_default();
            in_registry(empty, reference, registry).await?
        }
        _ => file(empty, Path::new(&wanted.value))?,
    };
    annotate(&mut collected.material.annotations, slot, wanted.annotations.iter())?;
    Ok(collected)
}

fn string(material: CraftedMaterial, value: &str) -> anyhow::Result<Collected> {
    materials::validate(MaterialType::String, value.as_bytes()).with_context(|| format!("`{}`", material.name))?;
    let material = CraftedMaterial {
        digest: Digest::of(value.as_bytes()),
        size: Some(value.len() as u64),
        value: Some(value.to_owned()),
        ..material
    };
    Ok(Collected { material, path: None })
}

async fn in_registry(
    material: CraftedMaterial,
    reference: &str,
    registry: &args::Registry,
) -> anyhow::Result<Collected> {
    let resolved = image::resolve(reference, registry, &variable).await?;
    let image = ImageName { repository: resolved.reference.repository, tag: resolved.tag };
    Ok(Collected { material: CraftedMaterial { digest: resolved.digest, image: Some(image), ..material }, path: None })
}

/// An image in a folder of the OCI layout, which was not pushed anywhere yet.
fn in_layout(material: CraftedMaterial, value: &str) -> anyhow::Result<Collected> {
    let found = layout::find(value).with_context(|| format!("`{value}`"))?;
    let image = ImageName { repository: found.repository, tag: found.tag };
    Ok(Collected { material: CraftedMaterial { digest: found.digest, image: Some(image), ..material }, path: None })
}

fn file(material: CraftedMaterial, path: &Path) -> anyhow::Result<Collected> {
    let absolute: PathBuf = path.canonicalize().with_context(|| format!("`{}` cannot be read", path.display()))?;
    if absolute.is_dir() {
        bail!("`{}` is a folder: name a file", path.display());
    }
    let filename = path.file_name().and_then(|name| name.to_str()).context("the file's name is not text")?.to_owned();
    let kind = material.kind;
    let refused = || format!("`{}` cannot be added as `{}`", path.display(), material.name);
    let (digest, size, described) = if kind.has_document() {
        let bytes = files::read(&absolute, limits::MATERIAL_DOCUMENT_BYTES)?;
        let reading = materials::read(kind, &bytes).with_context(refused)?;
        (Digest::of(&bytes), bytes.len() as u64, reading.annotations)
    } else {
        let (digest, size) = files::digest(&absolute)?;
        if size == 0 {
            bail!("{}: it is empty", refused());
        }
        (digest, size, BTreeMap::new())
    };
    if !material.skip_upload && size > limits::EVIDENCE_BYTES {
        bail!("{}: it has {size} bytes, and {} may be uploaded", refused(), limits::EVIDENCE_BYTES);
    }
    let material =
        CraftedMaterial { digest, size: Some(size), filename: Some(filename), annotations: described, ..material };
    Ok(Collected { material, path: Some(absolute) })
}

/// The contract's annotations and the caller's. A value that the contract gives stays.
fn annotate<'a>(
    annotations: &mut BTreeMap<String, String>,
    slot: &Slot,
    given: impl Iterator<Item = &'a (String, String)>,
) -> anyhow::Result<()> {
    for (key, value) in given {
        if key.starts_with("chainloop.material.") {
            bail!("annotations that begin with `chainloop.material.` are written by the program itself");
        }
        match slot.annotations.get(key) {
            Some(Some(fixed)) if fixed != value => {
                bail!("the contract says that the annotation `{key}` of `{}` is `{fixed}`", slot.name)
            }
            _ => annotations.insert(key.clone(), value.clone()),
        };
    }
    for (key, value) in &slot.annotations {
        match value {
            Some(value) => {
                annotations.insert(key.clone(), value.clone());
            }
            None if !annotations.contains_key(key) => {
                bail!("the contract asks for the annotation `{key}` of `{}`: say --annotation {key}=…", slot.name)
            }
            None => {}
        }
    }
    Ok(())
}
