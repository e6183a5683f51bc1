//! The table of material types: for each, what it is, how its bytes are recognised, how they are read, and what policies
//! see. All that differs between types stands here; the readers themselves are in the modules beside.
//!
//! A new type needs a name in `kind.rs` and a row here: the compiler asks for it, and a test asks for the line in
//! `docs/materials.md`.

use super::{
    MaterialError, MaterialType, chainloop, coverage, csaf, cyclonedx, documents, dranzer, graphql, helm, junit,
    look::{Form, Look, Sign},
    radamsa,
    reading::{Annotations, Reading},
    sarif, scans, signed, spdx, specs, sysinternals, vex,
};
use crate::limits;

/// What there is to know about a type.
pub(super) struct Row {
    /// What it is, for people.
    pub(super) what: &'static str,
    /// By what its bytes are recognised, for people.
    pub(super) recognised: &'static str,
    /// What policies see of it, for people.
    pub(super) sees: &'static str,
    /// Whether bytes look like it.
    pub(super) sign: fn(&Look<'_>) -> Sign,
    /// Checks that bytes are it, and reads them.
    pub(super) read: Read,
    /// Bytes it may have.
    pub(super) most_bytes: usize,
    /// Whether no bytes at all say something.
    pub(super) may_be_empty: bool,
}

type Read = for<'b> fn(&'b [u8]) -> Result<Reading<'b>, MaterialError>;

/// Whether an annotation is one that readers write. What an attestation claims of those counts for
/// nothing.
#[must_use]
pub fn is_derived(annotation: &str) -> bool {
    const FAMILIES: [&str; 11] = [
        "aiagent.",
        "api.",
        "dranzer.",
        "evidence.",
        "graphql.",
        "radamsa.",
        "sbom.",
        "scan.",
        "scorecard.",
        "tool.",
        "tools",
    ];
    let name = annotation.strip_prefix("chainloop.material.");
    name.is_some_and(|name| FAMILIES.iter().any(|family| name.starts_with(family)))
}

const ITSELF: &str = "the document";
const NOTHING: &str = "nothing but its metadata";

/// A type that no bytes say they are, and that is read as any document.
const fn row(what: &'static str, recognised: &'static str, sees: &'static str, read: Read) -> Row {
    Row {
        what,
        recognised,
        sees,
        sign: |_| Sign::No,
        read,
        most_bytes: limits::MATERIAL_DOCUMENT_BYTES,
        may_be_empty: false,
    }
}

impl Row {
    const fn sign(mut self, sign: fn(&Look<'_>) -> Sign) -> Self {
        self.sign = sign;
        self
    }
}

fn unread(_: &[u8]) -> Result<Reading<'_>, MaterialError> {
    Ok(Reading::opaque(Annotations::new()))
}

