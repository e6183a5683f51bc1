// npm's Sigstore libraries as a program.
//
// node client.cjs sign STATEMENT TOKEN_FILE SERVICES BUNDLE
// node client.cjs verify BUNDLE TRUSTED_ROOT IDENTITY ISSUER
// node client.cjs verify-key BUNDLE PUBLIC_KEY TRUSTED_ROOT
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const { bundleFromJSON, bundleToJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness } = require("@sigstore/sign");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const text = (file) => fs.readFileSync(file, "utf8");
const json = (file) => JSON.parse(text(file));

async function sign([statement, token, services, output]) {
  const identityProvider = { getToken: async () => text(token).trim() };
  const builder = new DSSEBundleBuilder({
    signer: new FulcioSigner({ fulcioBaseURL: services, identityProvider }),
    witnesses: [new RekorWitness({ rekorBaseURL: services, entryType: "dsse" }), new TSAWitness({ tsaBaseURL: services })],
  });
  const bundle = await builder.create({ data: fs.readFileSync(statement), type: "application/vnd.in-toto+json" });
  fs.writeFileSync(output, JSON.stringify(bundleToJSON(bundle)));
}

function verify([bundle, root, identity, issuer]) {
  const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)));
  const options = { tlogThreshold: 1, ctlogThreshold: 1, tsaThreshold: 1 };
  const policy = { subjectAlternativeName: identity, extensions: { issuer } };
  new Verifier(trust, options).verify(toSignedEntity(bundleFromJSON(json(bundle))), policy);
}

function verifyKey([bundle, key, root]) {
  const publicKey = crypto.createPublicKey(text(key));
  const finder = () => ({ publicKey, validFor: () => true });
  const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)), finder);
  const options = { tlogThreshold: 1, ctlogThreshold: 0, tsaThreshold: 1 };
  new Verifier(trust, options).verify(toSignedEntity(bundleFromJSON(json(bundle))));
}

const [what, ...rest] = process.argv.slice(2);
Promise.resolve({ sign, verify, "verify-key": verifyKey }[what](rest)).catch((error) => {
  console.error(error);
  process.exit(1);
});
