// Package artifact is what leaves a job and returns to one: a directory packed into model.tar.gz while it is uploaded,
// and such an archive unpacked safely into a directory; or a model that is not packed, object by object.
//
// Both directions treat their input as untrusted. A container wrote the directory, so no link in it is followed out of
// it; anybody may have written the archive, so no member of it gets outside the directory, whatever its name, its type or
// the links before it.
package artifact
