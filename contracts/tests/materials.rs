//! Every type of material, held against the files of its folder in `testdata/materials`.
#![cfg(test)]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use contracts::{
    Code, MaterialType, PinnedRef, limits,
    materials::{self, Projection},
};
use testdata::samples;

/// What is said of bytes: what policies see, and what they say of themselves; or why they are refused.
fn told(kind: MaterialType, bytes: &[u8]) -> String {
    match materials::read(kind, bytes) {
        Ok(reading) => {
            let mut text = match &reading.projection {
                Projection::Opaque => "nothing is seen of it\n".to_owned(),
                Projection::Json(json) if **json == *bytes => "is seen as it is\n".to_owned(),
                Projection::Json(json) => {
                    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
                    format!("is seen as {value}\n")
                }
            };
            for (key, value) in &reading.annotations {
                writeln!(text, "  {key} = {value}").unwrap();
            }
            text
        }
        Err(error) => {
            let mend = error.mend.map(|mend| format!("\n  mend: {mend}")).unwrap_or_default();
            format!("{}: {}{mend}\n", error.code, error.message)
        }
    }
}

/// Valid, wrong, truncated and oversized input of every type, and what is said of each.
#[test]
fn every_type_takes_its_own_and_says_why_it_refuses_the_rest() {
    for kind in MaterialType::ALL {
        let samples = samples(*kind);
        let mut all = String::new();
        for sample in &samples {
            let taken = materials::read(*kind, &sample.bytes).is_ok();
            let said = told(*kind, &sample.bytes);
            assert_eq!(taken, sample.name.starts_with("ok-"), "{kind} {}: {said}", sample.name);
            let found = materials::recognise(&sample.bytes);
            let names: Vec<&str> = found.kinds.iter().map(|kind| kind.as_str()).collect();
            writeln!(all, "{} ({}: {})\n  {said}", sample.name, found.form, names.join(", ")).unwrap();
        }
        if *kind == MaterialType::ContainerImage {
            continue;
        }
        let valid = samples.iter().find(|sample| sample.name.starts_with("ok-") && !sample.bytes.is_empty());
        let valid = &valid.unwrap_or_else(|| panic!("{kind} has no valid sample")).bytes;
        assert!(samples.iter().any(|sample| sample.name.starts_with("no-")), "{kind} has no wrong sample");
        let cut = valid.get(..valid.len() * 3 / 5).unwrap();
        writeln!(all, "truncated\n  {}", told(*kind, cut)).unwrap();
        let large = match kind {
            MaterialType::Artifact => Vec::new(),
            MaterialType::String => vec![b'a'; limits::INLINE_MATERIAL_BYTES + 1],
            _ => vec![b' '; limits::MATERIAL_DOCUMENT_BYTES + 1],
        };
        if !large.is_empty() {
            assert_eq!(
                materials::read(*kind, &large).map_err(|error| error.code),
                Err(Code::DocumentTooLarge),
                "{kind}"
            );
        }
        insta::assert_snapshot!(kind.as_str(), all);
    }
}

/// Types of which a part of a sample is one as well, so that nothing tells that it was cut off.
const WHOLE_WHEN_CUT: [MaterialType; 4] =
    [MaterialType::Artifact, MaterialType::Evidence, MaterialType::RadamsaCrashes, MaterialType::String];

/// Of each type one input that is taken, and three that are refused: a wrong one, one that was cut off, a large one.
/// What a tool makes is made by it: the README beside the samples says which.
#[test]
fn every_type_has_a_valid_a_wrong_a_truncated_and_an_oversized_input() {
    for kind in MaterialType::ALL {
        if *kind == MaterialType::ContainerImage {
            continue;
        }
        let samples = samples(*kind);
        let is_taken = |bytes: &[u8]| materials::read(*kind, bytes).is_ok();
        let (valid, wrong): (Vec<_>, Vec<_>) = samples.iter().partition(|sample| sample.is_valid());
        let valid: Vec<&[u8]> =
            valid.iter().map(|one| one.bytes.as_slice()).filter(|bytes| !bytes.is_empty()).collect();
        assert!(!valid.is_empty() && valid.iter().all(|bytes| is_taken(bytes)), "{kind}: a valid input");
        assert!(!wrong.is_empty() && !wrong.iter().any(|one| is_taken(&one.bytes)), "{kind}: a wrong input");

        let parts = valid.iter().flat_map(|bytes| (1..20).map(|n| &bytes[..bytes.len() * n / 20]));
        let mut parts = parts.filter(|part| !part.is_empty());
        match WHOLE_WHEN_CUT.contains(kind) {
            true => assert!(parts.all(is_taken), "{kind} is whole when it is cut"),
            false => assert!(parts.any(|part| !is_taken(part)), "{kind}: a truncated input"),
        }

        let most =
            if *kind == MaterialType::String { limits::INLINE_MATERIAL_BYTES } else { limits::MATERIAL_DOCUMENT_BYTES };
        let large = vec![b' '; most + 1];
        let told = materials::read(*kind, &large).map(|_| ()).map_err(|error| error.code);
        // An artifact is hashed while it streams, and never held: it may be of any size.
        let expected = if *kind == MaterialType::Artifact { Ok(()) } else { Err(Code::DocumentTooLarge) };
        assert_eq!(told, expected, "{kind}: an oversized input");
    }
}

