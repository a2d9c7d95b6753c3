// Package transform is batch transform: it cuts input objects into requests, drives the model containers with them and
// assembles the responses into one output object for each input object.
//
//	objects -> feed (open, gunzip, split, batch) -> queue -> workers (one connection each) -> ordered assembly -> <key>.out
//
// Each instance has its own queue and workers. Requests go out in object order and at most MaxConcurrentTransforms are
// open at once; responses arrive in any order and are written in input order (BT-101 to BT-103). What is held in memory
// at a time is bounded by the resolved settings, never by the size of an object: the feed waits when requests pile up,
// and a worker waits when its response cannot be written yet because an earlier one is missing.
//
// With DataProcessing a record is filtered where it is cut, and a response is joined with its records, which are held
// till then, and filtered where it is written (BT-151): package dataprocessing does it, this one bounds it.
//
// The package knows neither containers nor object stores: Config brings a way to dial, objects to open and a way to
// create outputs.
package transform
