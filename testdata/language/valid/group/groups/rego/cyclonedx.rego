package main

import rego.v1

violations contains message if {
	some component in input.components
	some entry in component.licenses
	entry.license.id in listed
	message := sprintf("%s is under %s", [component.name, entry.license.id])
}

listed := input.args.licenses if is_array(input.args.licenses)

listed := [input.args.licenses] if is_string(input.args.licenses)
