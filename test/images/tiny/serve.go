package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// server answers as an inference container does (INF-50 to INF-70, BT-20 to BT-22).
type server struct {
	o           options
	fails       ranges
	pings       atomic.Int64
	invocations atomic.Int64
	requests    atomic.Int64
	stalled     atomic.Int64 // until then nothing is answered: nanoseconds since 1970
}

func serve() int {
	o := environment()
	if err := o.mistakes(); err != nil {
		fmt.Fprintf(os.Stderr, "tiny: %v\n", err)
		return 65
	}
	late := o.text("sigterm_late", "") == "1"
	if late {
		signal.Ignore(syscall.SIGTERM)
	} else {
		onTerminate(o)
	}
	sayJSON(map[string]any{"started_ns": started.UnixNano(), "mode": "serve", "args": os.Args[1:]})
	fmt.Fprint(os.Stdout, o.text("print", ""))
	fmt.Fprint(os.Stderr, o.text("print_stderr", ""))
	if name := o.text("require_model", ""); name != "" {
		if _, err := os.Stat(ml("model", name)); err != nil {
			fmt.Fprintf(os.Stderr, "tiny: model: %v\n", err)
			return 3
		}
	}
	if o.text("write_model", "") == "1" {
		err := tryWrite(ml("model"))
		sayJSON(map[string]any{"model_writable": err == nil, "error": fmt.Sprint(err)})
	}
	if o.has("layout") {
		sayJSON(map[string]any{"layout": readLayout()})
	}
	if o.has("probe") {
		sayJSON(map[string]any{"probes": probeAll(o)})
	}
	if err := lines(o); err != nil {
		fmt.Fprintf(os.Stderr, "tiny: %v\n", err)
		return 68
	}
	if d := o.duration("exit_after", 0); d > 0 {
		time.AfterFunc(d, func() { os.Exit(o.number("exit_code", 0)) })
	}
	time.Sleep(o.duration("start_delay", 0))
	port := os.Getenv("SAGEMAKER_BIND_TO_PORT") // pipelines only (INF-51)
	if port == "" {
		port = "8080"
	}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Fprintf(os.Stderr, "tiny: %v\n", err)
		return 66
	}
	if late {
		signal.Reset(syscall.SIGTERM)
		onTerminate(o)
	}
	sayJSON(map[string]any{"listening": l.Addr().String()})
	s := &server{o: o}
	s.fails, _ = parseRanges(o.text("fail_nth", "")) // mistakes has checked it
	fmt.Fprintf(os.Stderr, "tiny: %v\n", http.Serve(l, s))
	return 67
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	sum := sha256.Sum256(body)
	record := map[string]any{
		"n": s.requests.Add(1), "method": r.Method, "path": r.URL.RequestURI(), "proto": r.Proto, "host": r.Host,
		"headers": r.Header, "content_length": r.ContentLength, "transfer_encoding": r.TransferEncoding,
		"body_bytes": len(body), "body_sha256": hex.EncodeToString(sum[:]), "at_ns": time.Now().UnixNano(),
	}
	if err != nil {
		record["error"] = err.Error()
	}
	sayJSON(map[string]any{"request": record})
	switch r.Method + " " + r.URL.Path {
	case "GET /ping":
		s.ping(w, r)
	case "GET /execution-parameters":
		s.parameters(w, r)
	case "POST /invocations":
		s.invoke(w, r, body)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	n := s.pings.Add(1)
	if s.o.text("ping", "") == "never" {
		hang(r)
	}
	time.Sleep(s.o.duration("ping_delay", 0))
	if n <= int64(s.o.number("ping_failures", 0)) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(s.o.number("ping_status", http.StatusOK))
	_, _ = io.WriteString(w, s.o.text("ping_body", ""))
}

func (s *server) parameters(w http.ResponseWriter, r *http.Request) {
	v := s.o.text("parameters", "")
	status, isStatus := strings.CutPrefix(v, "status:")
	switch {
	case v == "":
		http.NotFound(w, r)
	case v == "hang":
		hang(r)
	case isStatus:
		code, err := strconv.Atoi(status)
		if err != nil {
			code = http.StatusInternalServerError
		}
		w.WriteHeader(code)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, v)
	}
}

func (s *server) invoke(w http.ResponseWriter, r *http.Request, body []byte) {
	n := int(s.invocations.Add(1))
	if n == s.o.number("exit_after_nth", 0) {
		os.Exit(s.o.number("exit_code", 0))
	}
	delay := s.o.duration("invoke_delay", 0) + time.Duration(n-1)*s.o.duration("invoke_step", 0)
	if n == s.o.number("stall_nth", 0) {
		s.stalled.Store(time.Now().Add(s.o.duration("stall_for", time.Second)).UnixNano())
	}
	time.Sleep(max(0, delay))
	time.Sleep(time.Until(time.Unix(0, s.stalled.Load())))
	status := s.o.number("status", http.StatusOK)
	how := s.o.text("invoke", "echo")
	if text := s.o.text("fail_if", ""); (text != "" && bytes.Contains(body, []byte(text))) || s.fails.has(n) {
		status = s.o.number("status", http.StatusInternalServerError)
		if f := s.o.text("fail_how", "status"); f != "status" {
			how = f
		}
	} else if s.o.has("fail_if") || s.o.has("fail_nth") {
		status = http.StatusOK
	}
	var out []byte
	switch how {
	case "echo":
		out = body
	case "upper":
		out = bytes.ToUpper(body)
	case "fixed":
		out = []byte(s.o.text("body", ""))
	case "length":
		for line := range bytes.Lines(body) {
			out = fmt.Appendf(out, "%d\n", len(bytes.TrimRight(line, "\r\n")))
		}
	case "sha256":
		sum := sha256.Sum256(body)
		out = fmt.Appendf(nil, "%x\n", sum)
	case "layout":
		out, _ = json.Marshal(readLayout())
	case "probe":
		out, _ = json.Marshal(probeAll(s.o))
	case "hang":
		hang(r)
	case "reset":
		reset(w)
	case "truncate": // promise more than is sent
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+1000))
		out = body
	case "exit":
		os.Exit(s.o.number("exit_code", 1))
	case "oom":
		allocate("all")
	}
	kind := s.o.text("content_type", r.Header.Get("Accept"))
	if kind == "" || kind == "*/*" {
		kind = r.Header.Get("Content-Type")
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(status)
	_, _ = w.Write(out)
}

// hang holds the request until the client gives up, then drops the connection.
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset closes the connection so that the client sees a reset rather than an end.
func reset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
	panic(http.ErrAbortHandler)
}
