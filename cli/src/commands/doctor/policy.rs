//! `policy.json`: which images podman, buildah and CRI-O take at all. A registry whose name is written in another way is
//! another one there too; where everything that is not named is rejected, the other spellings are.

use serde_json::{Map, Value, json};

use super::{
    address::{Address, Gateway},
    answer::IN_THE_NETWORK,
};

/// Everybody's.
pub const SYSTEM: &str = "/etc/containers/policy.json";
/// Why it is not written without being asked for by hand.
pub const CAUTION: &str = "images of all registries that it does not name are then rejected";

/// Whether this is such a file.
pub fn is_policy(file: &str) -> bool {
    file.ends_with("/policy.json")
}

/// Whether this policy takes a registry's images under its name as it is written alone.
pub fn closes_spellings(text: Option<&str>, registry: &str) -> bool {
    let Some(policy) = text.and_then(parse) else { return false };
    let scopes = policy.get("transports").and_then(|transports| transports.get("docker"));
    let scopes = match scopes {
        None => None,
        Some(Value::Object(scopes)) => Some(scopes),
        Some(_) => return false,
    };
    policy.get("default").is_some_and(rejects)
        && scopes.into_iter().flatten().all(|(scope, requirements)| rejects(requirements) || is_one(scope, registry))
}

/// Whether all that a scope covers is this registry as it is written, or another one.
fn is_one(scope: &str, registry: &str) -> bool {
    let host = scope.split('/').next().unwrap_or_default();
    if let Some(domain) = host.strip_prefix('*') {
        return !registry.to_ascii_lowercase().ends_with(&domain.to_ascii_lowercase());
    }
    host == registry || (!host.is_empty() && Address::parse(host) != Address::parse(registry))
}

/// All requirements must be met, so one of these is enough.
fn rejects(requirements: &Value) -> bool {
    requirements.as_array().is_some_and(|list| list.iter().any(|one| one.get("type") == Some(&json!("reject"))))
}

/// What closes the other spellings.
pub fn mend(file: &str, registry: &str) -> String {
    format!("let {file} reject what it does not name, and name `{registry}`; or {IN_THE_NETWORK}")
}

/// The policy with which only registries that it names are pulled from, this one and the gateway among them; nothing when
/// it is not a policy.
pub fn correct(text: Option<&str>, registry: &str, gateway: &Gateway) -> Option<String> {
    let mut policy = match text {
        Some(text) => parse(text)?,
        None => Map::new(),
    };
    if !policy.get("default").is_some_and(rejects) {
        policy.insert("default".to_owned(), json!([{"type": "reject"}]));
    }
    let transports = policy.entry("transports").or_insert_with(|| json!({})).as_object_mut()?;
    let scopes = transports.entry("docker").or_insert_with(|| json!({})).as_object_mut()?;
    scopes.retain(|scope, requirements| rejects(requirements) || is_one(scope, registry));
    for name in [registry, &gateway.authority()] {
        scopes.entry(name).or_insert_with(|| json!([{"type": "insecureAcceptAnything"}]));
    }
    Some(format!("{:#}\n", Value::Object(policy)))
}

fn parse(text: &str) -> Option<Map<String, Value>> {
    // A key that is there twice means something else to every reader; the reader of contracts refuses it.
    contracts::yaml::parse(SYSTEM, text.as_bytes()).ok()?;
    match serde_json::from_str(text) {
        Ok(Value::Object(policy)) => Some(policy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_closes_the_other_spellings_only_where_it_rejects_them() {
        let accept = r#"[{"type": "insecureAcceptAnything"}]"#;
        let with = |scopes: &str| {
            format!(r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{{scopes}}}}}}}"#)
        };
        let closed = |text: &str| closes_spellings(Some(text), "registry.acme.dev");
        for scopes in [
            String::new(),
            format!(r#""registry.acme.dev": {accept}"#),
            format!(r#""registry.acme.dev/skynet": {accept}, "docker.io": {accept}"#),
            r#""": [{"type": "reject"}]"#.to_owned(),
        ] {
            assert!(closed(&with(&scopes)), "{scopes}");
        }
        for scopes in [
            format!(r#""": {accept}"#),
            format!(r#""Registry.acme.dev": {accept}"#),
            format!(r#""registry.acme.dev:443/skynet": {accept}"#),
            format!(r#""*.acme.dev": {accept}"#),
            format!(r#""*.ACME.dev": {accept}"#),
            format!(r#""x": {accept}, "x": {accept}"#),
        ] {
            assert!(!closed(&with(&scopes)), "{scopes}");
        }
        assert!(!closed(&format!(r#"{{"default": {accept}}}"#)) && !closed("{}") && !closed("no policy"));
        assert!(!closes_spellings(None, "registry.acme.dev"));
    }

    #[test]
    fn what_is_written_closes_them_and_keeps_what_is_stricter() {
        let gateway = Gateway::parse("sluice.acme.dev").unwrap();
        for text in [
            None,
            Some(r#"{"default": [{"type": "insecureAcceptAnything"}]}"#),
            Some(
                r#"{"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}"#,
            ),
        ] {
            let corrected = correct(text, "registry.acme.dev", &gateway).unwrap();
            assert!(closes_spellings(Some(&corrected), "registry.acme.dev"), "{corrected}");
        }
        let signed = r#"{"default": [], "transports": {"docker": {"registry.acme.dev": [{"type": "signedBy"}]}}}"#;
        assert!(correct(Some(signed), "registry.acme.dev", &gateway).unwrap().contains("signedBy"));
        assert_eq!(correct(Some("[]"), "registry.acme.dev", &gateway), None);
    }
}
