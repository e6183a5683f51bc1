//! Attestations as builds make them: crafted under a contract, or by other tools.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts::{
    Bundle, Digest, Statement,
    api::StartedRun,
    crafting::{Craft, CraftedMaterial, ImageName},
    dsse,
    keys::SigningKey,
    materials::MaterialType,
};
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};

/// A build that crafts and signs.
pub struct Minter {
    key: SigningKey,
}

/// A material of an attestation, with its bytes.
#[derive(Debug, Clone)]
pub struct Material {
    crafted: CraftedMaterial,
    /// What is to be uploaded; none for images and strings.
    pub bytes: Option<Vec<u8>>,
}

impl Minter {
    /// A build with this key.
    #[must_use]
    pub const fn new(key: SigningKey) -> Self {
        Self { key }
    }

    /// A build with a key of its own (P-256).
    #[must_use]
    pub fn fresh() -> Self {
        Self::new(SigningKey::generate_p256().expect("a key"))
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The public key in PEM, as contracts name it.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.key.public().to_pem()
    }

    /// Crafts and signs what `sluice attestation push` would send for this run.
    #[must_use]
    pub fn attest(&self, run: &StartedRun, materials: &[Material]) -> Bundle {
        self.sign(&statement(run, materials))
    }

    /// Signs any statement.
    #[must_use]
    pub fn sign(&self, statement: &Statement) -> Bundle {
        self.key.sign(statement).expect("a signature")
    }

    /// A bundle around any bytes, rightly signed as being of this type: what no honest tool makes.
    #[must_use]
    pub fn sign_anything(&self, payload_type: &str, payload: &[u8]) -> Value {
        let pair = KeyPair::from_pem(&self.key.to_pkcs8_pem()).expect("the key");
        let sig = pair.sign(&dsse::pae(payload_type, payload)).expect("a signature");
        json!({
            "mediaType": contracts::bundle::MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": {
                "payloadType": payload_type,
                "payload": STANDARD.encode(payload),
                "signatures": [{"sig": STANDARD.encode(sig)}],
            },
        })
    }

    /// An attestation as `cosign attest` makes it: a Statement v0.1 about one image.
    #[must_use]
    pub fn cosign(&self, repository: &str, image: Digest, predicate_type: &str, predicate: &Value) -> Bundle {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": predicate_type,
            "subject": [{"name": repository, "digest": {"sha256": image.hex()}}],
            "predicate": predicate,
        });
        self.sign(&Statement::parse(statement.to_string().as_bytes()).expect("a statement"))
    }

    /// A CycloneDX document attested as `cosign attest --type cyclonedx` does.
    #[must_use]
    pub fn cosign_cyclonedx(&self, repository: &str, image: Digest, document: &[u8]) -> Bundle {
        let predicate = serde_json::from_slice(document).expect("a document in JSON");
        self.cosign(repository, image, "https://cyclonedx.org/bom", &predicate)
    }
}

/// The statement of a crafted run.
#[must_use]
pub fn statement(run: &StartedRun, materials: &[Material]) -> Statement {
    let craft = Craft {
        organization: run.organization.clone(),
        project: run.project.clone(),
        workflow: run.workflow.clone(),
        team: run.team.clone(),
        run_id: run.id.clone(),
        contract_name: run.contract.info.name.clone(),
        contract_revision: run.contract.info.revision,
        version: None,
        runner: None,
        runner_url: None,
        started_at: crate::noon(),
        finished_at: crate::noon(),
        materials: materials.iter().map(|material| material.crafted.clone()).collect(),
        annotations: BTreeMap::new(),
        env: BTreeMap::new(),
        git_head: None,
    };
    craft.statement()
}

