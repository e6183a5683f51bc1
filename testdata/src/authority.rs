//! A certificate authority of the test's own: server certificates for TLS, and code-signing leaves as Fulcio's.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

/// Where Fulcio's extensions are (sigstore/fulcio, docs/oid-info.md).
const FULCIO: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1];
/// The one that names the issuer of the identity, in the second, DER-encoded form.
const ISSUER_V2: u64 = 8;

/// A root that signs leaves.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key, in PEM.
#[derive(Debug, Clone)]
pub struct TlsServer {
    /// The leaf.
    pub certificate_pem: String,
    /// Its PKCS#8 key.
    pub key_pem: String,
}

/// A code-signing leaf and its key.
#[derive(Debug, Clone)]
pub struct CodeSigning {
    /// The leaf, in DER.
    pub certificate_der: Vec<u8>,
    /// The leaf, in PEM.
    pub certificate_pem: String,
    /// Its PKCS#8 key.
    pub key_pem: String,
}

impl Authority {
    /// A fresh root with this common name, valid for ten years around `now`.
    #[must_use]
    pub fn new(common_name: &str, now: Timestamp) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationName, "sluice testdata");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, now, SignedDuration::from_hours(24 * 365 * 5));
        let root = CertifiedIssuer::self_signed(params, key()).expect("a root certificate");
        Self { root }
    }

    /// The root's certificate, in PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The root's certificate, in DER.
    #[must_use]
    pub fn root_der(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    /// A certificate for a TLS server under these names or addresses.
    #[must_use]
    pub fn tls_server(&self, names: &[&str], now: Timestamp) -> TlsServer {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names for a certificate");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid(&mut params, now, SignedDuration::from_hours(24));
        let key = key();
        let leaf = params.signed_by(&key, &self.root).expect("a server certificate");
        TlsServer { certificate_pem: leaf.pem(), key_pem: key.serialize_pem() }
    }

    /// A certificate for a TLS client of this name, which is its common name and, as a DNS name or URI, its only other.
    #[must_use]
    pub fn tls_client(&self, name: &str, now: Timestamp) -> TlsServer {
        self.tls_client_of(name, &[name], now)
    }

    /// A certificate for a TLS client with this common name and these DNS names and URIs (those with a colon).
    #[must_use]
    pub fn tls_client_of(&self, common: &str, names: &[&str], now: Timestamp) -> TlsServer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        let alternative = |name: &&str| match name.contains(':') {
            true => SanType::URI((*name).try_into().expect("an ASCII URI")),
            false => SanType::DnsName((*name).try_into().expect("an ASCII name")),
        };
        params.subject_alt_names = names.iter().map(alternative).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        valid(&mut params, now, SignedDuration::from_hours(24));
        let key = key();
        let leaf = params.signed_by(&key, &self.root).expect("a client certificate");
        TlsServer { certificate_pem: leaf.pem(), key_pem: key.serialize_pem() }
    }

    /// A short-lived leaf that binds a key to a workflow's identity, as Fulcio issues them. It carries no proof of
    /// inclusion in a certificate log.
    #[must_use]
    pub fn code_signing(&self, identity: &str, issuer: &str, now: Timestamp) -> CodeSigning {
        self.code_signing_of(identity, issuer, &[], now)
    }

    /// The same for a build of which the authority was told this: what each extension says, by the last number of its
    /// object identifier.
    #[must_use]
    pub fn code_signing_of(&self, identity: &str, issuer: &str, build: &[(u64, &str)], now: Timestamp) -> CodeSigning {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity.try_into().expect("an ASCII identity"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let vouched = (ISSUER_V2, issuer);
        let told = std::iter::once(&vouched)
            .chain(build)
            .map(|(number, text)| CustomExtension::from_oid_content(&[FULCIO, &[*number]].concat(), utf8_string(text)));
        params.custom_extensions = told.collect();
        valid(&mut params, now, SignedDuration::from_mins(10));
        let key = key();
        let leaf = params.signed_by(&key, &self.root).expect("a code-signing certificate");
        CodeSigning { certificate_der: leaf.der().to_vec(), certificate_pem: leaf.pem(), key_pem: key.serialize_pem() }
    }
}

impl Authority {
    /// A leaf that may sign timestamps and nothing else, and its key.
    pub(crate) fn timestamping(&self, name: &str, now: Timestamp, half: SignedDuration) -> (Vec<u8>, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        valid(&mut params, now, half);
        let key = key();
        let leaf = params.signed_by(&key, &self.root).expect("a certificate of a timestamp authority");
        (leaf.der().to_vec(), key)
    }

    /// A leaf as a Chainloop server gives out from an authority of its own: its subject is an organization on that server,
    /// and it names neither an address nor who vouches for it.
    #[must_use]
    pub fn of_organization(&self, organization: &str, now: Timestamp) -> CodeSigning {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, SignedDuration::from_mins(5));
        let key = key();
        let leaf = params.signed_by(&key, &self.root).expect("a certificate");
        CodeSigning { certificate_der: leaf.der().to_vec(), certificate_pem: leaf.pem(), key_pem: key.serialize_pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair")
}

fn valid(params: &mut CertificateParams, now: Timestamp, half: SignedDuration) {
    let instant = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second()).expect("an instant within X.509's range")
    };
    params.not_before = instant(now - half);
    params.not_after = instant(now + half);
}

/// A DER `UTF8String` of less than 128 bytes.
fn utf8_string(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|&n| n < 128).expect("an issuer under 128 bytes");
    [&[0x0c, length], text.as_bytes()].concat()
}
