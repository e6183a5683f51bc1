//! Every bound on what comes from outside, in one place. Readers take at most the bound plus one byte and
//! refuse what is longer; nothing here is a target, each is where "no" begins.

use std::time::Duration;

/// A Sigstore bundle or DSSE envelope, as bytes.
pub const BUNDLE_BYTES: usize = 4 * 1024 * 1024;
/// Signatures looked at in one envelope.
pub const ENVELOPE_SIGNATURES: usize = 16;
/// Log entries of one bundle; likewise its timestamps, and the certificates of its chain.
pub const BUNDLE_PROOFS: usize = 16;
/// A PEM file: a key, encrypted or not.
pub const KEY_BYTES: usize = 16 * 1024;
/// A Sigstore `trusted_root.json`.
pub const TRUSTED_ROOT_BYTES: usize = 1024 * 1024;
/// One root of a TUF repository.
pub const TUF_ROOT_BYTES: usize = 512 * 1024;
/// The timestamp of a TUF repository.
pub const TUF_TIMESTAMP_BYTES: usize = 16 * 1024;
/// The snapshot of a TUF repository.
pub const TUF_SNAPSHOT_BYTES: usize = 1024 * 1024;
/// The targets of a TUF repository.
pub const TUF_TARGETS_BYTES: usize = 2 * 1024 * 1024;
/// New roots of a TUF repository that are walked through at once.
pub const TUF_ROOTS: usize = 64;
/// What is kept of a TUF repository between two starts.
pub const TUF_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// What a certificate authority, log or timestamp authority answers when something is signed.
pub const SIGSTORE_ANSWER_BYTES: usize = 1024 * 1024;
/// Keys that signatures are checked against: those of an organization and of its contracts together.
pub const TRUSTED_KEYS: usize = 64;
/// An identity token (a JSON web token) in its compact form. Those of large providers take about 2 KB.
pub const IDENTITY_TOKEN_BYTES: usize = 16 * 1024;
/// Audiences of one identity token.
pub const IDENTITY_TOKEN_AUDIENCES: usize = 16;
/// How long an identity token may be valid. What lives longer is a password.
pub const IDENTITY_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The keys that an issuer of identity tokens publishes, as bytes; likewise what it says about itself.
pub const JWKS_BYTES: usize = 256 * 1024;
/// Keys that an issuer publishes at once.
pub const JWKS_KEYS: usize = 64;
/// Rules by which an organization lets identity tokens in.
pub const FEDERATION_RULES: usize = 256;
/// Claims that one of them asks for, and values of each.
pub const FEDERATION_CLAIMS: usize = 32;
/// Subjects of one statement.
pub const STATEMENT_SUBJECTS: usize = 1024;
/// Materials of one statement.
pub const STATEMENT_MATERIALS: usize = 1024;
/// Nesting of any JSON or YAML document from outside.
pub const DOCUMENT_DEPTH: usize = 100;
/// Values of one JSON document: what it takes in memory goes by them, not by its bytes.
pub const JSON_VALUES: usize = 2_000_000;
/// Values in a document that is read before anybody's signature was verified: a bundle, a statement, the body of a
/// request. The same bytes can hold far more than anyone writes, each many times as large in memory.
pub const UNVERIFIED_VALUES: usize = 250_000;
/// Scalars, keys and containers of one YAML document.
pub const YAML_NODES: usize = 100_000;
/// A material in YAML, as bytes: its reader is slower than that of JSON.
pub const MATERIAL_YAML_BYTES: usize = 8 * 1024 * 1024;
/// Scalars, keys and containers of one material in YAML.
pub const MATERIAL_YAML_NODES: usize = 500_000;
/// Elements and attributes of one XML document.
pub const XML_NODES: usize = 500_000;
/// Fields of one material that is lines of text or a table.
pub const TEXT_FIELDS: usize = 1_000_000;
/// Columns of one table.
pub const TABLE_COLUMNS: usize = 256;
/// What is in one archive, folders included. An archive inside an archive is not opened.
pub const ARCHIVE_ENTRIES: usize = 20_000;
/// What is in one archive, unpacked, together.
pub const ARCHIVE_BYTES: usize = 64 * 1024 * 1024;
/// The name of what is in an archive.
pub const ARCHIVE_NAME_BYTES: usize = 4096;
/// Tokens of one GraphQL schema.
pub const GRAPHQL_TOKENS: usize = 1_000_000;
/// The JSON that a material becomes for policies, when it is not JSON itself.
pub const PROJECTION_BYTES: usize = 64 * 1024 * 1024;
/// One annotation that is read out of a material; what is longer is cut.
pub const ANNOTATION_BYTES: usize = 4096;
/// Attributes of one XML element (each is compared with those before it).
pub const XML_ATTRIBUTES: usize = 128;
/// Items of one list in a contract or policy.
pub const DOCUMENT_LIST_ITEMS: usize = 256;
/// Mistakes shown of one document or revision; the rest are counted.
pub const DOCUMENT_FINDINGS: usize = 100;
/// Why something is exempted, in words.
pub const REASON_BYTES: usize = 2000;
/// An exemption's document.
pub const EXEMPTION_BYTES: usize = 64 * 1024;
/// An exemption with its signatures and the bundles of those who signed with a certificate.
pub const APPROVALS_BYTES: usize = 512 * 1024;
/// Approved exemptions of one organization that are in force or will be, and as many emergencies beside them: these take
/// no room of those.
pub const EXEMPTIONS: usize = 256;
/// Emergencies of one workflow that are in force.
pub const EMERGENCIES_PER_WORKFLOW: usize = 16;
/// How long an exemption is listed after it ended or was withdrawn. The audit log keeps what was applied, and a withdrawn
/// document's digest stays known.
pub const EXEMPTION_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What operators of one organization deny by digest at a time.
pub const DENIALS: usize = 1024;
/// Repositories of one such denial.
pub const DENIAL_REPOSITORIES: usize = 32;
/// Attestations of one organization that are withdrawn at a time.
pub const WITHDRAWALS: usize = 10_000;
/// Manifests of one index that are read to see whether it holds what is denied.
pub const INDEX_MANIFESTS: usize = 256;
/// Entries of the log of pulls that are kept for one organization of what clients were let pull; the oldest go first.
pub const PULLS: u64 = 100_000;
/// Beside them, of what a cluster was let start: whoever may ask for a cluster can make these up.
pub const PULLS_OF_CLUSTERS: u64 = 50_000;
/// Beside them, of what was denied, by each of the two ways: whoever may ask can be denied at will.
pub const PULLS_DENIED: u64 = 25_000;
/// Images that one request asks about.
pub const JUDGED_IMAGES: usize = 100;
/// One file of a contract revision (the contract, a policy, a Rego file, a key).
pub const REVISION_FILE_BYTES: usize = 512 * 1024;
/// All the files of one contract revision.
pub const REVISION_BYTES: usize = 4 * 1024 * 1024;
/// Files of one contract revision.
pub const REVISION_FILES: usize = 256;
/// A material that a policy reads as a document.
pub const MATERIAL_DOCUMENT_BYTES: usize = 32 * 1024 * 1024;
/// The materials of one run that policies read as documents, together.
pub const MATERIALS_BYTES: usize = 128 * 1024 * 1024;
/// A material that is only stored (an artifact). It is never held in memory.
pub const EVIDENCE_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// One piece of an upload in pieces.
pub const UPLOAD_PIECE_BYTES: u64 = 64 * 1024 * 1024;
/// Unfinished uploads of one organization.
pub const UPLOADS_OPEN: usize = 64;
/// The bytes of the unfinished uploads of one organization, together; the piece that goes beyond is the last.
pub const UPLOADS_BYTES: u64 = 256 * 1024 * 1024 * 1024;
/// How long an upload may rest before it is removed.
pub const UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long evidence has to rest, unasked for and named by nothing, before it may be swept. No session lives longer
/// without being worked on.
pub const EVIDENCE_RESTED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After how long evidence that is used counts as used again. Far less than [`EVIDENCE_RESTED`].
pub const EVIDENCE_RENEWED: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// Digests that are told of what was swept.
pub const SWEPT_TOLD: usize = 100;
/// A value given in place (a `STRING`, or small evidence inside the statement).
pub const INLINE_MATERIAL_BYTES: usize = 64 * 1024;
/// The version of a project, and other short texts that people give to a run, in characters.
pub const RUN_TEXT_CHARS: usize = 200;
/// The reason why a run ended, in characters.
pub const RUN_REASON_CHARS: usize = 1000;
/// What is kept of one run's session, for the jobs that work on it. The bundle, in Base64, can be in it.
pub const RUN_STATE_BYTES: usize = 8 * 1024 * 1024;
/// Sessions that are kept for one organization.
pub const RUN_STATES: usize = 256;
/// How long a session that nobody works on is kept.
pub const RUN_STATE_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A JSON request body of the API that is neither a bundle nor evidence.
pub const REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// What one answer with a list takes; at least one row is in it. It says where the list goes on.
pub const LISTED_BYTES: usize = 4 * 1024 * 1024;
/// The body of a request that carries no documents.
pub const SMALL_REQUEST_BYTES: usize = 256 * 1024;
/// A question of a Kubernetes API server: an object as it is and as it was, each of at most 3 MiB.
pub const REVIEW_BYTES: usize = 8 * 1024 * 1024;
/// An image manifest or index (the distribution specification asks registries to take 4 MiB).
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Attestations examined of those that a registry has beside one image.
pub const ATTESTATIONS_PER_SUBJECT: usize = 64;
/// Workflows, each under one contract, whose newest runs about one image are examined.
pub const WORKFLOWS_PER_SUBJECT: usize = 256;
/// Other verifiers that a contract asks.
pub const VERIFIERS: usize = 16;
/// Contracts that one question to the gate may name.
pub const NAMED_CONTRACTS: usize = 32;
/// Runs of one workflow about one image that are examined when they are of the same instant; rejected ones first.
pub const RUNS_OF_ONE_INSTANT: usize = 16;
/// The manifests that are read of what a registry has beside one image, together.
pub const BESIDE_MANIFESTS_BYTES: usize = 8 * 1024 * 1024;
/// The annotations that are handed on of one manifest that speaks about an image.
pub const REFERRER_ANNOTATIONS_BYTES: usize = 16 * 1024;
/// Looks at what registries have beside images, at a time. Each may hold what [`DISCOVERED_BYTES`] allows.
pub const LOOKS_AT_ONCE: usize = 16;
/// Looks at what one registry has, at a time: one that hangs holds no more of [`LOOKS_AT_ONCE`].
pub const LOOKS_AT_ONE_REGISTRY: usize = 4;
/// Large documents from registries that are read at a time: read, one takes many times its length.
pub const PARSED_AT_ONCE: usize = 2;
/// Evidence read from a registry for one image.
pub const DISCOVERED_BYTES: u64 = 64 * 1024 * 1024;
/// One CEL source.
pub const CEL_SOURCE_BYTES: usize = 2 * 1024;
/// Wall-clock time one decision may take before it is "could not decide".
pub const DECISION_TIME: Duration = Duration::from_secs(20);
/// How far a proven signing time may lie ahead of our clock.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Instructions one Rego rule may execute. A 5 MB SBOM takes about a sixth of it.
pub const RULE_INSTRUCTIONS: usize = 10_000_000;
/// What one Rego rule may produce and keep altogether, in bytes. A call of a function counts for at least 256.
pub const RULE_PRODUCED_BYTES: usize = 64 * 1024 * 1024;
/// Calls of functions of the host (`chainloop.…`) in one Rego rule.
pub const RULE_HOST_CALLS: usize = 10_000;
/// What one function call of a Rego rule may read or produce as text, in bytes.
pub const RULE_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Numbers in one `numbers.range` of a Rego rule.
pub const RULE_RANGE: u64 = 100_000;
/// Bits of one number that a Rego rule computes.
pub const RULE_NUMBER_BITS: u64 = 4096;
/// Values that one CEL rule may look at in documents.
pub const CEL_STEPS: u64 = 1_500_000;
/// Nodes of one CEL rule, its macros expanded.
pub const CEL_NODES: usize = 1024;
/// The source of a CEL rule that the compiler wrote for a clause with many values.
pub const CEL_GENERATED_BYTES: usize = 32 * 1024;
/// Violations shown for one rule; the rest are counted.
pub const RULE_FINDINGS: usize = 200;
/// Characters shown of one violation.
pub const RULE_MESSAGE_CHARS: usize = 2000;
/// What the findings of one evaluation that block may take, and again those that do not, counted by
/// [`crate::Finding::weight`]. Further ones are counted.
pub const EVALUATION_FINDINGS_BYTES: usize = 128 * 1024;
/// Wall-clock time that the rules of one decision may take together; beyond it is "could not decide".
pub const RULES_TIME: Duration = Duration::from_secs(10);
