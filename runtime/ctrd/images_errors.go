package ctrd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"github.com/optml/optml/runtime/container"
)

func imageError(ref string, kind container.ImageErrorKind, err error) *container.ImageError {
	return &container.ImageError{Ref: ref, Kind: kind, Err: err}
}

// platformError is an image that has nothing for this machine.
type platformError struct {
	offered []string
	want    string
	host    bool // want is this machine's own
}

func (e *platformError) Error() string {
	what := "no platform at all"
	if len(e.offered) > 0 {
		what = strings.Join(e.offered, ", ")
	}
	if e.host {
		return fmt.Sprintf("the image is for %s, this machine is %s", what, e.want)
	}
	return fmt.Sprintf("the image is for %s, and %s was asked for", what, e.want)
}

// missingError is content that a record refers to and that is not here: nothing was wrong with the name.
type missingError struct{ digest string }

func (e *missingError) Error() string { return "content " + e.digest + " is missing" }

// digestError is content that is not what its digest says.
type digestError struct{ what string }

func (e *digestError) Error() string { return e.what }

// classify turns an error of containerd or a registry into an *container.ImageError. Cancellation passes through, so
// that its cause is still seen.
func classify(ref string, err error) error {
	var done *container.ImageError
	if errors.As(err, &done) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return imageError(ref, kindOf(err), redacted{err})
}

func kindOf(err error) container.ImageErrorKind {
	if _, ok := errors.AsType[*platformError](err); ok {
		return container.ImagePlatform
	}
	if _, ok := errors.AsType[*digestError](err); ok {
		return container.ImageDigest
	}
	text := err.Error()
	// Errors that crossed gRPC are text.
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error()) {
		return container.ImageNoSpace
	}
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return container.ImageDenied
		case http.StatusNotFound:
			return container.ImageNotFound
		}
		return container.ImageBroken
	}
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization), errors.Is(err, errCredentials), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return container.ImageDenied
	case strings.Contains(text, "unexpected commit digest"), strings.Contains(text, "unexpected digest"):
		return container.ImageDigest
	case strings.Contains(text, "no match for platform"):
		return container.ImagePlatform
	case errdefs.IsNotFound(err):
		return container.ImageNotFound
	case unreachable(err):
		return container.ImageUnreachable
	}
	return container.ImageBroken
}

// unreachable: no connection could be made, or no address was found for the name.
func unreachable(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	_, dns := errors.AsType[*net.DNSError](err)
	return dns || ok && op.Op == "dial"
}

// urlQuery is the query of a URL in a text: registries redirect to signed URLs, whose query is a credential.
var urlQuery = regexp.MustCompile(`(https?://[^\s"'?]+)\?[^\s"']*`)

// redacted hides the queries of URLs in an error's text.
type redacted struct{ err error }

func (r redacted) Error() string { return urlQuery.ReplaceAllString(r.err.Error(), "$1?…") }
func (r redacted) Unwrap() error { return r.err }
