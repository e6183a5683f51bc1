package licenses

import rego.v1

result := {
	"skipped": skipped,
	"violations": violations,
	"skip_reason": skip_reason,
}

default skipped := true

skipped := false if is_array(input.components)

default skip_reason := ""

skip_reason := "the SBOM lists no components" if skipped

banned contains license if {
	is_array(input.args.licenses)
	some license in input.args.licenses
}

banned contains input.args.licenses if is_string(input.args.licenses)

violations contains msg if {
	some component in input.components
	some entry in component.licenses
	entry.license.id in banned
	msg := sprintf("%s is under %s", [component.name, entry.license.id])
}
