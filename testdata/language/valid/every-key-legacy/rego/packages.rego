package main

import rego.v1

violations contains sprintf("%s is under %s", [item.name, item.licenseConcluded]) if {
	some item in input.packages
	item.licenseConcluded == input.args.licenses
}
