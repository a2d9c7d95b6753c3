// Package nvml is the GPU helper: what optml asks of NVIDIA's library, in a process of its own. The library is not ours,
// is found at run time, and may lack a function that a newer one has; calling such a function ends the process. So this
// one asks before it calls, and whoever started it takes its death as an answer.
//
//	optml-gpu list             the inventory, as JSON
//	optml-gpu edits UUID...    CDI containerEdits for these devices, as JSON
//	optml-gpu watch UUID...    a JSON line of readings every second, until stdin ends
//
// Each takes --root DIR first: where the driver is installed, if not in /.
package nvml