/// A run of the workflow `shop/release` under the contract `release`, as a gateway would begin it.
#[must_use]
pub fn run(id: &str) -> StartedRun {
    let now: Timestamp = crate::noon();
    let value = json!({
        "id": id,
        "organization": "default",
        "project": "shop",
        "workflow": "release",
        "team": "",
        "contract": {
            "info": {
                "name": "release",
                "revision": 1,
                "digest": Digest::of(b""),
                "applied_at": now,
                "repositories": [],
                "workflows": [],
            },
            "files": {"contract": "contract.yaml", "files": {}},
        },
    });
    serde_json::from_value(value).expect("a run")
}

impl Material {
    /// An image that the workflow produced: a subject of the statement.
    #[must_use]
    pub fn image(name: &str, repository: &str, digest: Digest) -> Self {
        let mut crafted = crafted(name, MaterialType::ContainerImage, digest);
        crafted.image = Some(ImageName { repository: crate::repository(repository), tag: None });
        crafted.output = true;
        Self { crafted, bytes: None }
    }

    /// A document or file.
    #[must_use]
    pub fn file(name: &str, kind: MaterialType, filename: &str, bytes: &[u8]) -> Self {
        let mut crafted = crafted(name, kind, Digest::of(bytes));
        crafted.size = Some(bytes.len() as u64);
        crafted.filename = Some(filename.to_owned());
        Self { crafted, bytes: Some(bytes.to_vec()) }
    }

    /// A CycloneDX document.
    #[must_use]
    pub fn cyclonedx(name: &str, bytes: &[u8]) -> Self {
        Self::file(name, MaterialType::SbomCyclonedxJson, "sbom.cdx.json", bytes)
    }

    /// A value that travels in the statement.
    #[must_use]
    pub fn string(name: &str, value: &str) -> Self {
        let mut crafted = crafted(name, MaterialType::String, Digest::of(value.as_bytes()));
        crafted.value = Some(value.to_owned());
        Self { crafted, bytes: None }
    }

    /// As an output of the workflow.
    #[must_use]
    pub fn output(mut self) -> Self {
        self.crafted.output = true;
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.crafted.annotations.insert(name.to_owned(), value.to_owned());
        self
    }
}

fn crafted(name: &str, kind: MaterialType, digest: Digest) -> CraftedMaterial {
    CraftedMaterial {
        name: name.to_owned(),
        kind,
        digest,
        size: None,
        filename: None,
        value: None,
        image: None,
        output: false,
        skip_upload: false,
        annotations: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use contracts::{crafting, verify::TrustRoot};

    use super::*;

    #[test]
    fn what_is_minted_verifies_and_reads_as_a_crafted_run() {
        let (minter, image) = (Minter::fresh(), Digest::of(b"image"));
        let sbom = crate::cyclonedx(2);
        let materials = [
            Material::image("image", "registry.shop.example/shop/app", image),
            Material::cyclonedx("sbom", &sbom),
            Material::string("approver", "ann"),
        ];
        let bundle = minter.attest(&run("run-1"), &materials);
        let root = TrustRoot::new(vec![minter.key().public().clone()], None).unwrap();
        let verified = root.verify(&bundle, crate::noon()).unwrap();

        assert!(verified.get().statement.names_sha256(&image));
        let crafted = crafting::read(&verified.get().statement).unwrap().unwrap();
        assert_eq!((crafted.project.as_str(), crafted.run_id.as_str()), ("shop", "run-1"));
        let read: Vec<_> = crafted.materials.iter().map(|m| (m.name.as_str(), m.digest)).collect();
        let approver = Digest::of(b"ann");
        assert_eq!(read, [("approver", approver), ("image", image), ("sbom", Digest::of(&sbom))]);
    }

    #[test]
    fn cosigns_statement_keeps_its_version() {
        let bundle = Minter::fresh().cosign_cyclonedx("host.test/app", Digest::of(b"x"), &crate::cyclonedx(1));
        let statement: Value = serde_json::from_slice(&bundle.envelope().payload).unwrap();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v0.1");
        assert_eq!(statement["predicate"]["bomFormat"], "CycloneDX");
    }
}
