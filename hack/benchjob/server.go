package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/optml/optml/hack/measure"
)

// server is a process that stands for S3 and takes uploads. It asks nobody for a signature and throws away what comes,
// so that it costs as little as it can; of an upload whose key contains keepMark it keeps the parts.
type server struct {
	*measure.Server
	keep string // directory of what was kept
}

// keepMark is in the names of those uploads of which the bytes are looked at.
const keepMark = "-keep-"

func startServer(keep string) (*server, error) {
	s, err := measure.Serve(keep)
	if err != nil {
		return nil, err
	}
	return &server{s, keep}, nil
}

// environ is how every program reaches the server.
func (s *server) environ() []string {
	return append(measure.Plain(), "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=benchbench", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
}

// kept returns the one object that was kept since the last call, as a file.
func (s *server) kept() (string, error) {
	parts, err := filepath.Glob(filepath.Join(s.keep, "part-*"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.keep, "object")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for i := range len(parts) {
		part, err := os.Open(filepath.Join(s.keep, fmt.Sprintf("part-%d", i+1)))
		if err != nil {
			return "", err
		}
		_, err = io.Copy(f, part)
		part.Close()
		os.Remove(part.Name())
		if err != nil {
			return "", err
		}
	}
	return path, nil
}

// serve is the server's process.
func serve(keep string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { // until whoever started us is gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("http://%s\n", l.Addr())
	buffers := sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		number, _ := strconv.Atoi(q.Get("partNumber"))
		body, to := io.Reader(r.Body), io.Discard
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, keepMark) {
			f, err := os.Create(filepath.Join(keep, fmt.Sprintf("part-%d", max(number, 1))))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			defer f.Close()
			to = f
			if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
				http.Error(w, "the body is in signed chunks, which this server does not read", http.StatusNotImplemented)
				return
			}
		}
		buf := buffers.Get().(*[]byte)
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{body}, *buf)
		buffers.Put(buf)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer := func(name, inner string) {
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprintf(w, "%s<%s>%s</%s>", xml.Header, name, inner, name)
		}
		switch {
		case r.Method == http.MethodPut:
			w.Header().Set("ETag", fmt.Sprintf(`"%032x"`, number))
		case r.Method == http.MethodPost && q.Has("uploads"):
			answer("InitiateMultipartUploadResult", "<UploadId>bench</UploadId>")
		case r.Method == http.MethodPost:
			answer("CompleteMultipartUploadResult", `<ETag>"0123456789abcdef0123456789abcdef-1"</ETag>`)
		case r.Method == http.MethodGet && q.Has("uploads"):
			answer("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
		case r.Method == http.MethodGet && q.Has("location"):
			answer("LocationConstraint", "")
		case r.Method == http.MethodGet:
			answer("ListBucketResult", "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>")
		case r.Method == http.MethodHead && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
}
