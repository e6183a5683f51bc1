//! The quickstart's working folder: contract, policy, key, images and the gateway's settings. A second run finds
//! what the first one left and keeps it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use contracts::Digest;

use super::{REPOSITORY, images};

/// Where the gateway leaves its first token, within the folder.
pub const TOKEN_FILE: &str = "admin.token";

/// How settings of the quickstart begin.
const MARK: &str = "# The gateway of the quickstart";

const SETTINGS: &str = r#"# The gateway of the quickstart: loopback, everything in this folder.
listen = "127.0.0.1:0"
state = "state/sluice.redb"
evidence = "state/evidence"
admin_token_file = "admin.token"

# The registry is a folder here; `url = "https://…"` names a real one.
[[upstreams]]
host = "registry.shop.example"
layout = "images"
"#;

const FILES: [(&str, &str); 6] = [
    ("sluice.toml", SETTINGS),
    ("contract.yaml", include_str!("files/contract.yaml")),
    ("policies/banned-licenses.yaml", policies::library::BANNED_LICENSES),
    ("sbom-v1.json", include_str!("files/sbom-v1.json")),
    ("sbom-v2.json", include_str!("files/sbom-v2.json")),
    ("tests.xml", include_str!("files/tests.xml")),
];

/// What the second release would show: all but the tests, which is one of the mistakes that are met on the way.
const MANIFEST: &str = "# What `sluice attestation add` adds.\nmaterials:\n  image: images:v2\n  sbom: sbom-v2.json\n";

/// Where the gateway of the folder listens.
#[derive(Clone, Copy)]
pub enum Listening {
    /// Wherever there is room.
    AnyPort,
    /// Where the commands look for it when they are told nothing.
    UsualPort,
}

/// The prepared folder.
pub struct Folder {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// The digests of the images, in the order of their tags.
    pub images: Vec<Digest>,
}

impl Folder {
    /// Makes what is not there yet. Files that a person may have changed since are left as they are.
    pub fn prepare(path: &Path, listening: Listening) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let settings = path.join("sluice.toml");
        let ours = fs::read_to_string(&settings).is_ok_and(|text| text.starts_with(MARK));
        if !ours && fs::read_dir(path)?.next().is_some() {
            let reason = "it holds files that are not a quickstart's: name an empty or new folder with --dir";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        // First, so that an interrupted beginning is known again.
        match listening {
            Listening::AnyPort => write_new(&settings, SETTINGS)?,
            Listening::UsualPort => write_new(&settings, &SETTINGS.replace("127.0.0.1:0", "127.0.0.1:8080"))?,
        }
        fs::create_dir_all(path.join("keys"))?;
        fs::create_dir_all(path.join("policies"))?;
        let path = path.canonicalize()?;
        for (name, text) in FILES {
            write_new(&path.join(name), text)?;
        }
        let repository = REPOSITORY.split_once('/').map_or(REPOSITORY, |(_, path)| path);
        let images = images::write_layout(&path.join("images"), repository, &["v1", "v2"])?;
        Ok(Self { path, images })
    }

    /// Writes what `sluice attestation add` reads when it is told nothing.
    pub fn write_manifest(&self) -> io::Result<()> {
        write_new(&self.path.join(".sluice.yml"), MANIFEST)
    }

    /// Whether a gateway ran here before.
    pub fn is_used(&self) -> bool {
        self.path.join(TOKEN_FILE).exists()
    }

    /// The token that the gateway wrote for its first administrator.
    pub fn admin_token(&self) -> anyhow::Result<String> {
        let file = self.path.join(TOKEN_FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Whether the build's key is still to be made.
    pub fn needs_key(&self) -> bool {
        !self.path.join("keys/build.key").exists()
    }

    /// Drops a crafting session that an earlier, interrupted quickstart left.
    pub fn forget_run(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.path.join(".sluice")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
