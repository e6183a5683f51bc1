//! What to do when a gateway does not answer.

use reqwest::Url;

/// What helps, by the innermost reason that was told. What is not known is taken as a gateway that does not run.
pub(super) fn of(gateway: &Url, reason: &str) -> String {
    let with = |scheme: &str| format!("{scheme}{}", gateway.as_str().trim_start_matches(gateway.scheme()));
    if reason.contains("UnknownIssuer") {
        return "name the certificates of the authority that vouches for it with `export SLUICE_CA_FILE=FILE` or --ca-file"
            .to_owned();
    }
    if reason.contains("certificate") {
        return "its certificate is not believed: name the gateway as the certificate does with `export \
                SLUICE_GATEWAY=URL`, or have another certificate made"
            .to_owned();
    }
    // What rustls and hyper say of bytes of the other protocol.
    if gateway.scheme() == "https" && reason.contains("InvalidContentType") {
        return format!("it speaks plain HTTP there: type `export SLUICE_GATEWAY={}`", with("http"));
    }
    if gateway.scheme() == "http" && reason.contains("invalid HTTP version") {
        return format!("it seems to speak TLS there: type `export SLUICE_GATEWAY={}`", with("https"));
    }
    "type `sluice serve` to start one here, or name another with `export SLUICE_GATEWAY=URL`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_is_told_by_what_happened() {
        for (gateway, reason, helps) in [
            ("https://g.dev", "invalid peer certificate: UnknownIssuer", "SLUICE_CA_FILE"),
            (
                "https://g.dev",
                "invalid peer certificate: certificate not valid for name \"g.dev\"",
                "as the certificate does",
            ),
            ("https://g.dev:8080", "received corrupt message of type InvalidContentType", "=http://g.dev:8080/`"),
            ("http://g.dev", "invalid HTTP version parsed", "=https://g.dev/`"),
            ("http://g.dev", "Connection refused (os error 111)", "sluice serve"),
        ] {
            let told = of(&gateway.parse().unwrap(), reason);
            assert!(told.contains(helps), "{reason}: {told}");
        }
    }
}
