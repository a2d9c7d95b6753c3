// Package dataprocessing is DataProcessing of a batch transform: filters and the join, record by record (BT-151):
//
//	record -> InputFilter -> container -> result, joined with the unfiltered record -> OutputFilter -> one line
//
// A Processor is made once a job and carries the pure part of it: bytes in, bytes out. Who cuts objects into records,
// bounds what is held and sends it is package transform.
//
// Nothing is decoded that need not be: numbers, strings, quotes and the order of members stay as they were written
// (BT-166). The libraries for JSONPath are not used because they select from decoded values, which have lost just that,
// and because an index that is out of range selects nothing there while it is an error here (BT-163).
package dataprocessing
