// Package job is the language: SageMaker's job documents as Go structs, strict decoding, the rules that hold within
// and between their members in the service's own words, the fidelity table (each member honoured, emulated, inert or
// refused), and the Plan that everything after it works from.
//
// The walk: Decode a document, then Make a Plan of it and of those that it names. Decode refuses what cannot be read:
// text that is not JSON, names that the service does not know, wrong types, names that stand twice. Make refuses what
// breaks a constraint or a rule (*Invalid, in the service's words, all at once, each with its place) and what optml does
// not carry out (*Unsupported). What only the cloud minds becomes a Warning of the Plan, unless Options.Strict.
//
// Where things are: constraints.json and instances.json hold the service's published facts (hack/constraints makes
// them), rules_*.go the rules between members, fidelity_*.go the table of how each member is treated, rules.txt what
// each rule id says. docs/fidelity.md is made of them by "go generate ./job".
//
// The package reads no files and starts nothing.
package job

//go:generate go test . -run TestFidelityPage -update
