//! `[[clients]]`: clients that need no token, as they are told by the certificates that `[tls] client_ca` asks for.

use serde::Deserialize;
use toml::Spanned;

use super::reading::Reading;
use crate::names::{Name, NameError};

/// `[[clients]]`: whoever has a certificate with this name may pull for an organization, as with a token of role `pull`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// A DNS name or URI among the certificate's subject alternative names, exactly. DNS names in lower case.
    pub certificate: String,
    /// For which organization.
    pub organization: Name,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClient {
    certificate: Spanned<String>,
    organization: Spanned<String>,
}

pub(super) const CLIENT: &[&str] = &["certificate", "organization"];

impl ClientSettings {
    /// Whether it is a URI that the certificate has to have, and no DNS name.
    #[must_use]
    pub fn is_uri(&self) -> bool {
        self.certificate.contains(':')
    }
}

impl Reading<'_> {
    /// `asked` is whether clients are asked for certificates at all.
    pub(super) fn clients(&mut self, raw: Vec<RawClient>, asked: bool) -> Vec<ClientSettings> {
        let mut clients: Vec<ClientSettings> = Vec::with_capacity(raw.len());
        for RawClient { certificate, organization } in raw {
            let span = certificate.span();
            if !asked {
                let message =
                    "`[[clients]]` needs `client_ca` under `[tls]`: who else would vouch for the certificates";
                self.wrong(&span, message.to_owned());
            }
            let certificate = match certificate.into_inner() {
                uri if uri.contains(':') => uri,
                dns => dns.to_ascii_lowercase(),
            };
            if certificate.is_empty() || certificate.contains(['*', ' ']) {
                let message = format!(
                    "`{certificate}` is no name of a certificate: write one of its DNS names or URIs, without wildcards"
                );
                self.wrong(&span, message);
            }
            if clients.iter().any(|other| other.certificate == certificate) {
                self.wrong(&span, format!("there is `{certificate}` already"));
            }
            match organization.get_ref().parse::<Name>() {
                Ok(organization) => clients.push(ClientSettings { certificate, organization }),
                Err(error) => {
                    let error: NameError = error;
                    self.wrong(&organization.span(), error.to_string());
                }
            }
        }
        clients
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ConfigError, Settings};

    fn told(text: &str) -> String {
        match Settings::parse("sluice.toml", text, Path::new("/etc/sluice")) {
            Ok(settings) => settings.clients.iter().map(|one| one.certificate.as_str()).collect::<Vec<_>>().join("\n"),
            Err(ConfigError::Mistakes { mistakes, .. }) => {
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
            Err(other) => other.to_string(),
        }
    }

    fn client(certificate: &str) -> String {
        format!("[[clients]]\ncertificate = \"{certificate}\"\norganization = \"acme\"\n")
    }

    #[test]
    fn a_client_is_told_by_one_exact_name_that_somebody_vouches_for() {
        let tls = "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
        let asking = format!("{tls}client_ca = \"clients.pem\"\n");
        let two = [client("Node-1.acme.dev"), client("spiffe://acme.dev/Node")].concat();
        assert_eq!(told(&format!("{asking}{two}")), "node-1.acme.dev\nspiffe://acme.dev/Node");
        let wrong = [client("*.acme.dev"), client("a.dev"), client("A.dev"), client("").replace("acme", "Ac me")];
        insta::assert_snapshot!(told(&format!("{asking}{}", wrong.concat())), @r"
        line 6: `*.acme.dev` is no name of a certificate: write one of its DNS names or URIs, without wildcards
        line 12: there is `a.dev` already
        line 15: `` is no name of a certificate: write one of its DNS names or URIs, without wildcards
        line 16: `Ac me` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends
        ");
        insta::assert_snapshot!(told(&format!("{tls}{}", client("a.dev"))), @"line 5: `[[clients]]` needs `client_ca` under `[tls]`: who else would vouch for the certificates");
        let unknown = told(&client("a.dev").replace("organization", "organisation"));
        assert!(unknown.starts_with("line 3: `organisation` is not a setting"), "{unknown}");
    }
}
