package main

import rego.v1

violations contains message if {
	some item in input.packages
	item.licenseConcluded == input.args.licenses
	message := sprintf("%s is under %s", [item.name, item.licenseConcluded])
}
