//! A TUF repository that hands out a trust root: its keys, and the files that its mirror shows (The Update Framework,
//! specification 1.0, with consistent snapshots).

use std::collections::BTreeMap;

use contracts::Digest;
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Map, Value, json};

/// The roles in which files are signed.
const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// A repository. Its root has to be signed by two keys, everything else by one.
pub struct TufRepository {
    /// What its mirror shows, by path. Tests put in it what they like.
    pub files: BTreeMap<String, Vec<u8>>,
    keys: BTreeMap<&'static str, Vec<KeyPair>>,
    versions: BTreeMap<&'static str, u64>,
    expires: Timestamp,
    root_expires: Timestamp,
}

impl TufRepository {
    /// A repository with its first root and this trust root as `trusted_root.json`. All but the root expires then.
    #[must_use]
    pub fn new(trusted_root: &[u8], expires: Timestamp) -> Self {
        let keys = ROLES.into_iter().map(|role| (role, fresh(role))).collect();
        let root_expires = expires + SignedDuration::from_hours(24 * 365);
        let (files, versions) = Default::default();
        let mut repository = Self { files, keys, versions, expires, root_expires };
        let first = repository.next_root();
        repository.files.insert("1.root.json".to_owned(), repository.sign("root", &first));
        repository.publish(&[("trusted_root.json", trusted_root)], expires);
        repository
    }

    /// A root, as operators have it from elsewhere.
    #[must_use]
    pub fn root(&self, version: u64) -> &[u8] {
        self.files.get(&format!("{version}.root.json")).expect("a root")
    }

    /// Publishes these targets in the place of the former ones.
    pub fn publish(&mut self, targets: &[(&str, &[u8])], expires: Timestamp) {
        self.expires = expires;
        let mut listed = Map::new();
        for (name, bytes) in targets {
            let (hash, length) = (Digest::of(bytes).hex(), bytes.len());
            listed.insert((*name).to_owned(), json!({"length": length, "hashes": {"sha256": hash}}));
            self.files.insert(format!("targets/{hash}.{name}"), bytes.to_vec());
        }
        let mut document = self.next("targets");
        set(&mut document, "targets", Value::Object(listed));
        self.put_targets(&document);
    }

    /// Publishes a document of the targets, and what follows from it.
    pub fn put_targets(&mut self, document: &Value) {
        let bytes = self.sign("targets", document);
        let version = document["version"].as_u64().expect("a version");
        let mut snapshot = self.next("snapshot");
        set(&mut snapshot, "meta", json!({"targets.json": described(&bytes, version)}));
        self.files.insert(format!("{version}.targets.json"), bytes);
        self.put_snapshot(&snapshot);
    }

    /// Publishes a document of the snapshot, and a timestamp of it.
    pub fn put_snapshot(&mut self, document: &Value) {
        let bytes = self.sign("snapshot", document);
        let version = document["version"].as_u64().expect("a version");
        let mut timestamp = self.next("timestamp");
        set(&mut timestamp, "meta", json!({"snapshot.json": described(&bytes, version)}));
        self.files.insert(format!("{version}.snapshot.json"), bytes);
        self.files.insert("timestamp.json".to_owned(), self.sign("timestamp", &timestamp));
    }

