package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/optml/optml/runtime/ctrd"
)

// ecrHost is the name of an account's registry: account, "-fips" or nothing, region.
var ecrHost = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn|\.eu)?|on\.aws|on\.amazonwebservices\.com\.cn)$`)

// ecrOther is another way to a registry of ECR: an interface endpoint of a VPC, or another account's name.
var ecrOther = regexp.MustCompile(`\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+(?:\.vpce)?\.(?:amazonaws\.com(?:\.cn|\.eu)?|on\.aws|on\.amazonwebservices\.com\.cn)$`)

const (
	// ecrTime bounds the request for a token, with the search for credentials and the SDK's own retries.
	ecrTime = 30 * time.Second
	// ecrMargin is how long before its end a token is not used any more: a pull may take a while.
	ecrMargin = 30 * time.Minute
)

// registryLogin finds the credentials of registries. Those of a registry of Amazon's (ECR) come from the AWS chain, as a
// token that is kept in memory while it is valid; all others, and those where that fails, are Docker's.
type registryLogin struct {
	profile string

	mu     sync.Mutex
	tokens map[string]ecrToken // by region and kind of endpoint
}

type ecrToken struct {
	user, secret string
	until        time.Time
}

// credentials is ctrd.Registries.Credentials. A token of ECR goes to ECR and, of the mirrors that hosts.toml names, to
// those of ECR or on this machine alone: whoever has it may pull all that its account may.
func (l *registryLogin) credentials(ctx context.Context, registry, host string) (user, secret string, err error) {
	name := ecrHost.FindStringSubmatch(registry)
	mayHave := host == registry || ecrOther.MatchString(hostname(host)) || isLoopback(host)
	if name == nil || !mayHave || ctrd.DockerHelper(host) {
		return ctrd.DockerCredentials(ctx, host)
	}
	if host != registry { // a mirror's own login is nearer than its origin's
		if user, secret, err = ctrd.DockerCredentials(ctx, host); err != nil || secret != "" {
			return user, secret, err
		}
	}
	user, secret, err = l.token(ctx, name[3], name[2] != "")
	if err == nil || ctx.Err() != nil {
		return user, secret, err
	}
	// What `docker login` left may be of use where there are no AWS credentials.
	if u, s, derr := ctrd.DockerCredentials(ctx, host); derr == nil && s != "" {
		return u, s, nil
	}
	return "", "", err
}

// token is that of a region, from memory or anew.
func (l *registryLogin) token(ctx context.Context, region string, fips bool) (user, secret string, err error) {
	key := fmt.Sprint(region, fips)
	l.mu.Lock() // one request at a time: the layers of an image ask together
	defer l.mu.Unlock()
	if t, ok := l.tokens[key]; ok && time.Now().Before(t.until) {
		return t.user, t.secret, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ecrTime)
	defer cancel()
	t, err := askECR(ctx, region, l.profile, fips)
	if err != nil {
		return "", "", fmt.Errorf("ask ECR in %s for a token: %w", region, err)
	}
	if l.tokens == nil {
		l.tokens = map[string]ecrToken{}
	}
	l.tokens[key] = t
	return t.user, t.secret, nil
}

func askECR(ctx context.Context, region, profile string, fips bool) (ecrToken, error) {
	cfg, err := loadAWS(ctx, region, profile)
	if err != nil {
		return ecrToken{}, err
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return ecrToken{}, fmt.Errorf("there are no AWS credentials (%w)", err)
	}
	client := ecr.NewFromConfig(cfg, func(o *ecr.Options) {
		if fips && o.BaseEndpoint == nil { // an endpoint that was given is taken as it is
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
	})
	out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return ecrToken{}, err
	}
	if len(out.AuthorizationData) == 0 {
		return ecrToken{}, errors.New("the answer has none")
	}
	data := out.AuthorizationData[0]
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(data.AuthorizationToken))
	user, secret, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok || secret == "" { // the text of an error might quote it
		return ecrToken{}, errors.New("the token in the answer is not user:password in base64")
	}
	t := ecrToken{user: user, secret: secret}
	if data.ExpiresAt != nil { // without it, it serves this once
		t.until = data.ExpiresAt.Add(-ecrMargin)
	}
	return t, nil
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

func isLoopback(host string) bool {
	h := hostname(host)
	ip := net.ParseIP(strings.Trim(h, "[]"))
	return h == "localhost" || ip != nil && ip.IsLoopback()
}
