// Package e2e drives the built binary on real containers, as a user would: command lines, exit codes, what is in the
// store and in the container, and above all what is left on the host afterwards.
//
// The tests need root, runc and a kernel with overlayfs. They use roots, run directories and stores of their own and one
// containerd for the whole run: the embedded one, or what OPTML_E2E_CONTAINERD says: embedded, debian (its package is
// fetched and started, not installed), or the address of one that runs. `make e2e` builds the binary and names it in
// OPTML_BINARY; without that it is built once.
//
//	OPTML_FULL=1             everything: crash tests at every moment, a log of 1 GB, each cell and fault of channels, also
//	                         on a real S3 server (built from hack/versitygw), and then the whole suite once more on
//	                         Debian's containerd
//	OPTML_SKLEARN=FILE       also validate examples/iris with this image (hack/mkimage-sklearn makes it)
//	OPTML_E2E_SHARED=1       other programs make containers, links and mounts on this host at the same time: judge what
//	                         is left over by our names alone
package e2e
