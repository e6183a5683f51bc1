// Sigstore on loopback for tests: a certificate authority, its log, a transparency log (v1) and a timestamp authority, on
// the npm package @sigstore/mock. It certifies whatever a token says of itself: for tests alone.
//
// node services.cjs PORT FOLDER   (with NODE_PATH; writes trusted_root.json, signing_config.json and
// client_trust_config.json into the folder, then a line `listening`)
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const path = require("path");
const asn1js = require("asn1js");
const canonicalize = require("canonicalize");
const mock = require("@sigstore/mock");
const pkijs = require("pkijs");

const [port, folder] = [Number(process.argv[2]), process.argv[3]];
const base = `http://127.0.0.1:${port}`;
const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts)).digest();
const pair = () => crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
const spki = (keys) => keys.publicKey.export({ format: "der", type: "spki" });
const base64 = (bytes) => Buffer.from(bytes).toString("base64");

// A Merkle tree (RFC 6962) that grows, so that indices and proofs are those of a real log. It begins with entries of
// nobody: an index of 0 would be left out of JSON.
class Tree {
  leaves = ["a", "b", "c"].map((text) => this.leaf(Buffer.from(text)));
  leaf(bytes) {
    return sha256(Buffer.from([0]), bytes);
  }
  split(leaves) {
    let half = 1;
    while (half * 2 < leaves.length) half *= 2;
    return [leaves.slice(0, half), leaves.slice(half)];
  }
  root(leaves = this.leaves) {
    if (leaves.length === 1) return leaves[0];
    const [left, right] = this.split(leaves);
    return sha256(Buffer.from([1]), this.root(left), this.root(right));
  }
  proof(index, leaves = this.leaves) {
    if (leaves.length === 1) return [];
    const [left, right] = this.split(leaves);
    return index < left.length
      ? [...this.proof(index, left), this.root(right)]
      : [...this.proof(index - left.length, right), this.root(left)];
  }
}

// What a log keeps of a proposed entry: hashes and signatures, with certificates in one spelling.
function kept(entry) {
  const spelled = (verifier) => {
    const text = Buffer.from(verifier, "base64").toString();
    return text.includes("BEGIN CERTIFICATE") ? base64(new crypto.X509Certificate(text).toString()) : verifier;
  };
  if (entry.kind === "dsse") {
    const { envelope, verifiers } = entry.spec.proposedContent;
    const read = JSON.parse(envelope);
    const hash = (bytes) => ({ algorithm: "sha256", value: sha256(bytes).toString("hex") });
    const signatures = read.signatures.map(({ sig }, at) => ({ signature: sig, verifier: spelled(verifiers[at]) }));
    const payloadHash = hash(Buffer.from(read.payload, "base64"));
    return { ...entry, spec: { envelopeHash: hash(Buffer.from(envelope)), payloadHash, signatures } };
  }
  const key = entry.spec.signature?.publicKey;
  if (key) key.content = spelled(key.content);
  return entry;
}

