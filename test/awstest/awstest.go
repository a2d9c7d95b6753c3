// Package awstest is an AWS for tests on loopback: ECR's GetAuthorizationToken and STS's AssumeRole, both for whoever
// signs with the access key that it knows.
package awstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options choose how it behaves.
type Options struct {
	AccessKeyID string        // that requests must be signed with
	Token       string        // of ECR, for user AWS
	TokenLife   time.Duration // 0: 12 hours
	Life        time.Duration // of a session of STS; 0: an hour
	DenyAssume  bool          // no role may be assumed
}

// Request is what was asked for.
type Request struct{ Operation, Region, Role, Session string }

// Server is one.
type Server struct {
	URL string

	mu  sync.Mutex
	o   Options
	log []Request
	n   int // sessions given
}

// New starts one. It ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.TokenLife == 0 {
		o.TokenLife = 12 * time.Hour
	}
	if o.Life == 0 {
		o.Life = time.Hour
	}
	s := &Server{o: o}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.URL = h.URL
	return s
}

// Env points the AWS SDK at it and gives it the keys, as an environment of KEY=VALUE; more is appended.
func (s *Server) Env(more ...string) []string {
	return append([]string{"AWS_ENDPOINT_URL_ECR=" + s.URL, "AWS_ENDPOINT_URL_STS=" + s.URL, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + s.o.AccessKeyID, "AWS_SECRET_ACCESS_KEY=secret-of-" + s.o.AccessKeyID}, more...)
}

// Change changes the options while it runs.
func (s *Server) Change(f func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.o)
}

// Requests returns what was asked so far, of one operation.
func (s *Server) Requests(operation string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.log), func(r Request) bool { return r.Operation != operation })
}

// Secret is what is in each secret that sessions have, to look for where none may be.
const Secret = "TheSessionsSecret"

func (s *Server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	q.Body = io.NopCloser(strings.NewReader(string(body)))
	operation := q.Header.Get("X-Amz-Target")
	if operation == "" {
		_ = q.ParseForm()
		operation = q.Form.Get("Action")
	}
	operation = operation[strings.LastIndexByte(operation, '.')+1:]
	// AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …
	_, scope, _ := strings.Cut(q.Header.Get("Authorization"), "Credential=")
	part := strings.Split(scope, "/")
	if len(part) < 5 || part[0] != s.o.AccessKeyID {
		s.fail(w, operation, "UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	}
	r := Request{Operation: operation, Region: part[2], Role: q.Form.Get("RoleArn"), Session: q.Form.Get("RoleSessionName")}
	s.log = append(s.log, r)
	switch operation {
	case "GetAuthorizationToken":
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(map[string]any{"authorizationData": []any{map[string]any{
			"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + s.o.Token)),
			"expiresAt":          float64(time.Now().Add(s.o.TokenLife).Unix()),
			"proxyEndpoint":      "https://123456789012.dkr.ecr." + r.Region + ".amazonaws.com",
		}}})
	case "AssumeRole":
		if s.o.DenyAssume {
			s.fail(w, operation, "AccessDenied", "User: arn:aws:iam::123456789012:user/me is not authorized to perform: sts:AssumeRole on resource: "+r.Role)
			return
		}
		s.n++
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIASESSION%d</AccessKeyId>`+
			`<SecretAccessKey>%s%d</SecretAccessKey><SessionToken>session-token-%d</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			s.n, Secret, s.n, s.n, time.Now().Add(s.o.Life).UTC().Format(time.RFC3339))
	default:
		s.fail(w, operation, "UnknownOperationException", operation)
	}
}

func (s *Server) fail(w http.ResponseWriter, operation, code, message string) {
	if operation == "GetAuthorizationToken" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
}