    /// Publishes the next root with new keys for these roles, signed by the keys of the former root and by its own. What
    /// such a role signed is signed again.
    pub fn rotate(&mut self, roles: &[&'static str]) {
        let mut former = Vec::new();
        for role in roles {
            let keys = self.keys.insert(role, fresh(role)).expect("a role");
            if *role == "root" {
                former = keys;
            }
        }
        let root = self.next_root();
        let mut signatures = signatures(&former, &root);
        signatures.extend(self.signatures("root", &root));
        let signed = json!({"signed": root, "signatures": signatures});
        let version = self.version("root");
        self.files.insert(format!("{version}.root.json"), signed.to_string().into_bytes());
        if roles.iter().any(|role| *role != "root") {
            let mut targets = self.signed(&format!("{}.targets.json", self.version("targets")));
            set(&mut targets, "version", json!(self.raise("targets")));
            self.put_targets(&targets);
        }
    }

    /// What is signed in a file.
    #[must_use]
    pub fn signed(&self, path: &str) -> Value {
        let file: Value = serde_json::from_slice(self.files.get(path).expect("a file")).expect("JSON");
        file.get("signed").cloned().expect("what is signed")
    }

    /// Signs a document with the keys of a role, whatever it says.
    #[must_use]
    pub fn sign(&self, role: &str, document: &Value) -> Vec<u8> {
        json!({"signed": document, "signatures": self.signatures(role, document)}).to_string().into_bytes()
    }

    fn signatures(&self, role: &str, document: &Value) -> Vec<Value> {
        signatures(self.keys.get(role).expect("a role"), document)
    }

    /// The version that a role signed last.
    #[must_use]
    pub fn version(&self, role: &str) -> u64 {
        self.versions.get(role).copied().unwrap_or_default()
    }

    /// The next document of a role, which says nothing yet.
    #[must_use]
    pub fn next(&mut self, role: &'static str) -> Value {
        let version = self.raise(role);
        json!({"_type": role, "spec_version": "1.0.31", "version": version, "expires": format!("{:.0}", self.expires)})
    }

    fn raise(&mut self, role: &'static str) -> u64 {
        let version = self.versions.entry(role).or_default();
        *version += 1;
        *version
    }

    fn next_root(&mut self) -> Value {
        let mut document = self.next("root");
        set(&mut document, "expires", json!(format!("{:.0}", self.root_expires)));
        set(&mut document, "consistent_snapshot", json!(true));
        let (mut keys, mut roles) = (Map::new(), Map::new());
        for (role, pairs) in &self.keys {
            let ids: Vec<String> = pairs.iter().map(id).collect();
            keys.extend(pairs.iter().map(|pair| (id(pair), public(pair))));
            roles.insert((*role).to_owned(), json!({"keyids": ids, "threshold": pairs.len()}));
        }
        set(&mut document, "keys", Value::Object(keys));
        set(&mut document, "roles", Value::Object(roles));
        document
    }
}

fn set(document: &mut Value, name: &str, value: Value) {
    document.as_object_mut().expect("a document").insert(name.to_owned(), value);
}

fn fresh(role: &str) -> Vec<KeyPair> {
    let count = if role == "root" { 2 } else { 1 };
    (0..count).map(|_| KeyPair::generate_for(&PKCS_ED25519).expect("a key pair")).collect()
}

fn public(key: &KeyPair) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(key.der_bytes())}})
}

fn id(key: &KeyPair) -> String {
    Digest::of(&canonical(&public(key))).hex()
}

fn signatures(keys: &[KeyPair], document: &Value) -> Vec<Value> {
    let message = canonical(document);
    let sign = |key: &KeyPair| {
        let signature = key.sign(&message).expect("a signature");
        json!({"keyid": id(key), "sig": hex::encode(signature)})
    };
    keys.iter().map(sign).collect()
}

fn described(bytes: &[u8], version: u64) -> Value {
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Digest::of(bytes).hex()}})
}

/// Canonical JSON as TUF signs it: names in order, nothing between, and of a text `"` and `\` alone escaped.
fn canonical(value: &Value) -> Vec<u8> {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let joined = |parts: Vec<Vec<u8>>| parts.join(&b","[..]);
    match value {
        Value::String(string) => text(string).into_bytes(),
        Value::Array(values) => [b"[", &*joined(values.iter().map(canonical).collect()), b"]"].concat(),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let one = |(name, value): (&String, &Value)| [text(name).as_bytes(), b":", &canonical(value)].concat();
            [b"{", &*joined(sorted.into_iter().map(one).collect()), b"}"].concat()
        }
        other => other.to_string().into_bytes(),
    }
}
