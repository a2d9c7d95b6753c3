package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
)

// Ways in which containers are given AWS credentials (ENV-6).
const (
	grantNone    = "none"
	grantRole    = "role"    // the document's role, assumed
	grantSession = "session" // this host's own, if they are temporary
	grantAuto    = "auto"    // role, else session
)

var grants = []string{grantNone, grantAuto, grantRole, grantSession}

const (
	// assumeTime bounds a request for a session, with the search for credentials and the SDK's own retries.
	assumeTime = 30 * time.Second
	// sessionLife is what a role that is assumed by another role has at most.
	sessionLife = time.Hour
	// unknownLife is what is said of a session whose end the chain does not know: then it is asked for again.
	unknownLife = time.Hour
	// sessionNameLimit is how many characters the name of a session has at most.
	sessionNameLimit = 64
)

// grant hands out short-lived credentials to the containers of a job: never keys that do not end by themselves.
type grant struct {
	how     string
	region  string
	profile string

	mu   sync.Mutex
	have map[string]granted // by the ARN of the role
}

// granted is an answer that serves until its time. Containers may ask as often as they like; AWS is asked seldom.
type granted struct {
	session harness.Session
	err     error
	until   time.Time
}

const (
	// ownFresh is how long this host's own session is not looked up again: somebody may have logged in anew.
	ownFresh = time.Minute
	// failedFresh is how long a failure stands.
	failedFresh = 5 * time.Second
)

var _ harness.Credentials = (*grant)(nil)

// Session implements harness.Credentials.
func (g *grant) Session(ctx context.Context, role, name string) (harness.Session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a, ok := g.have[role]; ok && time.Now().Before(a.until) {
		return a.session, a.err
	}
	ctx, cancel := context.WithTimeout(ctx, assumeTime)
	defer cancel()
	now := time.Now()
	s, err := g.ask(ctx, role, name)
	a := granted{session: s, err: err}
	switch {
	case ctx.Err() != nil:
		return s, err
	case err != nil:
		a.until = now.Add(failedFresh)
	case s.Role != "":
		// SDKs begin to ask for the next one a quarter of an hour before the end: a third of the life is sooner.
		a.until = now.Add(s.Expires.Sub(now) * 2 / 3)
	default:
		a.until = now.Add(min(ownFresh, s.Expires.Sub(now)*2/3))
	}
	if g.have == nil {
		g.have = map[string]granted{}
	}
	g.have[role] = a
	return s, err
}

func (g *grant) ask(ctx context.Context, role, name string) (harness.Session, error) {
	cfg, err := loadAWS(ctx, g.region, g.profile)
	if err != nil {
		return harness.Session{}, err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	own, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return harness.Session{}, &grantError{what: "this host has no AWS credentials", err: err,
			hint: "log in (aws sso login, aws configure) and name the profile with --aws-profile"}
	}
	if g.how == grantSession {
		return ownSession(own)
	}
	s, err := assume(ctx, cfg, role, name)
	if err == nil || g.how == grantRole || ctx.Err() != nil {
		return s, err
	}
	s, oerr := ownSession(own)
	if oerr != nil {
		return s, &grantError{what: "the role cannot be assumed, and this host's own AWS credentials are long-lived keys, which no container is given", err: err, hint: assumeHint}
	}
	s.Note = fmt.Sprintf("the role could not be assumed (%v)", err)
	return s, nil
}

const assumeHint = "allow this host's identity to assume the role (sts:AssumeRole in the role's trust policy), or log in to a session: aws sso login, or aws sts get-session-token"

// ownSession are this host's credentials as they are, if they end by themselves.
func ownSession(c aws.Credentials) (harness.Session, error) {
	if c.SessionToken == "" {
		return harness.Session{}, &grantError{what: "this host's AWS credentials are long-lived keys, which no container is given", hint: assumeHint}
	}
	s := harness.Session{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.SessionToken, Of: "this host's own session"}
	if s.Expires = c.Expires; !c.CanExpire {
		s.Expires = time.Now().Add(unknownLife)
	}
	return s, nil
}

// assume returns a session of a role.
func assume(ctx context.Context, cfg aws.Config, role, name string) (harness.Session, error) {
	if role == "" {
		return harness.Session{}, &grantError{what: "the document names no role", hint: "give it a RoleArn (ExecutionRoleArn of a model), or take this host's own session: --credentials session"}
	}
	name = "optml-" + name
	name = name[:min(len(name), sessionNameLimit)]
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: &name, DurationSeconds: aws.Int32(int32(sessionLife / time.Second)),
	})
	if err != nil {
		return harness.Session{}, &grantError{what: "assume " + role, err: err, hint: assumeHint}
	}
	c := out.Credentials
	if c == nil || aws.ToString(c.AccessKeyId) == "" || aws.ToString(c.SessionToken) == "" || c.Expiration == nil {
		return harness.Session{}, &grantError{what: "assume " + role, err: errors.New("the answer has no session")}
	}
	return harness.Session{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: aws.ToString(c.SecretAccessKey), Token: *c.SessionToken,
		Expires: *c.Expiration, Role: role, Of: role,
	}, nil
}

// grantError says why containers cannot be given credentials.
type grantError struct {
	what string
	err  error
	hint string
}

func (e *grantError) Error() string {
	if e.err == nil {
		return e.what
	}
	return fmt.Sprintf("%s: %v", e.what, e.err)
}
func (e *grantError) Unwrap() error { return e.err }
func (e *grantError) Hint() string  { return e.hint }

// checkGrant asks for the credentials of a job before there is one: what cannot be had then will not be had later.
func checkGrant(ctx context.Context, c harness.Credentials, p *job.Plan) error {
	if c == nil {
		return nil
	}
	switch p.Kind {
	case job.KindValidation: // both of its jobs have the same role and network
		v := p.Validation
		if v.Skipped != "" {
			return nil
		}
		if p = v.Transform; v.Training != nil {
			p = v.Training
		}
	}
	if p.Training != nil && p.Training.Isolated || p.Transform != nil && p.Transform.Isolated {
		return nil
	}
	if _, err := c.Session(ctx, p.Role, p.Name); err != nil {
		var g *grantError
		hint := ""
		if errors.As(err, &g) {
			hint = g.hint
		}
		return &harness.HostError{What: "--credentials", Err: err, Hint: hint}
	}
	return nil
}
