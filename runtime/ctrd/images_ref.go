package ctrd

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// refLimit is the longest image reference that SageMaker takes (START-6).
const refLimit = 255

// normalise gives a reference its full form, as Docker and containerd store it: tiny -> docker.io/library/tiny:latest,
// team/tiny:1 -> docker.io/team/tiny:1. With a digest, a tag beside it is dropped, as Docker does.
func normalise(ref string) (string, error) {
	if len(ref) > refLimit {
		return "", fmt.Errorf("reference has %d characters, the limit is %d", len(ref), refLimit)
	}
	if strings.HasPrefix(ref, "sha256:") {
		return "", fmt.Errorf("%q is a digest without a repository", ref)
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("parse reference: %w", err)
	}
	return named.String(), nil
}

// repository is the full form of a reference without tag and digest; empty when name is no reference.
func repository(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return named.Name()
}

// registryOf is the registry part of a reference; empty when name is no reference.
func registryOf(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// Familiar is the short form of a reference, as people write it: docker.io/library/tiny:latest -> tiny:latest.
func Familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}
