#!/bin/sh
# A release pipeline in the words of Chainloop's command line, as it documents them: begin, add by name, by kind and by
# what the file is, look, push. The test runs it with no other change than the name of the program.
set -eu

export CHAINLOOP_WORKFLOW_NAME=build-and-test
export CHAINLOOP_PROJECT_NAME=skynet

# Initialize. The contract is attached when the workflow is made on the way.
chainloop attestation init --workflow "$CHAINLOOP_WORKFLOW_NAME" --project "$CHAINLOOP_PROJECT_NAME" \
  --version v1.4.0 --contract skynet -f -o json > init.json

# By name, as the contract calls them.
chainloop attestation add --name binary --value build/skynet
chainloop attestation add --name control-plane-image --value "$IMAGE"
chainloop attestation add --name build-ref --value "$GITHUB_SHA"

# By kind: the one slot of the contract that asks for it, or something beyond the contract.
chainloop att add --kind JUNIT_XML --value reports/junit.xml --annotation suite=unit
chainloop att add --name extra-evidence --kind EVIDENCE --value notes.txt --annotation author=ci,tier=gold

# By what the file is.
chainloop attestation add --value /tmp/../"$PWD"/skynet.cyclonedx.json -o json > add.json

chainloop attestation status --full
chainloop attestation status --output json > status.json

# The key from the environment, its password from the variable that the tool documents.
chainloop attestation push --key env://CHAINLOOP_SIGNING_KEY --annotation channel=stable --bundle bundle.json -o json > push.json
