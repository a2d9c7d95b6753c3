package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3Options say how S3 is reached. What is left empty comes from the standard AWS chain: environment, shared files,
// container and instance roles.
type S3Options struct {
	Region    string // else us-east-1
	Profile   string
	Endpoint  string // AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
	PathStyle bool   // the bucket in the path; always so for an endpoint that is not Amazon's
	Anonymous bool   // unsigned requests

	// PartSize is that of an upload's first parts; 0: 16 MiB. S3 wants 5 MiB or more.
	PartSize int64

	// Near is how soon a store must answer to count as near; 0: 2 ms.
	Near time.Duration

	Transport http.RoundTripper // for tests; nil: one made for many and large transfers, with AWS_CA_BUNDLE and proxies
	Retry     Retry
}

// Retry bounds what is tried again: 5xx, SlowDown, broken connections, bodies that end early or stall.
type Retry struct {
	// Attempts at one request; 0: 16, so that with a third of the requests failing one in forty million is lost. A body
	// that broke has as many again for each MiB that came.
	Attempts int
	Base     time.Duration // of the first pause, doubled each time, jittered; 0: 50 ms
	Max      time.Duration // of one pause; 0: 4 s
	Stall    time.Duration // without any byte is a broken connection; 0: 30 s
}

func (r Retry) withDefaults() Retry {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if r.Attempts <= 0 {
		r.Attempts = 16
	}
	or(&r.Base, 50*time.Millisecond)
	or(&r.Max, 4*time.Second)
	or(&r.Stall, 30*time.Second)
	return r
}

// s3Client is what all buckets share: credentials, connections, endpoint rules.
//
// Of the SDK it uses the credential chain, the endpoint rules and the signer. Requests are plain HTTP: the SDK's
// middleware costs more than everything else on small objects, and resuming bodies needs retries of our own anyway.
type s3Client struct {
	o        s3.Options
	endpoint string // "" for Amazon's own
	http     *http.Client
	signer   *v4.Signer
	retry    Retry
	anon     bool
	near     time.Duration
	wireless bool // connections are not ours to look at
	part     int64
}

func newS3Client(ctx context.Context, o S3Options) (*s3Client, error) {
	var load []func(*config.LoadOptions) error
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	load = append(load, config.WithLogger(logging.Nop{})) // the SDK would warn on stderr; errors say what matters
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("read AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	c := &s3Client{
		o:      s3.NewFromConfig(cfg).Options(),
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		retry:  o.Retry.withDefaults(),
		anon:   o.Anonymous,
		part:   firstPart,
	}
	if c.near = o.Near; c.near <= 0 {
		c.near = near
	}
	if o.PartSize > 0 {
		c.part = max(o.PartSize, minPart)
	}
	if o.Endpoint != "" {
		c.o.BaseEndpoint = &o.Endpoint
	}
	if e := aws.ToString(c.o.BaseEndpoint); e != "" {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("S3 endpoint %s: not an http or https URL", Redact(e))
		}
		if u.User != nil || u.RawQuery != "" {
			return nil, fmt.Errorf("S3 endpoint %s: must hold neither credentials nor a query", Redact(e))
		}
		c.endpoint = e
		c.o.UsePathStyle = !strings.Contains(u.Host, "amazonaws.com")
	}
	c.o.UsePathStyle = c.o.UsePathStyle || o.PathStyle
	c.http = &http.Client{Transport: o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect is S3 telling the region: the request must be signed anew
	}}
	if c.wireless = o.Transport != nil; !c.wireless {
		c.http.Transport = transport(cfg.HTTPClient, strings.HasPrefix(c.endpoint, "http://"))
	}
	return c, nil
}

// transport keeps the certificates that the chain found (AWS_CA_BUNDLE).
func transport(client aws.HTTPClient, plain bool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if b, ok := client.(*awshttp.BuildableClient); ok {
		t = b.GetTransport()
	}
	t.DialContext = dialWire(&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}, plain)
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
	t.DisableCompression = true // what is stored compressed arrives compressed
	t.ReadBufferSize, t.WriteBufferSize = 32<<10, 64<<10
	// HTTP/2 would put all transfers on one connection.
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	return t
}

// S3 is one bucket.
type S3 struct {
	c    *s3Client
	name string

	soonest atomic.Int64 // nanoseconds to the soonest answer so far; 0: none yet

	mu     sync.Mutex
	region string // "": the client's; learnt from the service's answers
	at     *place
}

var _ Store = (*S3)(nil)

// place is where requests for a bucket go, and for which region they are signed.
type place struct {
	url    url.URL // without a trailing slash in its path
	region string
	// unsigned: bodies need no hash, since TLS or the loopback keeps them as they are.
	unsigned bool
}

func (c *s3Client) bucket(name, region string) *S3 { return &S3{c: c, name: name, region: region} }

func (s *S3) URI(key string) string { return "s3://" + s.name + "/" + key }

// place resolves the bucket's endpoint, once for each region that it turns out to be in.
func (s *S3) place(ctx context.Context) (*place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != nil {
		return s.at, nil
	}
	if strings.HasSuffix(s.name, "--x-s3") {
		return nil, errors.New("directory buckets (S3 Express One Zone) are not supported")
	}
	region := s.region
	if region == "" {
		region = s.c.o.Region
	}
	o := s.c.o
	ep, err := o.EndpointResolverV2.ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &s.name, Region: &region, Endpoint: o.BaseEndpoint, ForcePathStyle: &o.UsePathStyle,
		UseFIPS:                        aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack:                   aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		Accelerate:                     aws.Bool(o.UseAccelerate),
		UseGlobalEndpoint:              aws.Bool(false),
		DisableMultiRegionAccessPoints: aws.Bool(o.DisableMultiRegionAccessPoints),
		UseArnRegion:                   aws.Bool(o.UseARNRegion),
	})
	if err != nil {
		return nil, fmt.Errorf("resolve S3 endpoint: %w", err)
	}
	p := &place{url: ep.URI, region: region, unsigned: ep.URI.Scheme == "https" || loopback(ep.URI.Hostname())}
	p.url.Path = strings.TrimSuffix(p.url.Path, "/")
	if auth, ok := smithyauth.GetAuthOptions(&ep.Properties); ok && len(auth) > 0 {
		if r, ok := smithyhttp.GetSigV4SigningRegion(&auth[0].SignerProperties); ok {
			p.region = r
		}
	}
	s.at = p
	return p, nil
}

// moved notes that the service says the bucket is elsewhere than where a request went, and says whether that is news.
func (s *S3) moved(from *place, region string) bool {
	if region == "" || region == from.region {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region != region {
		s.region, s.at = region, nil
	}
	return true
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
