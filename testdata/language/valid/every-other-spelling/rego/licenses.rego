package main

import rego.v1

violations contains message if {
	some component in input.components
	some entry in component.licenses
	entry.license.id in data.accepted[input.args.stage]
	message := sprintf("%s is under %s", [component.name, entry.license.id])
}
