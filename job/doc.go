// Package job is the language: SageMaker's job documents as Go structs, strict decoding, the rules that hold within
// and between their members in the service's own words, the fidelity table (each member honoured, emulated, inert or
// refused), and the Plan that everything after it works from.
//
// The walk: Decode a document, Check it, then make a Plan of it. The package reads no files and starts nothing.
package job
