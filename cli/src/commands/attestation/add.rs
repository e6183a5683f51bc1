//! `sluice attestation add`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Digest, MaterialType, Reference,
    contract::{Contract, MaterialClause},
    crafting::{CraftedMaterial, ImageName},
    limits, materials,
};

use crate::{
    args,
    commands::variable,
    exit::Exit,
    files, image,
    report::{Report, plain},
    state::{Collected, Session, Workbench},
};

pub async fn run(bench: &Workbench, args: &args::AttestationAdd) -> anyhow::Result<Report> {
    let mut session = bench.open()?;
    if session.signed.as_ref().is_some_and(|signed| signed.received) {
        bail!("this run was pushed already, and blocked: begin another with `sluice attestation init`");
    }
    let contract = session.contract()?;
    let slot = choose(&session, &contract, args)?;
    let collected = collect(&slot, args).await?;

    let material = collected.material.clone();
    let before = session.materials.insert(material.name.clone(), collected);
    // What was signed before says something else now.
    session.signed = None;
    bench.save(&session)?;

    let text = format!("{}: {} {}", material.name, material.kind, material.digest);
    let mut report = Report::new(Exit::Yes, &material, plain(&text))?;
    if before.is_some() {
        report = report.note(plain(&format!("`{}` was there and is replaced", material.name)));
    }
    if contract.material(&material.name).is_none() {
        report = report.note(plain(&format!("the contract does not ask for `{}`", material.name)));
    }
    Ok(report)
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

/// The slot that the arguments mean.
fn choose(session: &Session, contract: &Contract, args: &args::AttestationAdd) -> anyhow::Result<Slot> {
    if let Some(name) = &args.name {
        return match contract.material(name) {
            Some(clause) if args.kind.is_none_or(|kind| kind == clause.kind) => Ok(clause.into()),
            Some(clause) => bail!("the contract asks for a `{}` as `{name}`", clause.kind),
            None => beyond(name, args),
        };
    }
    let value = &args.value;
    if Path::new(value).is_dir() && !(value.contains('/') && value.parse::<Reference>().is_ok()) {
        bail!("`{value}` is a folder: name a file");
    }
    let open = session.open_slots(contract);
    let fitting = |kinds: &[MaterialType]| -> Vec<&MaterialClause> {
        open.iter().copied().filter(|slot| kinds.contains(&slot.kind)).collect()
    };
    let candidates = match (args.kind, recognise(&args.value)?) {
        (Some(kind), _) => fitting(&[kind]),
        (None, Recognised::Certainly(kind)) => fitting(&[kind]),
        (None, Recognised::One(kinds)) => fitting(kinds),
    };
    match candidates.as_slice() {
        [only] => Ok((*only).into()),
        [] => {
            let no_file = if Path::new(&args.value).is_file() { "" } else { ", which is no file," };
            bail!("nothing that the contract still asks for fits `{}`{no_file}: {}", args.value, asked(&open))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|slot| slot.name.as_str()).collect();
            bail!("`{}` fits several materials of the contract: say --name {}", args.value, names.join(" or --name "))
        }
    }
}

/// A material that the contract does not know.
fn beyond(name: &str, args: &args::AttestationAdd) -> anyhow::Result<Slot> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = name.bytes().all(|byte| word(byte) || byte == b'-')
        && name.bytes().next().is_some_and(word)
        && name.bytes().last().is_some_and(word);
    if !well_formed {
        bail!("`{name}` is not a material's name: use lower-case letters, digits and hyphens");
    }
    let kind = match (args.kind, recognise(&args.value)?) {
        (Some(kind), _) | (None, Recognised::Certainly(kind)) => kind,
        (None, Recognised::One(_)) => {
            bail!("the contract does not know `{name}`: say with --kind what it is, or choose one of its materials")
        }
    };
    if !kind.supported() {
        bail!("materials of type `{kind}` are not evaluated by this version");
    }
    Ok(Slot { name: name.to_owned(), kind, output: false, skip_upload: false, annotations: BTreeMap::new() })
}

/// What a value can be.
enum Recognised {
    /// Its bytes say it.
    Certainly(MaterialType),
    /// One of these.
    One(&'static [MaterialType]),
}

fn recognise(value: &str) -> anyhow::Result<Recognised> {
    let path = Path::new(value);
    if path.is_file() {
        let length = path.metadata().with_context(|| format!("`{value}` cannot be read"))?.len();
        if length <= limits::MATERIAL_DOCUMENT_BYTES as u64 {
            let bytes = files::read(path, limits::MATERIAL_DOCUMENT_BYTES)?;
            if let Some(kind) = materials::recognise(&bytes, value) {
                return Ok(Recognised::Certainly(kind));
            }
        }
        return Ok(Recognised::One(&[MaterialType::Artifact, MaterialType::Evidence]));
    }
    // A name without a slash is a text before it is an image of Docker's.
    if value.contains('/') && value.parse::<Reference>().is_ok() {
        return Ok(Recognised::One(&[MaterialType::ContainerImage]));
    }
    Ok(Recognised::One(&[MaterialType::String]))
}

fn asked(open: &[&MaterialClause]) -> String {
    if open.is_empty() {
        return "it asks for nothing more; --name and --kind add something beyond it".to_owned();
    }
    let list: Vec<String> = open.iter().map(|slot| format!("`{}` ({})", slot.name, slot.kind)).collect();
    format!("it asks for {}", list.join(", "))
}

async fn collect(slot: &Slot, args: &args::AttestationAdd) -> anyhow::Result<Collected> {
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
        MaterialType::String => string(empty, &args.value)?,
        MaterialType::ContainerImage => container_image(empty, args).await?,
        _ => file(empty, Path::new(&args.value))?,
    };
    annotate(&mut collected.material.annotations, slot, &args.annotations)?;
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

async fn container_image(material: CraftedMaterial, args: &args::AttestationAdd) -> anyhow::Result<Collected> {
    let resolved = image::resolve(&args.value, &args.registry, &variable).await?;
    let image = ImageName { repository: resolved.reference.repository, tag: resolved.tag };
    Ok(Collected { material: CraftedMaterial { digest: resolved.digest, image: Some(image), ..material }, path: None })
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
        materials::validate(kind, &bytes).with_context(refused)?;
        (Digest::of(&bytes), bytes.len() as u64, materials::describe(kind, &bytes))
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
fn annotate(annotations: &mut BTreeMap<String, String>, slot: &Slot, given: &[(String, String)]) -> anyhow::Result<()> {
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
