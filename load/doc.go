// Package load puts load on a model server and measures how it bears it.
//
// A closed loop keeps a number of requests open: the next one goes when an answer comes. An open loop sends by a clock,
// whatever the server does: that is how users come. Their latency counts from when a request was due, so that a server
// that stalls is charged for those who had to wait meanwhile; a closed loop sends nothing in a stall and cannot know of
// them (coordinated omission). docs/load.md explains it to users.
//
//	Pacer (vegeta's, Poisson) -> source: what is due -> transform.Client: connections, small requests over one epoll ->
//	source: histograms, seconds, errors -> Result;  Sweep: one Result a rung -> Curve: what it bears, and its knee
//
// The requests are those of a batch transform, byte for byte, over its client and its way into the container's network;
// Baseline measures what that way costs by itself. Memory is bounded whatever the rate, the duration and the errors:
// requests that wait for a connection are a number, not a list, latencies are histograms, seconds are rows of a table.
package load