/// A container image is a material by its reference; the bytes stay in their registry.
#[test]
fn an_image_has_a_valid_a_wrong_a_truncated_and_an_oversized_reference() {
    let valid = format!("registry.acme.dev/skynet/app@sha256:{}", "ab".repeat(32));
    assert!(valid.parse::<PinnedRef>().is_ok());
    for wrong in
        ["registry.acme.dev/skynet/app:1.2.3", "registry.acme.dev/skynet/app", "registry.acme.dev/../app@sha256:00"]
    {
        assert!(wrong.parse::<PinnedRef>().is_err(), "{wrong}");
    }
    for end in 1..valid.len() {
        assert!(valid[..end].parse::<PinnedRef>().is_err(), "{}", &valid[..end]);
    }
    let oversized = valid.replace("app@", &format!("{}@", "app/".repeat(100).trim_end_matches('/')));
    assert!(oversized.parse::<PinnedRef>().is_err());
}

/// The README says of each sample how it was made.
#[test]
fn the_readme_tells_where_every_sample_comes_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/materials");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let first = |line: &str| line.split('|').nth(1).map(|cell| cell.trim().trim_matches('`').to_owned());
    let listed: BTreeSet<String> = readme.lines().filter(|line| line.starts_with("| `")).filter_map(first).collect();
    for kind in MaterialType::ALL.iter().filter(|kind| **kind != MaterialType::ContainerImage) {
        // Either which samples a tool made, or why none did.
        let by_hand = listed.contains(kind.as_str());
        let of_tool = listed.iter().filter(|row| row.starts_with(&format!("{kind}/"))).count();
        assert_ne!(by_hand, of_tool > 0, "{kind}: say how its samples were made, or why by hand");
    }
    for row in listed.iter().filter(|row| row.contains('/')) {
        assert!(folder.join(row).exists(), "{row} is told of and not there");
    }
}

/// What a file is called settles nothing, and each valid sample is of its own type or of none.
#[test]
fn bytes_are_recognised_as_their_own_type_and_never_as_another() {
    let mut never = BTreeSet::new();
    for kind in MaterialType::ALL {
        let mut certain = 0;
        for sample in samples(*kind).iter().filter(|sample| sample.name.starts_with("ok-")) {
            let found = materials::recognise(&sample.bytes).kinds;
            match found.as_slice() {
                [] => {}
                [only] => {
                    assert_eq!(only, kind, "{}", sample.name);
                    certain += 1;
                }
                several => assert!(several.contains(kind), "{kind} {}: {several:?}", sample.name),
            }
        }
        if certain == 0 {
            never.insert(kind.as_str());
        }
    }
    let expected = ["ARTIFACT", "CONTAINER_IMAGE", "EVIDENCE", "RADAMSA_CRASHES", "RADAMSA_REPORT", "STRING"];
    assert_eq!(never, BTreeSet::from(expected));
}

/// A document of one type is told to be that when another is asked for.
#[test]
fn what_is_another_type_is_called_so() {
    let sarif = samples(MaterialType::Sarif).remove(0).bytes;
    for kind in
        [MaterialType::SbomCyclonedxJson, MaterialType::Openvex, MaterialType::JacocoXml, MaterialType::GraphqlSpec]
    {
        let error = materials::read(kind, &sarif).unwrap_err();
        assert_eq!(error.code, Code::MaterialType, "{kind}");
        assert!(error.message.contains("it is of type `SARIF`"), "{}", error.message);
    }
}

