//! The published table of material types.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::shorten;

macro_rules! material_types {
    ($($name:ident = $text:literal,)+) => {
        /// What a material is. The list is Chainloop's, so that its contracts can be read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MaterialType {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl MaterialType {
            /// Every type, in the order of the published numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The published name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

material_types! {
    String = "STRING",
    ContainerImage = "CONTAINER_IMAGE",
    Artifact = "ARTIFACT",
    SbomCyclonedxJson = "SBOM_CYCLONEDX_JSON",
    SbomSpdxJson = "SBOM_SPDX_JSON",
    JunitXml = "JUNIT_XML",
    Openvex = "OPENVEX",
    CsafVex = "CSAF_VEX",
    Sarif = "SARIF",
    HelmChart = "HELM_CHART",
    Evidence = "EVIDENCE",
    Attestation = "ATTESTATION",
    CsafInformationalAdvisory = "CSAF_INFORMATIONAL_ADVISORY",
    CsafSecurityAdvisory = "CSAF_SECURITY_ADVISORY",
    CsafSecurityIncidentResponse = "CSAF_SECURITY_INCIDENT_RESPONSE",
    GitlabSecurityReport = "GITLAB_SECURITY_REPORT",
    ZapDastZip = "ZAP_DAST_ZIP",
    BlackduckScaJson = "BLACKDUCK_SCA_JSON",
    TwistcliScanJson = "TWISTCLI_SCAN_JSON",
    GhasCodeScan = "GHAS_CODE_SCAN",
    GhasSecretScan = "GHAS_SECRET_SCAN",
    GhasDependencyScan = "GHAS_DEPENDENCY_SCAN",
    JacocoXml = "JACOCO_XML",
    SlsaProvenance = "SLSA_PROVENANCE",
    ChainloopRunnerContext = "CHAINLOOP_RUNNER_CONTEXT",
    ChainloopPrInfo = "CHAINLOOP_PR_INFO",
    GitleaksJson = "GITLEAKS_JSON",
    ChainloopAiAgentConfig = "CHAINLOOP_AI_AGENT_CONFIG",
    ChainloopAiCodingSession = "CHAINLOOP_AI_CODING_SESSION",
    OpenapiSpec = "OPENAPI_SPEC",
    AsyncapiSpec = "ASYNCAPI_SPEC",
    GraphqlSpec = "GRAPHQL_SPEC",
    YelpDetectSecretsBaseline = "YELP_DETECT_SECRETS_BASELINE",
    SysinternalsSigcheck = "SYSINTERNALS_SIGCHECK",
    SysinternalsAccesschk = "SYSINTERNALS_ACCESSCHK",
    CertccDranzer = "CERTCC_DRANZER",
    OssfScorecardJson = "OSSF_SCORECARD_JSON",
    RadamsaReport = "RADAMSA_REPORT",
    RadamsaCrashes = "RADAMSA_CRASHES",
    TrufflehogJson = "TRUFFLEHOG_JSON",
    CoberturaXml = "COBERTURA_XML",
    CheckmarxJson = "CHECKMARX_JSON",
}

impl MaterialType {
    /// Whether the material's bytes are read. The others are judged by digest, name and annotations alone, and may be of
    /// any size.
    #[must_use]
    pub const fn has_document(self) -> bool {
        !matches!(self, Self::ContainerImage | Self::Artifact)
    }

    /// Whether policies of this type judge by what is in the bytes. Those of the others have the metadata alone.
    #[must_use]
    pub const fn is_judged_by_content(self) -> bool {
        self.has_document() && !matches!(self, Self::RadamsaCrashes)
    }
}

impl fmt::Display for MaterialType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MaterialType {
    type Err = UnknownMaterialType;

    fn from_str(text: &str) -> Result<Self, UnknownMaterialType> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownMaterialType {
            text: shorten(text),
            nearest: nearest(text, Self::ALL.iter().map(|kind| kind.as_str())),
        })
    }
}

impl Serialize for MaterialType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MaterialType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A name that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a material type: did you mean `{nearest}`?")]
pub struct UnknownMaterialType {
    /// What was read, shortened.
    pub text: String,
    /// The most similar name that there is.
    pub nearest: &'static str,
}

/// The name most similar to what was written, whatever its case.
pub(crate) fn nearest(text: &str, known: impl Iterator<Item = &'static str>) -> &'static str {
    let text: String = text.chars().take(64).map(|c| c.to_ascii_uppercase()).collect();
    known
        .map(|name| (strsim::jaro_winkler(&text, name), name))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or("", |(_, name)| name)
}
