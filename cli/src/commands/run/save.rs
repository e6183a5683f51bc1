//! `sluice run save`: what a run pushed, as files: the bundle, and the documents that rules read. `sluice contract test` and
//! `replay` judge a folder of these.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{
    Bundle, Digest, Statement,
    crafting::{self, DeclaredMaterial},
};
use serde_json::json;

use crate::{
    client::Client,
    exit::Exit,
    files::{self, Readers},
    report::{Report, plain},
};

/// Writes `ID.json` and, in a folder beside it, the run's documents.
pub async fn run(client: &Client, id: &str, to: &Path) -> anyhow::Result<Report> {
    let run = client.run(id).await?;
    let Some(attestation) = run.attestation else {
        bail!("nothing was pushed for the run `{id}` yet, so there is nothing to save");
    };
    let bytes = client.attestation(&attestation).await?;
    // The gateway knows the run by this id; a name of a file it is only when it is plain.
    let id = plain_name(&run.id);
    let (bundle, folder) = (to.join(format!("{id}.json")), to.join(&id));
    fs::create_dir_all(to).with_context(|| format!("`{}` cannot be made", to.display()))?;
    files::replace(&bundle, &bytes, Readers::Everyone)?;
    let mut saved = Vec::new();
    for declared in documents(&bytes)? {
        let bytes = client.evidence(&declared.digest).await?;
        if Digest::of(&bytes) != declared.digest {
            bail!("the gateway sent other bytes than `{}` for the material `{}`", declared.digest, declared.name);
        }
        fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        let path = folder.join(name_of(&declared));
        files::replace(&path, &bytes, Readers::Everyone)?;
        saved.push((declared.name, path));
    }
    let lines = saved.iter().map(|(name, path)| format!("{name}: {}", path.display()));
    let lines: Vec<String> = std::iter::once(format!("bundle: {}", bundle.display())).chain(lines).collect();
    let shown = |path: &PathBuf| path.display().to_string();
    let materials: Vec<_> = saved.iter().map(|(name, path)| json!({"name": name, "file": shown(path)})).collect();
    let data = json!({"bundle": shown(&bundle), "materials": materials});
    Report::new(Exit::Yes, &data, plain(&lines.join("\n")))
}

/// What rules read the bytes of, as far as these were uploaded.
fn documents(bundle: &[u8]) -> anyhow::Result<Vec<DeclaredMaterial>> {
    let bundle = Bundle::parse(bundle).context("the gateway sent no bundle")?;
    let statement = Statement::parse(&bundle.envelope().payload).context("the gateway sent no statement")?;
    let Some(run) = crafting::read(&statement)? else { return Ok(Vec::new()) };
    let kept = |declared: &DeclaredMaterial| {
        declared.kind.has_document() && declared.image.is_none() && declared.inline.is_none() && !declared.skip_upload
    };
    Ok(run.materials.into_iter().filter(kept).collect())
}

/// After the material, and the file that it was. A build chose both, so neither leads anywhere.
fn name_of(declared: &DeclaredMaterial) -> String {
    match &declared.filename {
        Some(file) => format!("{}-{}", plain_name(&declared.name), plain_name(file)),
        None => plain_name(&declared.name),
    }
}

fn plain_name(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = text.chars().take(100).map(kept).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "_".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn a_name_that_a_build_chose_leads_nowhere() {
        for (text, name) in
            [("sbom.json", "sbom.json"), ("../../etc/passwd", "_.._etc_passwd"), ("..", "_"), ("a b\\c:d", "a_b_c_d")]
        {
            assert_eq!(plain_name(text), name, "{text}");
        }
    }
}
