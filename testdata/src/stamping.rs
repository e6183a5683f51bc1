//! A timestamp authority (RFC 3161) of the test's own, and tokens of it that are not what they seem.

use contracts::Digest;
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, SigningKey as _};
use x509_cert::{Certificate, der::Decode as _, der::Encode as _};

use crate::Authority;

/// The object identifiers of a token, as DER has them.
const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const TST_INFO: &[u8] = &[0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// Of what was promised: 1.2.3.4.1, which promises nothing.
const POLICY: &[u8] = &[0x06, 4, 0x2a, 3, 4, 1];

/// Who stamps: a certificate and its key.
pub struct Stamper {
    /// Its certificate, in DER.
    pub certificate_der: Vec<u8>,
    key: KeyPair,
}

/// A token before it is made. What is not changed is as an honest authority makes it, but that it carries no
/// certificates.
pub struct Stamp<'s> {
    /// Who signs.
    pub by: &'s Stamper,
    /// Whose name the token gives as that of its signer.
    pub named: &'s Stamper,
    /// What is stamped.
    pub over: Vec<u8>,
    /// The time that is told.
    pub at: Timestamp,
    /// The certificates that the token carries, in this order.
    pub certificates: Vec<&'s [u8]>,
    /// Who else is among its signers, with a signature over this time.
    pub beside: Option<(&'s Stamper, Timestamp)>,
    /// Puts another time into the token after it was signed.
    pub told: Option<Timestamp>,
}

impl Authority {
    /// One that may stamp, under this name, with a certificate that is valid for a day before and after `now`.
    #[must_use]
    pub fn stamper(&self, name: &str, now: Timestamp) -> Stamper {
        let (certificate_der, key) = self.timestamping(name, now, SignedDuration::from_hours(24));
        Stamper { certificate_der, key }
    }
}

impl Stamper {
    /// One with this certificate and its PKCS#8 key in PEM, whatever the certificate is for.
    #[must_use]
    pub fn of(certificate_der: &[u8], key_pem: &str) -> Self {
        let key = KeyPair::from_pem(key_pem).expect("a key");
        Self { certificate_der: certificate_der.to_vec(), key }
    }

    /// An honest stamp over these bytes.
    #[must_use]
    pub fn stamp(&self, over: &[u8], at: Timestamp) -> Stamp<'_> {
        Stamp { by: self, named: self, over: over.to_vec(), at, certificates: Vec::new(), beside: None, told: None }
    }

    /// The issuer and the serial number, which name a certificate.
    fn name(&self) -> Vec<u8> {
        let certificate = Certificate::from_der(&self.certificate_der).expect("a certificate");
        let issuer = certificate.tbs_certificate.issuer.to_der().expect("its issuer");
        let serial = certificate.tbs_certificate.serial_number.to_der().expect("its serial number");
        tlv(0x30, &[&issuer, &serial])
    }
}

impl Stamp<'_> {
    /// The authority's whole answer, in DER, as bundles carry it.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let signed = self.info(self.at);
        let told = self.info(self.told.unwrap_or(self.at));
        let beside = self.beside.map(|(other, at)| self.signer(&self.info(at), other, other));
        let signers = [beside.unwrap_or_default(), self.signer(&signed, self.by, self.named)].concat();
        let content = tlv(0x30, &[TST_INFO, &tlv(0xa0, &[&tlv(0x04, &[&told])])]);
        let version = tlv(0x02, &[&[3]]);
        let mut parts: Vec<Vec<u8>> = vec![version, tlv(0x31, &[&tlv(0x30, &[SHA256])]), content];
        if !self.certificates.is_empty() {
            parts.push(tlv(0xa0, &self.certificates));
        }
        parts.push(tlv(0x31, &[&signers]));
        let token = tlv(0x30, &[SIGNED_DATA, &tlv(0xa0, &[&tlv(0x30, &[&parts.concat()])])]);
        let granted = tlv(0x30, &[&tlv(0x02, &[&[0]])]);
        tlv(0x30, &[&granted, &token])
    }

    /// What is signed: the hash, and the time.
    fn info(&self, at: Timestamp) -> Vec<u8> {
        let imprint = tlv(0x30, &[&tlv(0x30, &[SHA256]), &tlv(0x04, &[Digest::of(&self.over).as_bytes()])]);
        let time = tlv(0x18, &[at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()]);
        tlv(0x30, &[&tlv(0x02, &[&[1]]), POLICY, &imprint, &tlv(0x02, &[&[7]]), &time])
    }

    fn signer(&self, info: &[u8], by: &Stamper, named: &Stamper) -> Vec<u8> {
        let kind = tlv(0x30, &[CONTENT_TYPE, &tlv(0x31, &[TST_INFO])]);
        let digest = tlv(0x30, &[MESSAGE_DIGEST, &tlv(0x31, &[&tlv(0x04, &[Digest::of(info).as_bytes()])])]);
        // Signed as a set; in the token, the same bytes stand under the tag of their place.
        let signature = by.key.sign(&tlv(0x31, &[&kind, &digest])).expect("a signature");
        let attributes = tlv(0xa0, &[&kind, &digest]);
        let (hash, algorithm) = (tlv(0x30, &[SHA256]), tlv(0x30, &[ECDSA_WITH_SHA256]));
        let signature = tlv(0x04, &[&signature]);
        tlv(0x30, &[&tlv(0x02, &[&[1]]), &named.name(), &hash, &attributes, &algorithm, &signature])
    }
}

/// A DER value: its tag, its length, and its parts one after the other.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).expect("a value under 4 GiB").to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|&byte| byte == 0).collect();
    let head = match content.len() {
        small @ 0..128 => vec![tag, u8::try_from(small).unwrap_or_default()],
        _ => [&[tag, 0x80 | u8::try_from(length.len()).unwrap_or_default()], &length[..]].concat(),
    };
    [head, content].concat()
}
