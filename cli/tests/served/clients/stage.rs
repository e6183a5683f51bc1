//! A registry, a gateway before it, an image that is allowed and one that is not, and what each of the two was asked.

use std::{fs, path::PathBuf};

use testdata::Image;

use super::super::real_clients::{HOST, Programs, World};
use crate::scene::{Scene, Serving, read};

pub struct Stage {
    pub world: World,
    pub scene: Scene,
    pub allowed: Content,
    pub denied: Content,
    serving: Option<Serving>,
}

/// An image, with the files in it that no other image has.
pub struct Content {
    pub image: Image,
    pub files: Vec<Vec<u8>>,
}

impl Content {
    fn new(name: &str) -> Self {
        let files: Vec<_> = ["lower", "upper"].iter().map(|layer| format!("{name}, {layer}\n").into_bytes()).collect();
        let layers: Vec<[(&str, &[u8]); 1]> = files.iter().map(|file| [("file", &file[..])]).collect();
        let layers: Vec<&[(&str, &[u8])]> = layers.iter().map(|layer| &layer[..]).collect();
        Self { image: Image::of_layers(name, "amd64", &layers), files }
    }
}

/// How much was written into both logs.
#[derive(Clone, Copy)]
pub struct Mark {
    registry: usize,
    gateway: usize,
}

/// One line of the gateway's log about a request.
#[derive(Debug)]
pub struct Answer {
    pub method: String,
    pub path: String,
    pub status: u16,
}

impl Answer {
    /// Whether no byte of content came with it: a denied `HEAD` is answered 200 with nothing in it. 404 is for what doctor asks
    /// about docker.io, which the gateway does not have.
    pub fn is_refusal(&self) -> bool {
        match self.method.as_str() {
            "HEAD" => matches!(self.status, 200 | 401 | 404) && self.path.contains("/manifests/"),
            _ => matches!(self.status, 401 | 403 | 404),
        }
    }
}

impl Stage {
    pub fn new(programs: &Programs) -> Self {
        Self::with(programs, "")
    }

    /// With more lines in the gateway's settings.
    pub fn with(_: &Programs, more: &str) -> Self {
        let world = World::new(&Programs);
        let (allowed, denied) = (Content::new("allowed"), Content::new("denied"));
        world.push_image("demo/allowed:v1", &allowed.image);
        world.push_image("demo/denied:v1", &denied.image);
        // containerd names the registry by the address that its image has; Docker does not name the one that it means.
        let upstreams = format!(
            "{}aliases = [\"localhost:{}\"]\ndefault = true\n[log]\nlevel = \"info,gateway::http::observe=debug\"\n",
            world.upstreams(),
            world.registry().port()
        );
        let scene = Scene::new(&upstreams, &testdata::contract(&format!("{HOST}/demo/**")));
        let settings = String::from_utf8(read(&scene.path("sluice.toml"))).unwrap();
        scene.write("sluice.toml", format!("external_url = \"{}\"\n{more}{settings}", scene.url()).as_bytes());
        let serving = scene.serve();
        scene.apply();
        world.attest(&scene, "demo/allowed", allowed.image.digest());
        let stage = Self { world, scene, allowed, denied, serving: Some(serving) };
        // What libraries of containers and of Docker read; both know the same form.
        let login = format!(r#"{{"auths": {{"{}": {{"auth": "{}"}}}}}}"#, stage.gateway(), stage.basic());
        stage.scene.write("login/config.json", login.as_bytes());
        stage
    }

    /// `host:port` of the gateway.
    pub fn gateway(&self) -> String {
        self.scene.address().to_string()
    }

    /// `host:port` of the registry, by a name, which can be written in capitals.
    pub fn registry(&self) -> String {
        format!("localhost:{}", self.world.registry().port())
    }

    /// The same registry, spelled otherwise.
    pub fn registry_in_capitals(&self) -> String {
        self.registry().to_ascii_uppercase()
    }

    /// What stands before the name of an image that is named directly.
    pub fn direct_prefix(&self) -> String {
        format!("{}/{HOST}", self.gateway())
    }

    /// The folder with the gateway's token for clients that read Docker's configuration.
    pub fn login(&self) -> PathBuf {
        self.scene.path("login")
    }

    fn basic(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("token:{}", self.scene.token()))
    }

    /// The contract asks for one material more than was attested.
    pub fn revoke(&self) {
        let text = String::from_utf8(read(&self.scene.path("contract.yaml"))).unwrap();
        let more = "    - name: approval\n      type: STRING\n  signers:\n";
        let text = text.replacen("  signers:\n", more, 1);
        self.scene.write("contract.yaml", text.as_bytes());
        self.scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    }

    pub fn end_gateway(&mut self) {
        drop(self.serving.take());
    }

    pub fn log(&self) -> String {
        self.scene.log()
    }

    pub fn mark(&self) -> Mark {
        Mark { registry: self.world.log().len(), gateway: self.log().len() }
    }

    /// What others than the gateway asked the registry since then.
    pub fn direct(&self, since: Mark) -> Vec<String> {
        let log = self.world.log();
        let others = |line: &&str| line.contains(" HTTP/") && !line.contains("\"sluice/");
        log[since.registry..].lines().filter(others).map(str::to_owned).collect()
    }

    /// What the gateway answered about a repository since then.
    pub fn answers(&self, since: Mark, repository: &str) -> Vec<Answer> {
        let log = self.log();
        let between = |line: &str, before: &str, after: char| -> Option<String> {
            let (_, rest) = line.split_once(before)?;
            Some(rest.split(after).next()?.to_owned())
        };
        let read = |line: &str| {
            let status = between(line, "answered status=", ' ')?.parse().ok()?;
            Some(Answer { method: between(line, "method=\"", '"')?, path: between(line, "path=", '}')?, status })
        };
        let all = log[since.gateway..].lines().filter_map(read);
        all.filter(|answer| answer.path.contains(&format!("{repository}/"))).collect()
    }

    /// A text without what changes from run to run.
    pub fn stable(&self, text: &str) -> String {
        let mut text = text.replace(&self.gateway(), "sluice.acme.dev").replace(&self.registry(), "registry.acme.dev");
        text =
            text.replace(&self.registry().replace(':', "%3A"), "registry.acme.dev").replace(HOST, "registry.acme.dev");
        let mut stable = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("sha256:") {
            stable.push_str(before);
            let length = after.chars().take_while(char::is_ascii_hexdigit).count();
            stable.push_str(if length == 64 { "sha256:…" } else { "sha256:" });
            rest = &after[if length == 64 { 64 } else { 0 }..];
        }
        stable + rest
    }

    /// A folder of its own for a client.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.scene.path("clients").join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }
}
