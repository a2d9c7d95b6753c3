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
	// sessionName has as many characters at most.
	sessionNameLimit = 64
)

// grant hands out short-lived credentials to the containers of a job: never keys that do not end by themselves.
type grant struct {
	how     string
	region  string
	profile string

	mu    sync.Mutex
	roles map[string]harness.Session // by ARN
	made  map[string]time.Time       // when
}

var _ harness.Credentials = (*grant)(nil)

// Session implements harness.Credentials.
func (g *grant) Session(ctx context.Context, role, name string) (harness.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, assumeTime)
	defer cancel()
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
	s, err := g.assume(ctx, cfg, role, name)
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

// assume returns the session of a role, anew when a third of the last one's life is left: SDKs begin to ask for the next
// one a quarter of an hour before the end.
func (g *grant) assume(ctx context.Context, cfg aws.Config, role, name string) (harness.Session, error) {
	if role == "" {
		return harness.Session{}, &grantError{what: "the document names no role", hint: "give it a RoleArn (ExecutionRoleArn of a model), or take this host's own session: --credentials session"}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.roles[role]; ok && time.Until(s.Expires) > s.Expires.Sub(g.made[role])/3 {
		return s, nil
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
	s := harness.Session{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: aws.ToString(c.SecretAccessKey), Token: *c.SessionToken,
		Expires: *c.Expiration, Role: role, Of: role,
	}
	if g.roles == nil {
		g.roles, g.made = map[string]harness.Session{}, map[string]time.Time{}
	}
	g.roles[role], g.made[role] = s, time.Now()
	return s, nil
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
		p = &p.Validation.Training
		fallthrough
	case job.KindTraining:
		if p.Training.Isolated {
			return nil
		}
	case job.KindTransform:
		if p.Transform.Isolated {
			return nil
		}
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