async function main() {
  const keys = { ct: pair(), ca: pair(), log: pair(), tsa: pair() };
  const ct = await mock.initializeCTLog(keys.ct);
  const ca = await mock.initializeCA(keys.ca, ct);
  const log = await mock.initializeTLog(base, keys.log);
  const tsa = await mock.initializeTSA(keys.tsa);

  const tree = new Tree();
  const origin = new URL(base).host;
  const logId = sha256(spki(keys.log));
  const signed = (bytes) => crypto.sign("sha256", Buffer.from(bytes), keys.log.privateKey);
  log.log = async (proposed) => {
    const bytes = Buffer.from(canonicalize(kept(proposed)));
    const logIndex = tree.leaves.push(tree.leaf(bytes)) - 1;
    const [treeSize, root] = [tree.leaves.length, tree.root()];
    // The first line tells logs of version 1, which name their tree, from those of version 2.
    const note = `${origin} - 1193050959916656506\n${treeSize}\n${base64(root)}\n`;
    const line = base64(Buffer.concat([logId.subarray(0, 4), signed(note)]));
    const body = base64(bytes);
    const integratedTime = Math.floor(Date.now() / 1000);
    const entry = { body, integratedTime, logID: logId.toString("hex"), logIndex };
    const inclusionProof = {
      checkpoint: `${note}\n— ${origin} ${line}\n`,
      hashes: tree.proof(logIndex).map((hash) => hash.toString("hex")),
      logIndex,
      rootHash: root.toString("hex"),
      treeSize,
    };
    const verification = { inclusionProof, signedEntryTimestamp: base64(signed(canonicalize(entry))) };
    return { [crypto.randomBytes(40).toString("hex")]: { ...entry, verification } };
  };

  // Whole seconds, as time stamp authorities give them. Milliseconds are written without the zeros at their end, as DER
  // wants it, and npm's client reads three digits or none: one time in ten it would refuse the timestamp.
  tsa.getCurrentTime = () => new Date(Math.floor(Date.now() / 1000) * 1000);
  // The package takes nonces of 32 bits only.
  const plain = tsa.tstInfo.bind(tsa);
  tsa.tstInfo = (request) => {
    const info = plain({ ...request, nonce: 1 });
    if (request.nonce === undefined) delete info.nonce;
    else info.nonce = asn1js.Integer.fromBigInt(request.nonce);
    return info;
  };
  const timestamp = (der) => {
    const query = pkijs.TimeStampReq.fromBER(der);
    const hex = (block) => Buffer.from(block.valueBlock.valueHexView).toString("hex");
    return tsa.timestamp({
      artifactHash: Buffer.from(hex(query.messageImprint.hashedMessage), "hex"),
      hashAlgorithmOID: query.messageImprint.hashAlgorithm.algorithmId,
      nonce: query.nonce ? BigInt(`0x${hex(query.nonce)}`) : undefined,
      policyOID: "1.3.6.1.4.1.57264.2",
      certReq: query.certReq,
    });
  };

  write({ keys, ca, tsa, logId });
  const certify = mock.fulcioHandler(ca, { strict: true });
  const enter = mock.rekorHandler(log, { strict: true });
  const asked = mock.tsaHandler(tsa, { strict: true });
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", async () => {
      const bytes = Buffer.concat(pieces);
      const answer = (status, type, body, headers) => {
        response.writeHead(status, { "content-type": type, ...headers });
        response.end(body);
      };
      const place = request.url.split("?")[0];
      if (place === asked.path && bytes[0] === 0x30) {
        return answer(201, "application/timestamp-reply", Buffer.from(await timestamp(bytes)));
      }
      if (place === certify.path) {
        const body = JSON.parse(bytes.toString());
        // Clients differ in where they put the token, and in how often they encode a request.
        const bearer = request.headers.authorization;
        if (!body.credentials && bearer) body.credentials = { oidcIdentityToken: bearer.replace(/^Bearer /, "") };
        const csr = body.certificateSigningRequest;
        if (csr && !csr.startsWith("-----")) body.certificateSigningRequest = Buffer.from(csr, "base64").toString();
        const said = await certify.fn(JSON.stringify(body));
        return answer(said.statusCode === 201 ? 200 : said.statusCode, "application/json", said.response);
      }
      const handler = [enter, asked].find(({ path }) => path === place);
      if (!handler) return answer(404, "application/json", "{}");
      const said = await handler.fn(bytes.toString());
      const made = place === enter.path && said.statusCode === 201;
      const id = made ? Object.keys(JSON.parse(said.response))[0] : "";
      const headers = made ? { etag: id, location: `${enter.path}/${id}` } : {};
      answer(said.statusCode, said.contentType ?? "application/json", said.response, headers);
    });
  });
  server.listen(port, "127.0.0.1", () => console.log("listening"));
}

function write({ keys, ca, tsa, logId }) {
  const validFor = { start: "2020-01-01T00:00:00Z" };
  const key = (of) => ({ rawBytes: base64(spki(of)), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor });
  const chain = (...certificates) => ({ certificates: certificates.map((der) => ({ rawBytes: base64(der) })) });
  const log = (baseUrl, of, id) => ({ baseUrl, hashAlgorithm: "SHA2_256", publicKey: key(of), logId: { keyId: base64(id) } });
  const authority = (uri, certChain) => ({ subject: { organization: "test", commonName: "test" }, uri, certChain, validFor });
  const trustedRoot = {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [log(base, keys.log, logId)],
    certificateAuthorities: [authority(base, chain(ca.rootCertificate))],
    ctlogs: [log(`${base}/ct`, keys.ct, sha256(spki(keys.ct)))],
    timestampAuthorities: [authority(`${base}/api/v1/timestamp`, chain(tsa.intCertificate, tsa.rootCertificate))],
  };
  const service = (url) => [{ url, majorApiVersion: 1, validFor, operator: "test" }];
  const signingConfig = {
    mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    caUrls: service(base),
    oidcUrls: service(`${base}/oidc`),
    rekorTlogUrls: service(base),
    tsaUrls: service(`${base}/api/v1/timestamp`),
    rekorTlogConfig: { selector: "ANY" },
    tsaConfig: { selector: "ANY" },
  };
  const mediaType = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
  fs.mkdirSync(folder, { recursive: true });
  const files = { trusted_root: trustedRoot, signing_config: signingConfig, client_trust_config: { mediaType, trustedRoot, signingConfig } };
  for (const [name, value] of Object.entries(files)) {
    fs.writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(value));
  }
}

main();