/// The type's row.
pub(super) const fn of(kind: MaterialType) -> Row {
    match kind {
        MaterialType::String => Row {
            most_bytes: limits::INLINE_MATERIAL_BYTES,
            ..row("a short text", "never: say `--kind STRING`", "nothing but its metadata, with the text in base64 as `chainloop_metadata.content`", documents::string)
        },
        MaterialType::ContainerImage => Row {
            most_bytes: usize::MAX,
            may_be_empty: true,
            ..row("an image in a registry, by digest", "a reference with a registry, a tag or a digest", NOTHING, unread)
        },
        MaterialType::Artifact => Row {
            most_bytes: usize::MAX,
            ..row("any file, by digest", "never: say `--kind ARTIFACT`", NOTHING, unread)
        },
        MaterialType::Evidence => row("any other document", "never: say `--kind EVIDENCE`", "the document, when it is JSON; else nothing but its metadata", documents::evidence),

        MaterialType::SbomCyclonedxJson => row("CycloneDX 1.2 to 1.7 in JSON", "the key `bomFormat`", ITSELF, cyclonedx::read)
            .sign(|look| object(look, &["bomFormat"])),
        MaterialType::SbomSpdxJson => row("SPDX 2.2, 2.3 or 3.0 in JSON", "the key `spdxVersion`, or the `@context` of SPDX 3", ITSELF, spdx::read)
            .sign(|look| {
                let peek = look.object();
                Sign::from(peek.is_some_and(|peek| peek.has("spdxVersion") || spdx::is_context(peek.text("@context"))))
            }),
        MaterialType::Openvex => row("OpenVEX 0.0.1 or 0.2.0", "the `@context` of OpenVEX", ITSELF, vex::read).sign(|look| {
            Sign::from(look.object().is_some_and(|peek| peek.text("@context").starts_with("https://openvex.dev/ns")))
        }),
        MaterialType::CsafVex => row("CSAF 2.0 or 2.1, category `csaf_vex`", "`document.csaf_version`, and the category", ITSELF, |bytes| csaf::read(bytes, "csaf_vex"))
            .sign(|look| csaf_sign(look, "csaf_vex")),
        MaterialType::CsafInformationalAdvisory => row("CSAF 2.0 or 2.1, category `csaf_informational_advisory`", "`document.csaf_version`, and the category", ITSELF, |bytes| {
            csaf::read(bytes, "csaf_informational_advisory")
        })
        .sign(|look| csaf_sign(look, "csaf_informational_advisory")),
        MaterialType::CsafSecurityAdvisory => row("CSAF 2.0 or 2.1, category `csaf_security_advisory`", "`document.csaf_version`, and the category", ITSELF, |bytes| {
            csaf::read(bytes, "csaf_security_advisory")
        })
        .sign(|look| csaf_sign(look, "csaf_security_advisory")),
        MaterialType::CsafSecurityIncidentResponse => row("CSAF 2.0 or 2.1, category `csaf_security_incident_response`", "`document.csaf_version`, and the category", ITSELF, |bytes| {
            csaf::read(bytes, "csaf_security_incident_response")
        })
        .sign(|look| csaf_sign(look, "csaf_security_incident_response")),
        MaterialType::Sarif => row("SARIF 2.1.0", "the keys `version` and `runs`", ITSELF, sarif::read)
            .sign(|look| object(look, &["version", "runs"])),
        MaterialType::Attestation => row("another run's attestation, as a Sigstore bundle or a DSSE envelope; read, not verified", "a bundle or envelope with Chainloop's predicate", "the in-toto statement in it", signed::attestation)
            .sign(envelope),
        MaterialType::SlsaProvenance => row("SLSA provenance v1 in a Sigstore bundle; read, not verified", "a bundle with SLSA's predicate", "the bundle", signed::provenance)
            .sign(envelope),

        MaterialType::JunitXml => row("JUnit reports: one, or several in a ZIP or gzipped tar", "the root element `testsuites` or `testsuite`; `.xml` files in an archive that have it", "`elements`: the suites, `[{name, package, properties, tests: [{name, classname, duration, status, message, error, properties}], suites, totals}]`, durations in nanoseconds", |bytes| {
            Ok(Reading::json(junit::read(bytes)?, Annotations::new()))
        })
        .sign(|look| match &look.form {
            Form::Xml(root) => Sign::from(matches!(root.as_str(), "testsuites" | "testsuite")),
            Form::Archive(names) if names.iter().any(|name| name.ends_with(".xml")) => Sign::Maybe,
            _ => Sign::No,
        }),
        MaterialType::JacocoXml => row("JaCoCo's coverage report", "the root element `report`", "`{counters: [{type, missed, covered}]}` of the whole report", |bytes| {
            Ok(Reading::json(coverage::jacoco(bytes)?, Annotations::new()))
        })
        .sign(|look| root(look, "report")),
        MaterialType::CoberturaXml => row("Cobertura's coverage report", "the root element `coverage`", "`{line-rate, branch-rate, lines-covered, lines-valid, …, packages: [{name, line-rate, …, classes: [{name, filename, …, methods, lines: [{number, hits, branch}]}]}]}`; a rate of nothing is null", |bytes| {
            Ok(Reading::json(coverage::cobertura(bytes)?, Annotations::new()))
        })
        .sign(|look| root(look, "coverage")),

        MaterialType::HelmChart => row("a packed Helm chart", "a gzipped tar with `Chart.yaml` in its folder", "`{chart}`: its `Chart.yaml`", helm::chart)
            .sign(|look| match &look.form {
                Form::Archive(names) => Sign::from(names.iter().any(|name| helm::is_own(name, "Chart.yaml"))),
                _ => Sign::No,
            }),

        MaterialType::GitlabSecurityReport => row("a security report of GitLab", "the keys `scan` (with `type`) and `vulnerabilities`", ITSELF, scans::gitlab)
            .sign(|look| object_of(look, &["scan", "vulnerabilities"], "scan", "type")),
        MaterialType::ZapDastZip => row("ZAP's reports in a ZIP", "a ZIP with `report_json.json`", "that report", scans::zap)
            .sign(|look| match &look.form {
                Form::Archive(names) => {
                    Sign::from(names.iter().any(|name| name.rsplit('/').next() == Some(scans::ZAP_REPORT)))
                }
                _ => Sign::No,
            }),
        MaterialType::BlackduckScaJson => row("a scan of Black Duck's", "the keys `detailedVulnerabilities` and `detailedCodeLocations`", ITSELF, scans::blackduck)
            .sign(|look| object(look, &["detailedVulnerabilities", "detailedCodeLocations"])),
        MaterialType::TwistcliScanJson => row("a scan of Prisma Cloud's `twistcli`", "the keys `results` and `consoleURL`", ITSELF, scans::twistcli)
            .sign(|look| object(look, &["results", "consoleURL"])),
        MaterialType::GhasCodeScan => row("code scanning alerts of GitHub's API", "a list whose items have `tool` and `rule`; an empty list can be one", "`elements`: the list", scans::ghas_code)
            .sign(|look| list(look, &["tool", "rule"])),
        MaterialType::GhasSecretScan => row("secret scanning alerts of GitHub's API", "a list whose items have `secret_type`; an empty list can be one", "`elements`: the list", scans::ghas_secrets)
            .sign(|look| list(look, &["secret_type"])),
        MaterialType::GhasDependencyScan => row("Dependabot alerts of GitHub's API", "a list whose items have `dependency`; an empty list can be one", "`elements`: the list", scans::ghas_dependencies)
            .sign(|look| list(look, &["dependency"])),
        MaterialType::GitleaksJson => row("a report of Gitleaks", "a list whose items have `Fingerprint`; an empty list can be one", "`elements`: the list", scans::gitleaks)
            .sign(|look| list(look, &["Fingerprint"])),
        MaterialType::TrufflehogJson => Row {
            may_be_empty: true,
            ..row("findings of TruffleHog: JSON to a line, or a list; empty when there are none", "objects with `DetectorName`, one to a line or in a list; an empty list can be one", "`elements`: the findings, each with `SourceMetadata`, `DetectorName`, `Verified`, `Raw`, `Redacted`, …", scans::trufflehog)
        }
        .sign(|look| match &look.form {
            Form::Object(peek) | Form::Lines(peek) => Sign::from(peek.has("DetectorName")),
            _ => list(look, &["DetectorName"]),
        }),
        MaterialType::YelpDetectSecretsBaseline => row("a baseline of detect-secrets", "the keys `plugins_used` and `results`", ITSELF, scans::detect_secrets)
            .sign(|look| object(look, &["plugins_used", "results"])),
        MaterialType::OssfScorecardJson => row("a result of OpenSSF Scorecard", "the keys `scorecard` (with `version`) and `checks`", ITSELF, scans::scorecard)
            .sign(|look| object_of(look, &["scorecard", "checks"], "scorecard", "version")),
        MaterialType::CheckmarxJson => row("a report of Checkmarx One in its own JSON", "the keys `scanID` and `results`", ITSELF, scans::checkmarx)
            .sign(|look| object(look, &["scanID", "results"])),

        MaterialType::OpenapiSpec => row("OpenAPI 2.0 (Swagger) to 3.2 in JSON or YAML", "the key `openapi` or `swagger`", "the document, as JSON", specs::openapi)
            .sign(|look| specs::sign(look, &["openapi", "swagger"])),
        MaterialType::AsyncapiSpec => row("AsyncAPI 2 or 3 in JSON or YAML", "the key `asyncapi`", "the document, as JSON", specs::asyncapi)
            .sign(|look| specs::sign(look, &["asyncapi"])),
        MaterialType::GraphqlSpec => row("a GraphQL schema", "text that can be read as one", "`{types: [{name, kind, fields}], directives}`", graphql::read)
            .sign(|look| match &look.form {
                Form::Text(text) if graphql::looks_like(text) => Sign::Maybe,
                _ => Sign::No,
            }),

        MaterialType::SysinternalsSigcheck => row("Sigcheck's table (`-c`, `-ct`), in UTF-8 or UTF-16", "a header row with `Path` and `Verified`", "`elements`: the rows, by the names of the columns", sysinternals::sigcheck)
            .sign(|look| match &look.form {
                Form::Text(text) => Sign::from(sysinternals::sigcheck_header(text)),
                _ => Sign::No,
            }),
        MaterialType::SysinternalsAccesschk => row("AccessChk's text, in UTF-8 or UTF-16", "its first line, `Accesschk v…`", "`{tool, objects: [{name, access_entries, descriptor_flags, owner, dacl, sacl, raw_lines}], raw}`; `raw` and `raw_lines` up to 10 MiB", sysinternals::accesschk)
            .sign(|look| match &look.form {
                Form::Text(text) => Sign::from(text.lines().take(8).any(sysinternals::is_banner)),
                _ => Sign::No,
            }),
        MaterialType::CertccDranzer => row("a report of Dranzer, or an archive with those of one run", "its version of the test engine, or `Testing COM Object`; an archive with such files", "`{tool, objects, findings, summary, raw, reports}`", dranzer::read)
            .sign(|look| match &look.form {
                Form::Text(text) => Sign::from(dranzer::looks_like(text)),
                Form::Archive(names) if names.iter().any(|name| name.ends_with(".txt")) => Sign::Maybe,
                _ => Sign::No,
            }),
        MaterialType::RadamsaReport => row("Radamsa's log of metadata (`-M`), perhaps gzipped, or an archive of logs", "never: say `--kind RADAMSA_REPORT`", "`elements`: a record for each mutation", radamsa::report),
        MaterialType::RadamsaCrashes => row("an input that crashed a program, or an archive of them", "never: say `--kind RADAMSA_CRASHES`", "nothing but its metadata, with the number of crashes as the annotation `chainloop.material.radamsa.crashes.count`", radamsa::crashes),

        MaterialType::ChainloopRunnerContext => row("the settings of a repository, as Chainloop collects them", "`meta.id` of a runner context", ITSELF, chainloop::runner_context)
            .sign(|look| {
                let id = look.object().and_then(|peek| peek.keys.get("meta")).map(|meta| meta.text("id"));
                Sign::from(id.is_some_and(|id| id.contains("runner-context")))
            }),
        MaterialType::ChainloopPrInfo => row("a pull or merge request, as Chainloop collects it", "the evidence id `CHAINLOOP_PR_INFO`", ITSELF, chainloop::pull_request)
            .sign(|look| collected(look, "CHAINLOOP_PR_INFO")),
        MaterialType::ChainloopAiAgentConfig => row("the configuration of an AI agent, as Chainloop collects it", "the evidence id `CHAINLOOP_AI_AGENT_CONFIG`", ITSELF, chainloop::agent_config)
            .sign(|look| collected(look, "CHAINLOOP_AI_AGENT_CONFIG")),
        MaterialType::ChainloopAiCodingSession => row("the session of an AI agent, as Chainloop collects it", "the evidence id `CHAINLOOP_AI_CODING_SESSION`", ITSELF, chainloop::coding_session)
            .sign(|look| collected(look, "CHAINLOOP_AI_CODING_SESSION")),
    }
}

