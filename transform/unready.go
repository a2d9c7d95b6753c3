package transform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// PingError is the last thing that a container did instead of answering /ping with 200. Each of its causes looks the same
// from the service's sentence (ST-12).
type PingError struct {
	Says   string
	Remedy string // "": nothing more than the rule says
	Err    error  // nil: it answered with another status
}

func (e *PingError) Error() string { return e.Says }
func (e *PingError) Unwrap() error { return e.Err }

// listenerTime bounds the look at what listens in a container.
const listenerTime = 2 * time.Second

// unready explains what came of the last /ping.
func unready(ctx context.Context, c Container, status int, body []byte, err error) *PingError {
	e := &PingError{Err: err}
	switch {
	case err == nil:
		e.Says = fmt.Sprintf("status %d", status)
		if b := excerpt(body); b != "" {
			e.Says += ": " + b
		}
		switch {
		case status == 404 || status == 405:
			e.Remedy = "the server has no route for GET /ping: add one that answers 200 once the model is loaded (INF-60)"
		case status >= 300 && status < 400:
			e.Remedy = "redirects are not followed: answer GET /ping itself with 200, without one to /ping/ or to another address (INF-60)"
		case status > 200 && status < 300:
			e.Remedy = fmt.Sprintf("only 200 counts, and %d is another status (INF-60)", status)
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Says, e.Remedy = refused(ctx, c)
	case errors.Is(err, ErrMalformed):
		e.Says = err.Error() + "; what listens there does not speak plain HTTP/1"
		e.Remedy = "serve plain HTTP on that port, without TLS (INF-50)"
	case timedOut(err) && !dialed(err):
		e.Says = fmt.Sprintf("none within %v, although it took the connection", pingTimeout)
		e.Remedy = "answer GET /ping within 2 s, from a thread that neither loads the model nor predicts (INF-61)"
	default:
		e.Says = err.Error()
	}
	return e
}

// dialed says that an error is from making a connection.
func dialed(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// refused says what listens in a container where nothing does at its port.
func refused(ctx context.Context, c Container) (says, remedy string) {
	says = "connection refused: nothing listens on " + c.Addr
	host, port, _ := strings.Cut(c.Addr, ":")
	if c.Listening == nil {
		return says, ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenerTime)
	defer cancel()
	at, err := c.Listening(ctx)
	if err != nil {
		return says, ""
	}
	var here, other []string
	reached := "" // by whoever asks now
	for _, a := range at {
		switch {
		case strconv.Itoa(int(a.Port())) != port:
			other = append(other, a.String())
		case a.Addr().IsUnspecified() || a.Addr().String() == host:
			reached = a.String()
		default:
			here = append(here, a.String())
		}
	}
	switch {
	case reached != "":
		return fmt.Sprintf("connection refused, but by now the container listens on %s", reached),
			"it began to listen when the time was over: have it listen and answer 200 sooner, and load the model beside it (INF-60)"
	case len(here) > 0:
		return fmt.Sprintf("connection refused: the container listens on %s only, and is asked at %s", strings.Join(here, ", "), host),
			"listen on all interfaces, 0.0.0.0, and not on the loopback, which nobody outside of the container reaches (INF-50)"
	case len(other) > 0:
		return fmt.Sprintf("connection refused: nothing listens on port %s; the container listens on %s", port, strings.Join(other, ", ")),
			fmt.Sprintf("listen on port %s of all interfaces: 0.0.0.0:%s (INF-50)", port, port)
	}
	return "connection refused: nothing in the container listens on any port",
		fmt.Sprintf("start a web server on port %s; where it starts only when the model is loaded, that takes longer than was waited, or hangs (INF-50, INF-62); its log may say where", port)
}

// shownText bounds what is told of a body.
const shownText = 200

// excerpt is the beginning of a body as a line of text.
func excerpt(body []byte) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(body[:min(len(body), 4*shownText)]), ""))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > shownText {
		s = string(r[:shownText]) + "…"
	}
	return s
}
