package transform

import (
	"errors"
	"fmt"

	"github.com/optml/optml/framing"
)

// Class is the first word of a FailureReason (ST-14).
type Class string

const (
	ClientError    Class = "ClientError"
	AlgorithmError Class = "AlgorithmError"
	InternalError  Class = "InternalServerError"
)

const (
	reasonLogs     = ": See job logs for more information" // ST-10, ST-11
	reasonPing     = "AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint is implemented and responds with an HTTP 200 status code"
	reasonInternal = "InternalServerError: We encountered an internal error.  Please try again."
)

// Error is why a job failed: Reason is the service's sentence, Err says what happened here.
type Error struct {
	Reason string
	Err    error

	Kept   string // where failing batches are kept; "": none
	Replay string // the command line that sends the first of them again; "" where it cannot be
}

func (e *Error) Error() string { return e.Reason + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Classes of errors; errors.Is tells them apart.
var (
	ErrNoObjects = errors.New("no input objects")                             // BT-34
	ErrNameClash = errors.New("two input objects have the same output name")  // BT-138
	ErrPing      = errors.New("the container did not answer /ping with 200")  // ST-12
	ErrExited    = errors.New("the container has exited")                     // INF-65
	ErrObjects   = errors.New("objects failed")                               // BT-141
	ErrTimeout   = errors.New("no complete response within the time allowed") // BT-104
	ErrMalformed = errors.New("malformed HTTP response")                      //
	ErrConnect   = errors.New("connect")                                      // of a Client
	ErrAborted   = errors.New("given up")                                     // of a Client that was told to end
	ErrResponse  = errors.New("response too large")                           // ruling 23
	ErrHop       = errors.New("too large for the next container")             // INF-55
	ErrInput     = errors.New("input object")                                 // reading it
	ErrOutput    = errors.New("output object")                                // writing it
)

// errStreamed: with MaxPayloadInMB 0 an object is one request of any size, which is never held (BT-97, BT-98).
var errStreamed = errors.New("DataProcessing or GenerateInferenceId with MaxPayloadInMB 0 is for SplitType Line with BatchStrategy SingleRecord: an object that is one request is not held, so its records cannot be filtered, joined or given ids")

// Failure is one object that failed, with the first of its requests that did.
type Failure struct {
	Key      string
	Output   string // the name that its output would have had
	Class    Class
	Record   int64 // first record of the request, counted from 1; 0: not about a record
	Records  int64 // in the request
	Offset   int64 // of that record in the (decompressed) object
	Status   int   // HTTP status; 0: no response
	Attempts int
	Body     string // first bytes of the response
	Err      error

	index int   // of the object
	seq   int64 // of the request in the object
	quiet bool  // not in the data log
}

// Error names the object, the place in it and what happened.
func (f *Failure) Error() string {
	at := ""
	switch {
	case f.Record > 0 && f.Records > 1:
		at = fmt.Sprintf(", records %d-%d at byte %d", f.Record, f.Record+f.Records-1, f.Offset)
	case f.Record > 0:
		at = fmt.Sprintf(", record %d at byte %d", f.Record, f.Offset)
	}
	if f.Attempts > 1 {
		at += fmt.Sprintf(", %d attempts", f.Attempts)
	}
	said := f.Err.Error()
	if b := excerpt([]byte(f.Body)); b != "" {
		said += ": " + b
	}
	return fmt.Sprintf("%s%s: %s", f.Key, at, said)
}

func (f *Failure) Unwrap() error { return f.Err }

// TooLarge says that it is for the size of a record, an object or an answer, over the limit of the job.
func (f *Failure) TooLarge() bool {
	return errors.Is(f.Err, ErrResponse) || errors.Is(f.Err, framing.ErrTooLong)
}

// silent: an error before the first byte of a response that is no timeout.
func silent(err error) bool {
	_, ok := errors.AsType[*errNoAnswer](err)
	return ok && !timedOut(err)
}

// StatusError is a response that is no success.
type StatusError struct {
	Status int
	Body   []byte // its first bytes
}

func (e *StatusError) Error() string { return fmt.Sprintf("the container answered %d", e.Status) }

// class of a failure that an attempt ended with (the ruling below ST-14).
func class(err error) Class {
	if s, ok := errors.AsType[*StatusError](err); ok {
		if s.Status >= 400 && s.Status < 500 {
			return ClientError
		}
		return AlgorithmError
	}
	switch {
	case errors.Is(err, ErrInput), errors.Is(err, ErrHop):
		return ClientError
	case errors.Is(err, ErrOutput):
		return InternalError
	}
	return AlgorithmError
}

func reason(c Class) string {
	if c == InternalError {
		return reasonInternal // ST-13
	}
	return string(c) + reasonLogs
}