/// The table as Markdown, as `docs/materials.md` shows it.
#[must_use]
pub fn describe_table() -> String {
    let mut table = String::from(
        "| Type | What it is | Recognised by | What policies see as `input` |\n| --- | --- | --- | --- |\n",
    );
    for kind in MaterialType::ALL {
        let row = of(*kind);
        table += &format!("| `{kind}` | {} | {} | {} |\n", row.what, row.recognised, row.sees);
    }
    table
}

fn object(look: &Look<'_>, keys: &[&str]) -> Sign {
    Sign::from(look.object().is_some_and(|peek| peek.all(keys)))
}

/// An object with these keys, of which one is an object with another key.
fn object_of(look: &Look<'_>, keys: &[&str], outer: &str, inner: &str) -> Sign {
    let found = |peek: &super::look::Peek| peek.all(keys) && peek.keys.get(outer).is_some_and(|value| value.has(inner));
    Sign::from(look.object().is_some_and(found))
}

/// A list whose first item has these keys. One without items can be any.
fn list(look: &Look<'_>, keys: &[&str]) -> Sign {
    match &look.form {
        Form::List(first) if first.empty => Sign::Maybe,
        Form::List(first) => Sign::from(first.all(keys)),
        _ => Sign::No,
    }
}

fn root(look: &Look<'_>, name: &str) -> Sign {
    Sign::from(matches!(&look.form, Form::Xml(root) if root == name))
}

fn csaf_sign(look: &Look<'_>, category: &str) -> Sign {
    let about = look.object().and_then(|peek| peek.keys.get("document"));
    Sign::from(about.is_some_and(|about| about.has("csaf_version") && about.text("category") == category))
}

/// A signed envelope, alone or in a bundle: what is in it says which.
fn envelope(look: &Look<'_>) -> Sign {
    match look.object() {
        Some(peek) if peek.has("dsseEnvelope") || peek.all(&["payloadType", "payload"]) => Sign::Maybe,
        _ => Sign::No,
    }
}

fn collected(look: &Look<'_>, id: &str) -> Sign {
    Sign::from(look.object().is_some_and(|peek| peek.text("chainloop.material.evidence.id") == id))
}
