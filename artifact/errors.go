package artifact

import (
	"errors"
	"strconv"
)

// Classes of errors; errors.Is tells them apart.
var (
	ErrNotGzip    = errors.New("not a gzip file")
	ErrDamaged    = errors.New("damaged archive")
	ErrTruncated  = errors.New("archive ends early")
	ErrUnsafeName = errors.New("name leaves the directory or cannot be used")
	ErrUnsafeLink = errors.New("link leaves the directory")
	ErrLink       = errors.New("links are not allowed")
	ErrType       = errors.New("not a file, directory or link")
	ErrClash      = errors.New("name is taken by something else")
	ErrTooLarge   = errors.New("content too large")
	ErrTooMany    = errors.New("too many members")
)

// Error names the step and the member of the archive or the file in the directory.
type Error struct {
	Op     string // pack, unpack, upload, download
	Member string // "" when the archive as a whole is meant
	Class  error  // one of the classes above, or nil
	Err    error  // what is below, or the detail
}

func (e *Error) Error() string {
	msg := e.Op
	if e.Member != "" {
		msg += " " + strconv.Quote(e.Member)
	}
	if e.Class != nil {
		msg += ": " + e.Class.Error()
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Class, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
