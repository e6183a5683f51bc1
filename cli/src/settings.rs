//! From arguments to settings: flag, then environment, then configuration file, then default.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::Secret;
use reqwest::Url;
use serde::Deserialize;

use crate::{
    ambient::{Ambient, Purpose},
    args, files,
};

const DEFAULT_GATEWAY: &str = "http://127.0.0.1:8080";
const CONFIG_BYTES: usize = 64 * 1024;
const TOKEN_BYTES: usize = 16 * 1024;
const CERTIFICATE_BYTES: usize = 1024 * 1024;

/// How the gateway is reached.
#[derive(Debug)]
pub struct Connection {
    /// Its address.
    pub gateway: Url,
    /// The token, if there is one.
    pub token: Option<Secret>,
    /// Where an identity token can be had instead, when there is no token.
    pub ambient: Option<Ambient>,
    /// For whom the identity token is to be made: the gateway, unless it is told otherwise.
    pub audience: String,
    /// The organization that is meant, for gateways where several take the same identity token.
    pub organization: Option<String>,
    /// Certificates in PEM that may vouch for it, besides the machine's.
    pub ca: Option<Vec<u8>>,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    gateway: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    plain_http: Option<bool>,
    #[serde(default)]
    allow_hosts: Vec<String>,
}

/// The hosts that a contract's files may be fetched from. `variable` reads the environment.
pub fn allowed_hosts(
    connection: &args::Connection,
    fetching: &args::Fetching,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Vec<String>> {
    if !fetching.allow_hosts.is_empty() {
        return Ok(fetching.allow_hosts.clone());
    }
    Ok(config_file(connection, variable)?.0.allow_hosts)
}

impl Connection {
    /// Resolves the arguments. `variable` reads the environment.
    pub fn resolve(args: &args::Connection, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let (file, folder) = config_file(args, variable)?;
        // A path in the file counts from the file.
        let beside = |path: PathBuf| folder.join(path);

        let gateway = args.gateway.clone().or(file.gateway).unwrap_or_else(|| DEFAULT_GATEWAY.to_owned());
        let gateway = parse_gateway(&gateway)?;
        // Which of the two is meant cannot be told, and the other one may be of another person.
        let in_file = variable("SLUICE_TOKEN_FILE").filter(|text| !text.is_empty());
        let in_variable = variable("SLUICE_TOKEN").filter(|text| !text.is_empty());
        let by_variable = args.token_file.as_deref().and_then(Path::to_str) == in_file.as_deref();
        if args.token.is_none() && in_file.is_some() && in_variable.is_some() && by_variable {
            bail!(
                "SLUICE_TOKEN and SLUICE_TOKEN_FILE are both set: type `unset SLUICE_TOKEN` or `unset SLUICE_TOKEN_FILE`"
            );
        }
        let token = match &args.token {
            Some(token) => Some(token.clone()),
            None => match (&args.token_file, token_variable(variable)) {
                (Some(path), _) => Some(files::read_text(path, TOKEN_BYTES)?),
                (None, Some(token)) => Some(token),
                (None, None) => file.token_file.map(|path| files::read_text(&beside(path), TOKEN_BYTES)).transpose()?,
            },
        };
        let token = token.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::new);
        let ambient = if token.is_none() { Ambient::detect(Purpose::Gateway, variable)? } else { None };
        let ca_file = args.ca_file.clone().or_else(|| file.ca_file.map(beside));
        let ca = ca_file.map(|path| files::read(&path, CERTIFICATE_BYTES)).transpose()?;

        let plain = args.plain_http || file.plain_http.unwrap_or(false);
        let secret = token.is_some() || ambient.is_some();
        if gateway.scheme() == "http" && secret && !is_loopback(&gateway) && !plain {
            bail!(
                "`{gateway}` is another machine and speaks plain HTTP, so anyone on the way could read the token: \
                 use https, or say --plain-http if that is what you want"
            );
        }
        let set = |name: &str| variable(name).filter(|text| !text.is_empty());
        let audience = set("SLUICE_ID_TOKEN_AUDIENCE").unwrap_or_else(|| gateway.origin().ascii_serialization());
        Ok(Self { gateway, token, ambient, audience, organization: set("SLUICE_ORGANIZATION"), ca })
    }
}

fn token_variable(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    ["SLUICE_TOKEN", "CHAINLOOP_TOKEN"].into_iter().find_map(|name| variable(name).filter(|text| !text.is_empty()))
}

fn config_file(
    args: &args::Connection,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<(ConfigFile, PathBuf)> {
    let path = match &args.client_config {
        Some(path) => path.clone(),
        None => match default_config(variable) {
            Some(path) if path.is_file() => path,
            _ => return Ok((ConfigFile::default(), PathBuf::new())),
        },
    };
    let text = files::read_text(&path, CONFIG_BYTES)?;
    let file = toml::from_str(&text).with_context(|| format!("the configuration `{}` is not right", path.display()))?;
    Ok((file, files::folder_of(&path).to_owned()))
}

fn default_config(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = match variable("XDG_CONFIG_HOME").filter(|text| !text.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&variable("HOME").filter(|text| !text.is_empty())?).join(".config"),
    };
    Some(folder.join("sluice").join("config.toml"))
}

