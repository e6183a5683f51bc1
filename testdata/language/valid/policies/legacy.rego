package main

import rego.v1

findings contains chainloop.vulnerability(result.message.text, result.ruleId, "pkg:generic/app", "HIGH") if {
	some run in input.runs
	some result in run.results
}

result := {"skipped": false, "findings": findings}
