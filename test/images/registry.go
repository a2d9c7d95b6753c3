package images

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// RegistryOptions choose how the registry behaves.
type RegistryOptions struct {
	User, Password string // Basic authentication for everything when User is set
	Token          bool   // the Bearer flow of the large registries instead: a token for User and Password from /token
	Fault          Fault  // asked before each request that is not a push
}

// Fault may answer a request in place of the registry; it returns whether it did. next is the registry itself, for faults
// that change an answer.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// Server is an in-memory registry on loopback, plain HTTP. It ends with the test.
type Server struct {
	Host string // 127.0.0.1:port: the registry part of a reference

	o     RegistryOptions
	inner http.Handler
	mu    sync.Mutex
	log   []Request
}

// Request is what a client asked for.
type Request struct {
	Method, Path, Query string
	Authorized          bool // let through by the authentication
}

// Registry starts a registry.
func Registry(t testing.TB, o RegistryOptions) *Server {
	t.Helper()
	s := &Server{o: o, inner: ranged(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.Host = strings.TrimPrefix(h.URL, "http://")
	return s
}

// Push uploads an image as repository:tag and returns its reference by tag and by digest.
func (s *Server) Push(t testing.TB, img v1.Image, repositoryTag string) (tag, digest string) {
	t.Helper()
	ref, err := name.NewTag(s.Host+"/"+repositoryTag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	// The push goes past authentication and faults: those are for the client under test.
	direct := httptest.NewServer(s.inner)
	defer direct.Close()
	to, err := name.NewTag(strings.TrimPrefix(direct.URL, "http://")+"/"+repositoryTag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img, remote.WithAuth(authn.Anonymous)); err != nil {
		t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.String(), ref.Context().Digest(h.String()).String()
}

// PushIndex uploads an image for several platforms and returns its reference and the index's digest.
func (s *Server) PushIndex(t testing.TB, repositoryTag string, all ...v1.Image) (tag, digest string) {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range all {
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: c.Platform()}})
	}
	direct := httptest.NewServer(s.inner)
	defer direct.Close()
	to, err := name.NewTag(strings.TrimPrefix(direct.URL, "http://")+"/"+repositoryTag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(to, index, remote.WithAuth(authn.Anonymous)); err != nil {
		t.Fatal(err)
	}
	h, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return s.Host + "/" + repositoryTag, h.String()
}

// ServeTLS serves the registry by HTTPS as well, under a name, and returns where, and the certificate to trust.
func (s *Server) ServeTLS(t testing.TB, host string) (address string, pem []byte) {
	t.Helper()
	cert, pem := certificate(t, host)
	h := httptest.NewUnstartedServer(s)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h.Listener.Addr().String(), pem
}

// certificate is one of its own for a host.
func certificate(t testing.TB, host string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(host); ip != nil {
		c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Proxy is an HTTP proxy whose every tunnel ends at an address, whatever host is asked for; asked tells which were.
func Proxy(t testing.TB, to string) (url string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var hosts []string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts = append(hosts, r.Host)
		mu.Unlock()
		if r.Method != http.MethodConnect {
			http.Error(w, "tunnels only", http.StatusMethodNotAllowed)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		w.WriteHeader(http.StatusOK)
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		go func() {
			_, _ = io.Copy(there, buffered)
			there.Close()
		}()
		_, _ = io.Copy(here, there)
	}))
	t.Cleanup(h.Close)
	return h.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(hosts)
	}
}

// Requests returns what was asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// SetFault changes the fault while the registry runs.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Fault = f
}

const token = "test-token"

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	known := basic && user == s.o.User && password == s.o.Password
	if s.o.Token && r.URL.Path == "/token" {
		// containerd asks by POST with a form and falls back to GET when that is not answered.
		if r.Method == http.MethodPost {
			known = r.FormValue("username") == s.o.User && r.FormValue("password") == s.o.Password
		}
		if !known {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"token":%q,"access_token":%q,"expires_in":300}`, token, token)
		return
	}
	allowed := s.o.User == "" || (known && !s.o.Token) || (s.o.Token && r.Header.Get("Authorization") == "Bearer "+token)
	s.mu.Lock()
	s.log = append(s.log, Request{r.Method, r.URL.Path, r.URL.RawQuery, allowed})
	fault := s.o.Fault
	s.mu.Unlock()
	if !allowed {
		challenge := `Basic realm="test"`
		if s.o.Token {
			realm := url.URL{Scheme: "http", Host: r.Host, Path: "/token"}
			challenge = fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:any:pull"`, realm.String())
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return
	}
	if fault != nil && fault(w, r, s.inner) {
		return
	}
	s.inner.ServeHTTP(w, r)
}

// ranged adds what go-containerregistry's registry lacks and real ones have: blobs from an offset on, by which a client
// goes on after a broken connection.
func ranged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !isBlob(r) || r.Header.Get("Range") == "" {
			next.ServeHTTP(w, r)
			return
		}
		whole := r.Clone(r.Context())
		whole.Header.Del("Range")
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, whole)
		if rec.Code != http.StatusOK {
			w.WriteHeader(rec.Code)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(rec.Body.Bytes()))
	})
}

func isBlob(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/sha256:") }

// FailFirst answers the first n requests for blobs with status.
func FailFirst(n, status int) Fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		if !isBlob(r) || n == 0 {
			return false
		}
		n--
		w.WriteHeader(status)
		return true
	}
}

// Deny answers everything with 403, as a registry does to a user without rights.
func Deny(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
	return true
}

// FlipBlobs changes a byte in the middle of every blob, so that no digest holds.
func FlipBlobs(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	return changeBlob(w, r, next, func(b []byte) []byte {
		b[len(b)/2] ^= 0xff
		return b
	})
}

// TruncateFirst breaks the connection in the middle of the first n blobs.
func TruncateFirst(n int) Fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		mu.Lock()
		hit := isBlob(r) && r.Method == http.MethodGet && n > 0
		if hit {
			n--
		}
		mu.Unlock()
		return hit && changeBlob(w, r, next, func(b []byte) []byte { return b[:len(b)/2] })
	}
}

// Slow waits before each blob.
func Slow(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if isBlob(r) {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
		return false
	}
}

func changeBlob(w http.ResponseWriter, r *http.Request, next http.Handler, change func([]byte) []byte) bool {
	if !isBlob(r) || r.Method != http.MethodGet {
		return false
	}
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	if b := rec.Body.Bytes(); len(b) > 0 {
		b = change(b)
		_, _ = w.Write(b) // less than Content-Length: the server closes the connection
	}
	return true
}