fn parse_gateway(text: &str) -> anyhow::Result<Url> {
    if !text.contains("://") {
        bail!(
            "`{text}` is not an address of a gateway: write `https://{text}`, or `http://{text}` where it speaks no TLS"
        );
    }
    let url: Url = text.parse().with_context(|| format!("`{text}` is not an address: write https://host"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!("`{text}` is not an address of a gateway: write https://host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        bail!("the gateway's address must not hold a user or password: give a token instead");
    }
    if url.query().is_some() || url.fragment().is_some() {
        bail!("the gateway's address must not hold `?` or `#`");
    }
    Ok(url)
}

/// Whether the address cannot leave this machine.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &args::Connection, environment: &[(&str, &str)]) -> anyhow::Result<Connection> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Connection::resolve(args, &move |name| environment.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn the_nearest_word_wins() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("c.toml");
        std::fs::write(&config, "gateway = 'https://file.dev'\ntoken_file = 't'\n").unwrap();
        std::fs::write(folder.path().join("t"), "from-file\n").unwrap();
        let base = args::Connection { client_config: Some(config.clone()), ..Default::default() };
        let token = |c: &Connection| c.token.as_ref().map(|t| t.reveal().to_owned());

        let from_file = resolve(&base, &[]).unwrap();
        assert_eq!(from_file.gateway.as_str(), "https://file.dev/");
        assert_eq!(token(&from_file).as_deref(), Some("from-file"));
        let environment = [("CHAINLOOP_TOKEN", "chainloop"), ("SLUICE_TOKEN", "sluice")];
        assert_eq!(token(&resolve(&base, &environment).unwrap()).as_deref(), Some("sluice"));
        assert_eq!(token(&resolve(&base, &environment[..1]).unwrap()).as_deref(), Some("chainloop"));
        let flag = args::Connection { token: Some("flag".into()), ..base };
        assert_eq!(token(&resolve(&flag, &environment).unwrap()).as_deref(), Some("flag"));
        let both = args::Connection { token_file: Some(folder.path().join("t")), ..flag };
        assert_eq!(token(&resolve(&both, &environment).unwrap()).as_deref(), Some("flag"));

        let nothing = resolve(&args::Connection::default(), &[]).unwrap();
        assert_eq!(nothing.gateway.as_str(), "http://127.0.0.1:8080/");
        std::fs::write(&config, "gatewy = 'x'").unwrap();
        let base = args::Connection { client_config: Some(config), ..Default::default() };
        assert!(resolve(&base, &[]).is_err());
    }

    #[test]
    fn two_tokens_in_the_environment_are_refused_unless_an_argument_decides() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        std::fs::write(&file, "from-file\n").unwrap();
        let both = [("SLUICE_TOKEN", "variable"), ("SLUICE_TOKEN_FILE", file.to_str().unwrap())];
        // As clap gives it: from the environment when it is not typed.
        let args = args::Connection { token_file: Some(file.clone()), ..Default::default() };
        let told = resolve(&args, &both).unwrap_err().to_string();
        assert!(told.contains("both set"), "{told}");
        assert!(resolve(&args, &both[1..]).is_ok() && resolve(&args, &both[..1]).is_ok());
        let other = folder.path().join("other");
        std::fs::write(&other, "typed\n").unwrap();
        let typed = args::Connection { token_file: Some(other), ..Default::default() };
        assert_eq!(resolve(&typed, &both).unwrap().token.unwrap().reveal(), "typed");
        let flag = args::Connection { token: Some("flag".into()), ..args };
        assert_eq!(resolve(&flag, &both).unwrap().token.unwrap().reveal(), "flag");
    }

    #[test]
    fn a_token_goes_over_plain_http_only_when_that_is_said() {
        let at = |gateway: &str, plain_http| {
            let args = args::Connection { gateway: Some(gateway.into()), plain_http, ..Default::default() };
            resolve(&args, &[("SLUICE_TOKEN", "t")]).is_ok()
        };
        for (gateway, without, with) in [
            ("http://127.0.0.1:8080", true, true),
            ("http://[::1]:8080", true, true),
            ("http://localhost", true, true),
            ("https://sluice.acme.dev", true, true),
            ("http://sluice.acme.dev", false, true),
            ("http://127.0.0.1.acme.dev", false, true),
            ("http://localhost.acme.dev", false, true),
            ("ftp://127.0.0.1", false, false),
            ("https://user:secret@sluice.acme.dev", false, false),
            ("sluice.acme.dev", false, false),
        ] {
            assert_eq!((at(gateway, false), at(gateway, true)), (without, with), "{gateway}");
        }
    }
}
