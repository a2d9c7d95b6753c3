package harness

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// Credentials hands out AWS credentials that the containers of a job may ask for (ENV-6).
type Credentials interface {
	// Session returns credentials that end by themselves, of the role (the plan's; may be "") or of this host. They are
	// new ones when the last are about to end. name is the job's. It may be called concurrently.
	Session(ctx context.Context, role, name string) (Session, error)
}

// Session is what a container is told.
type Session struct {
	AccessKeyID, SecretAccessKey, Token string

	Expires time.Time
	Role    string // ARN; "" when they are of no role that is known
	Of      string // whose they are, for people
	Note    string // why they are not of the role, if they should have been
}

// String keeps secrets out of whatever prints a Session.
func (s Session) String() string { return "credentials of " + s.Of }

// GoString does so for %#v.
func (s Session) GoString() string { return s.String() }

// The variables by which SDKs find the endpoint; the first is what SageMaker sets (training 1.3). With the last they
// send an Authorization header.
const (
	envCredentialsURI   = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	envCredentialsToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
)

// credentialsAddr is where SDKs look for a relative URI. It is an address of the container's own network namespace, on
// which this process listens: nothing but the containers of that namespace reaches it, and it ends with this process.
const credentialsAddr = "169.254.170.2:80"

const (
	// sessionTime bounds what a container waits for; SDKs wait less and ask again.
	sessionTime = 20 * time.Second
	// headerTime and headerLimit bound what a container may send.
	headerTime  = 5 * time.Second
	headerLimit = 8 << 10
	// connectionLimit keeps a container from taking this process's descriptors.
	connectionLimit = 64
)

// endpoint hands the credentials of a job to the containers of one network namespace.
type endpoint struct {
	run   *run
	path  string
	token string

	mu     sync.Mutex
	closed bool
	warned bool
}

// grants are what the containers of a job, of one attempt of it, are given of credentials.
type grants struct {
	endpoints    map[string]*endpoint // by the ID of the container whose network it is
	isolatedOnce sync.Once            // said that there are none
	grantOnce    sync.Once            // said whose they are
}

// endpointFor finds the endpoint of the network that a container will be in, before it is made: where to ask must be in
// its environment. Without credentials, and in isolation, there is none. fresh is one that is not served yet.
func (r *run) endpointFor(s container.Spec) (e *endpoint, fresh bool) {
	if r.host.Credentials == nil {
		return nil, false
	}
	if s.Network.Isolated {
		r.grants.isolatedOnce.Do(func() {
			r.append(ledger.Warning{Rule: "ENV-6", Text: "network isolation: the containers get no AWS credentials, though --credentials asks for them"})
		})
		return nil, false
	}
	network := s.ID
	if s.Network.Of != "" {
		network = s.Network.Of
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.grants.endpoints[network]; ok {
		return e, false
	}
	if r.grants.endpoints == nil {
		r.grants.endpoints = map[string]*endpoint{}
	}
	e = &endpoint{run: r, path: "/v2/credentials/" + rand.Text(), token: rand.Text()}
	r.grants.endpoints[network] = e
	return e, true
}

// over adds what tells a container's SDK where to ask, and with what. As the service's own variables do, it goes over the
// document's (ENV-4).
func (e *endpoint) over(env map[string]string) map[string]string {
	if env == nil {
		env = map[string]string{}
	}
	env[envCredentialsURI], env[envCredentialsToken] = e.path, e.token
	return env
}

// serve answers in the task's network until the job ends.
func (e *endpoint) serve(ctx context.Context, task container.Task, name string) error {
	r := e.run
	s, err := r.host.Credentials.Session(ctx, r.plan.Role, r.plan.Name)
	if err != nil {
		return &HostError{What: "credentials for the containers", Err: err}
	}
	r.grants.grantOnce.Do(func() {
		text := "the containers may ask for AWS credentials, those of " + s.Of
		if s.Note != "" {
			text += ": " + s.Note
		}
		r.append(ledger.Warning{Rule: "ENV-6", Text: text})
	})
	l, err := task.Listen(ctx, credentialsAddr)
	if err != nil {
		return fmt.Errorf("serve credentials: %w", err)
	}
	server := &http.Server{Handler: e, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, IdleTimeout: headerTime, MaxHeaderBytes: headerLimit,
		ErrorLog: slog.NewLogLogger(r.host.Log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(netutil.LimitListener(l, connectionLimit)) // ErrServerClosed
	}()
	e.run.later("credentials of "+name, func(context.Context) error {
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		err := server.Close()
		<-done
		return err
	})
	return nil
}

// warn records, once and while the job lasts, that there are no credentials.
func (e *endpoint) warn(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.warned && !e.closed {
		e.run.append(ledger.Warning{Rule: "ENV-6", Text: "a container asked for credentials, and there are none: " + err.Error()})
	}
	e.warned = true
}

// ServeHTTP implements http.Handler: GET of the path with the token.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(status int, code, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message})
	}
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	switch {
	case !same(q.URL.Path, e.path):
		refuse(http.StatusNotFound, "NotFound", "no credentials are here: the path is in "+envCredentialsURI)
		return
	case !same(q.Header.Get("Authorization"), e.token):
		refuse(http.StatusUnauthorized, "AccessDenied", "the Authorization header must be what "+envCredentialsToken+" says")
		return
	case q.Method != http.MethodGet:
		refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "it answers GET")
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), sessionTime)
	defer cancel()
	s, err := e.run.host.Credentials.Session(ctx, e.run.plan.Role, e.run.plan.Name)
	if err != nil {
		if q.Context().Err() == nil {
			e.warn(err)
		}
		refuse(http.StatusServiceUnavailable, "CredentialsUnavailable", "the host has none at present")
		return
	}
	_ = json.NewEncoder(w).Encode(struct { // as ECS answers
		RoleArn         string `json:",omitempty"`
		AccessKeyId     string
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}{s.Role, s.AccessKeyID, s.SecretAccessKey, s.Token, s.Expires.UTC().Truncate(time.Second)})
}