/// The page shows the table as it is.
#[test]
fn the_documentation_shows_the_table() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/materials.md")).unwrap();
    let table = materials::describe_table();
    assert!(page.contains(&table), "docs/materials.md has to contain this table:\n{table}");
    for kind in MaterialType::ALL {
        assert!(page.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

/// Archives are bounded in how many files they hold, what they unpack to, how they are nested and how they are named.
#[test]
fn hostile_archives_are_refused_or_cost_little() {
    let zip = testdata::archive::zip;
    let tgz = testdata::archive::tgz;
    let report = br#"{"@programName":"ZAP"}"#;
    let many: Vec<(String, &[u8])> =
        (0..=limits::ARCHIVE_ENTRIES).map(|n| (format!("{n}.xml"), &b"<testsuite/>"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let zeros = vec![0; limits::ARCHIVE_BYTES / 2 + 1];
    let bomb = [("report_json.json", zeros.as_slice()), ("b/report_json.json", zeros.as_slice())];
    let inner = zip(&[("report_json.json", report)]);
    let mut all = String::new();
    for (name, kind, bytes) in [
        ("too many files in a ZIP", MaterialType::JunitXml, zip(&many)),
        ("too many files in a tar", MaterialType::JunitXml, tgz(&many)),
        ("a ZIP that unpacks to too much", MaterialType::ZapDastZip, zip(&bomb)),
        ("a tar that unpacks to too much", MaterialType::RadamsaReport, tgz(&bomb)),
        ("a tar that unpacks to too much, unread", MaterialType::JunitXml, tgz(&bomb)),
        (
            "gzip that unpacks to too much",
            MaterialType::RadamsaReport,
            testdata::archive::gzip(&[zeros.as_slice(), &zeros].concat()),
        ),
        ("crashes that unpack to too much", MaterialType::RadamsaCrashes, tgz(&bomb)),
        ("a ZIP in a ZIP", MaterialType::ZapDastZip, zip(&[("scan.zip", &inner)])),
        ("a ZIP that climbs", MaterialType::ZapDastZip, zip(&[("../report_json.json", report)])),
        ("a ZIP with an absolute name", MaterialType::ZapDastZip, zip(&[("/report_json.json", report)])),
        ("a ZIP with a drive", MaterialType::ZapDastZip, zip(&[("C:\\report_json.json", report)])),
        (
            "a tar that climbs",
            MaterialType::JunitXml,
            testdata::archive::tgz_unchecked(&[("a/../../b.xml", b"<testsuite/>")]),
        ),
        (
            "a name twice in a tar",
            MaterialType::JunitXml,
            tgz(&[("a.xml", b"<testsuite/>"), ("a.xml", b"<testsuite/>")]),
        ),
        ("an empty ZIP", MaterialType::ZapDastZip, zip(&[])),
        ("a ZIP cut off", MaterialType::ZapDastZip, inner.get(..inner.len() - 8).unwrap().to_vec()),
    ] {
        let begun = std::time::Instant::now();
        writeln!(all, "{name}\n  {}", told(kind, &bytes)).unwrap();
        assert!(begun.elapsed().as_secs() < 20, "{name} took {:?}", begun.elapsed());
    }
    insta::assert_snapshot!("hostile_archives", all);
}

/// Text and tables are bounded in what they grow to, not only in their bytes.
#[test]
fn what_grows_when_it_is_read_is_bounded() {
    let columns: String = (0..200).map(|n| format!(",column-with-a-long-name-{n}")).collect();
    let wide = format!("Path,Verified{columns}\n{}", "a\n".repeat(20_000));
    let too_wide = format!("Path,Verified{}\n", (0..300).map(|n| format!(",{n}")).collect::<String>());
    let records = "a: 1, ".repeat(limits::TEXT_FIELDS + 1);
    let values = format!("[{}0]", "0,".repeat(limits::JSON_VALUES));
    let deep_type = format!("type A {{ a: {}B{} }}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_value = format!("input A {{ a: B = {}{} }}", "[".repeat(200_000), "]".repeat(200_000));
    let yaml = format!("openapi: 3.1.0\nx:\n{}", "- a\n".repeat(limits::MATERIAL_YAML_NODES));
    let lines = "x\n".repeat(limits::TEXT_FIELDS + 1);
    let cobertura = format!("<coverage line-rate='1'>{}</coverage>", "<a b='c'/>".repeat(limits::XML_NODES / 2));
    let mut all = String::new();
    for (name, kind, text) in [
        ("a wide table", MaterialType::SysinternalsSigcheck, &wide),
        ("a wider table", MaterialType::SysinternalsSigcheck, &too_wide),
        ("many fields", MaterialType::RadamsaReport, &records),
        ("many values", MaterialType::GitleaksJson, &values),
        ("a deep type", MaterialType::GraphqlSpec, &deep_type),
        ("a deep value", MaterialType::GraphqlSpec, &deep_value),
        ("long YAML", MaterialType::OpenapiSpec, &yaml),
        ("many lines", MaterialType::CertccDranzer, &lines),
        ("many lines of access", MaterialType::SysinternalsAccesschk, &lines),
        ("many elements", MaterialType::CoberturaXml, &cobertura),
    ] {
        let begun = std::time::Instant::now();
        let said: String = told(kind, text.as_bytes()).chars().take(160).collect();
        writeln!(all, "{name}\n  {said}").unwrap();
        assert!(begun.elapsed().as_secs() < 20, "{name} took {:?}", begun.elapsed());
    }
    insta::assert_snapshot!("growth", all);
}
