package dataset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/optml/optml/objstore"
)

// Error names the channel and the object that could not be delivered. Channel is empty outside of a training.
type Error struct {
	Channel string
	Object  string // URI, or the source's URI where it is not one object's fault
	Err     error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Channel != "" {
		fmt.Fprintf(&b, "channel %q: ", e.Channel)
	}
	// The store's errors name their object themselves.
	if se, ok := errors.AsType[*objstore.Error](e.Err); e.Object != "" && !(ok && se.URI == e.Object) {
		fmt.Fprintf(&b, "object %s: ", e.Object)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes a full disk one class, whether a store or a channel's own write found it.
func (e *Error) Is(target error) bool {
	return target == objstore.ErrNoSpace && objstore.NoSpace(e.Err)
}

// Detail is what follows "ClientError: Data download failed:" in a FailureReason, in the service's words where they are
// known (END-2).
func (e *Error) Detail() string {
	if _, ok := errors.AsType[*EmptyError](e.Err); ok {
		return e.Err.Error()
	}
	if partial, ok := errors.AsType[*PartialPrefixError](e.Err); ok {
		return "Failed to download data. " + partial.Error()
	}
	if objstore.NoSpace(e.Err) {
		return "Insufficient disk space"
	}
	if api, ok := errors.AsType[*objstore.ServiceError](e.Err); ok {
		return fmt.Sprintf("Unable to download object %s (%s: %s)", e.Object, api.Code, api.Message)
	}
	if errors.Is(e.Err, objstore.ErrAccessDenied) {
		return fmt.Sprintf("Unable to download object %s (AccessDenied: Access Denied)", e.Object)
	}
	return "Failed to download data. " + e.Error()
}

// EmptyError says that nothing lies under a source's URI, in the words of the service, which checks it when the job is
// created (training contract 4.2).
type EmptyError struct {
	URI     string
	Region  string
	RoleARN string // "" where no role is known
	Err     error  // the store's own error, if it gave one; nil if the listing was merely empty
}

// ErrEmpty is the class of *EmptyError.
var ErrEmpty = errors.New("no objects found")

func (e *EmptyError) Error() string {
	bucket, ok := strings.CutPrefix(e.URI, "s3://")
	if !ok {
		return "no files found under " + e.URI + e.cause(": ")
	}
	bucket, _, _ = strings.Cut(bucket, "/")
	role := "your role"
	if e.RoleARN != "" {
		role = fmt.Sprintf("the role %q", e.RoleARN)
	}
	return fmt.Sprintf("No S3 objects found under S3 URL %q given in input data source. Please ensure that the bucket exists"+
		" in the selected region (%s), that objects exist under that S3 prefix, and that %s has \"s3:ListBucket\" permissions on bucket %q.",
		e.URI, e.Region, role, bucket) + e.cause(" Error message from S3: ")
}

func (e *EmptyError) cause(sep string) string {
	if e.Err == nil {
		return ""
	}
	if api, ok := errors.AsType[*objstore.ServiceError](e.Err); ok {
		return sep + api.Message
	}
	if se, ok := errors.AsType[*objstore.Error](e.Err); ok {
		return sep + se.Err.Error()
	}
	return sep + e.Err.Error()
}

func (e *EmptyError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrEmpty}
	}
	return []error{ErrEmpty, e.Err}
}

// ErrUnsupported is the class of errors for sources that are not carried out yet.
var ErrUnsupported = errors.New("not supported yet")
