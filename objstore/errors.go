package objstore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// wrap makes an *Error, with the class that the cause belongs to. An error that already is one keeps its own step.
func wrap(op, uri string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Op: op, URI: uri, Class: classify(err), Err: err}
}

// classed is wrap where the class is known already.
func classed(op, uri string, class, err error) error {
	return &Error{Op: op, URI: uri, Class: class, Err: err}
}

var classes = []error{ErrNotFound, ErrNoBucket, ErrAccessDenied, ErrChanged, ErrTruncated, ErrChecksum, ErrNoSpace, ErrBadKey, ErrEscapes}

// classify finds the class of an operating system's error, or of one that carries a class somewhere in its chain.
func classify(err error) error {
	for _, c := range classes {
		if errors.Is(err, c) {
			return c
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrNoSpace
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return ErrAccessDenied
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOTEMPTY):
		return ErrBadKey
	}
	return nil
}

// NoSpace says whether a write failed because the disk or the quota is full; for writers outside this package.
func NoSpace(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// bare strips the operation and path that package os puts around an errno: the object's URI says more.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// ServiceError is what S3 answered.
type ServiceError struct {
	Status    int    // HTTP
	Code      string // AccessDenied, NoSuchKey, SlowDown, …
	Message   string
	RequestID string

	retryAfter     time.Duration
	moved, expired bool // the region was wrong, the credentials were old: another attempt is different
}

func (e *ServiceError) Error() string {
	s := e.Code + ": " + e.Message
	if e.RequestID != "" {
		s += " (request " + e.RequestID + ")"
	}
	return s
}
