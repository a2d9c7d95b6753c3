package job

import "slices"

// fidelity is the table: each member that a supported operation can hold has one row, which says whether optml honours,
// emulates, ignores or refuses it. optml plan prints it for a document, docs/fidelity.md is made of it, and three tests
// hold it: that no member lacks a row, that changing an honoured member changes the Plan while an inert one does not
// and a refused one is an error, and that each field of the Plan is read by some package.
var fidelity = slices.Concat(trainingRows, algorithmRows, modelRows, transformRows, packageRows, sharedRows)

const (
	noAWS     = "there is no AWS account behind a job on this machine"
	debugger  = "SageMaker Debugger and Profiler run beside the container; the image's own hooks see no configuration"
	catalogue = "says something about the product in the catalogue, not to the container"
)
