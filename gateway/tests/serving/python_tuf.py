"""Makes a TUF repository with python-tuf in a folder, with a file as its `trusted_root.json`.

Its root changes once, all its keys at that; keys are of every kind that python-tuf makes, and files are written with
line breaks. Run as `python3 python_tuf.py FOLDER TRUSTED_ROOT`.
"""

import datetime
import hashlib
import os
import sys

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

folder, trusted_root = sys.argv[1:]
os.makedirs(f"{folder}/targets")
expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=1)
new = CryptoSigner
keys = {
    "root": [new.generate_ecdsa(), new.generate_rsa()],
    "timestamp": [new.generate_ecdsa()],
    "snapshot": [new.generate_rsa()],
    "targets": [new.generate_ed25519()],
}


def put(name, metadata, signers):
    for number, signer in enumerate(signers):
        metadata.sign(signer, append=number > 0)
    data = metadata.to_bytes(JSONSerializer(compact=False))
    with open(f"{folder}/{name}", "wb") as file:
        file.write(data)
    return data


def root(version):
    signed = Root(version=version, expires=expires, consistent_snapshot=True)
    for role, signers in keys.items():
        for signer in signers:
            signed.add_key(signer.public_key, role)
        signed.roles[role].threshold = len(signers)
    return Metadata(signed)


former = keys["root"]
put("1.root.json", root(1), former)
keys = {
    "root": [new.generate_ecdsa(), new.generate_ed25519()],
    "timestamp": [new.generate_ed25519()],
    "snapshot": [new.generate_ecdsa()],
    "targets": [new.generate_rsa(), new.generate_ecdsa()],
}
put("2.root.json", root(2), former + keys["root"])

with open(trusted_root, "rb") as file:
    data = file.read()
target = TargetFile.from_data("trusted_root.json", data, ["sha256", "sha512"])
with open(f"{folder}/targets/{target.hashes['sha256']}.trusted_root.json", "wb") as file:
    file.write(data)
targets = Targets(expires=expires)
targets.targets["trusted_root.json"] = target
put("1.targets.json", Metadata(targets), keys["targets"])
snapshot = Snapshot(expires=expires)
snapshot.meta["targets.json"] = MetaFile(1)
data = put("1.snapshot.json", Metadata(snapshot), keys["snapshot"])
timestamp = Timestamp(expires=expires)
timestamp.snapshot_meta = MetaFile(1, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
put("timestamp.json", Metadata(timestamp), keys["timestamp"])
