package ctrd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"github.com/optml/optml/runtime/container"
)

func TestClassify(t *testing.T) {
	status := func(code int) error {
		return fmt.Errorf("pull: %w", remoteerrors.ErrUnexpectedStatus{StatusCode: code})
	}
	for _, c := range []struct {
		err  error
		kind container.ImageErrorKind
	}{
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), container.ImageNotFound},
		{status(404), container.ImageNotFound},
		{status(401), container.ImageDenied},
		{status(403), container.ImageDenied},
		{status(500), container.ImageBroken},
		{fmt.Errorf("x: %w", docker.ErrInvalidAuthorization), container.ImageDenied},
		{fmt.Errorf("%w for r.test: no helper", errCredentials), container.ImageDenied},
		{fmt.Errorf("unexpected commit digest sha256:a, expected sha256:b: %w", errdefs.ErrFailedPrecondition), container.ImageDigest},
		{&platformError{want: "linux/amd64"}, container.ImagePlatform},
		{errors.New("no match for platform in manifest"), container.ImagePlatform},
		{errors.New("rpc: write /x: no space left on device"), container.ImageNoSpace},
		{fmt.Errorf("write: %w", syscall.ENOSPC), container.ImageNoSpace},
		{fmt.Errorf("resolve: %w", &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}), container.ImageUnreachable},
		{fmt.Errorf("resolve: %w", &net.DNSError{Err: "no such host", IsNotFound: true}), container.ImageUnreachable},
		{errors.New("anything else"), container.ImageBroken},
	} {
		got, ok := errors.AsType[*container.ImageError](classify("r:1", c.err))
		if !ok || got.Kind != c.kind || got.Ref != "r:1" {
			t.Errorf("%v: %+v, wanted %s", c.err, got, c.kind)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v is lost", c.err)
		}
	}
	for _, err := range []error{context.Canceled, fmt.Errorf("x: %w", context.DeadlineExceeded), imageError("a", container.ImageDigest, errors.New("x"))} {
		if got := classify("r:1", err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// Registries redirect to signed URLs; their queries must not get into an error.
func TestErrorsHideSignedURLs(t *testing.T) {
	err := classify("r:1", fmt.Errorf(`GET "https://bucket.test/blob?X-Amz-Signature=secret&a=b": 403, then http://x.test/?t=secret end`))
	if text := err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "https://bucket.test/blob?…") || !strings.Contains(text, " end") {
		t.Error(text)
	}
}
