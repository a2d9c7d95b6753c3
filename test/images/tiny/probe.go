package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// reached is what came of one network target.
type reached struct {
	Target string `json:"target"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what answered, or the error
	Millis int64  `json:"millis"`
}

// aliases are the addresses that isolation must close (training 6.5).
var aliases = map[string]string{
	"metadata":    "tcp:169.254.169.254:80",
	"credentials": "tcp:169.254.170.2:80",
}

// probeAll tries all targets at the same time; the results keep the order.
func probeAll(o options) []reached {
	targets := strings.Fields(o.text("probe", ""))
	results := make([]reached, len(targets))
	timeout, retry := o.duration("probe_timeout", time.Second), o.duration("probe_retry", 0)
	var wg sync.WaitGroup
	for i, target := range targets {
		wg.Go(func() {
			begun := time.Now()
			for {
				detail, err := probe(target, timeout)
				results[i] = reached{Target: target, OK: err == nil, Detail: detail, Millis: time.Since(begun).Milliseconds()}
				if err == nil {
					return
				}
				results[i].Detail = err.Error()
				if time.Since(begun) >= retry {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return results
}

func probe(target string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if a, ok := aliases[target]; ok {
		target = a
	}
	if strings.HasPrefix(target, "http://") {
		return probeHTTP(ctx, target)
	}
	kind, addr, _ := strings.Cut(target, ":")
	switch kind {
	case "sdk":
		return askCredentials(ctx, addr)
	case "tcp", "udp":
		addr, err := withGateway(addr)
		if err != nil {
			return "", err
		}
		c, err := new(net.Dialer).DialContext(ctx, kind, addr)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if kind == "tcp" {
			return "connected to " + c.RemoteAddr().String(), nil
		}
		// A datagram is sent whatever listens; only an answer shows that the target was reached.
		deadline, _ := ctx.Deadline()
		_ = c.SetDeadline(deadline)
		if _, err := c.Write([]byte("tiny\n")); err != nil {
			return "", err
		}
		answer := make([]byte, 256)
		n, err := c.Read(answer)
		return string(answer[:n]), err
	case "dns":
		name, server, own := strings.Cut(addr, "@")
		r := &net.Resolver{PreferGo: true}
		if own {
			server, err := withGateway(server)
			if err != nil {
				return "", err
			}
			r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server)
			}
		}
		addrs, err := r.LookupHost(ctx, name)
		return strings.Join(addrs, " "), err
	}
	return "", fmt.Errorf("unknown kind of target %q", target)
}

// askCredentials asks the container credentials endpoint as an SDK does, or in a way that it must refuse.
func askCredentials(ctx context.Context, how string) (string, error) {
	const variable = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	path, token := os.Getenv(variable), os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if path == "" {
		return "", fmt.Errorf("%s is not set", variable)
	}
	switch how {
	case "credentials":
	case "no-token":
		token = ""
	case "wrong-token":
		token = "x" + token[1:]
	case "wrong-path":
		path += "x"
	default:
		return "", fmt.Errorf("unknown way to ask %q", how)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://169.254.170.2"+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	return answer(req)
}

func probeHTTP(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return answer(req)
}

func answer(req *http.Request) (string, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	return fmt.Sprintf("%s %q", resp.Status, body), err
}

// withGateway replaces the host `gateway` by the first address of our own network: the bridge's address, which a
// container without a route could still reach directly.
func withGateway(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host != "gateway" {
		return addr, err
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			first := n.IP.Mask(n.Mask).To4()
			first[3]++
			return net.JoinHostPort(first.String(), port), nil
		}
	}
	return "", fmt.Errorf("no network but loopback")
}

// listen answers every connection with one line, for the peers of a job.
func listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "tiny\n")
			_ = c.Close()
		}
	}()
	return nil
}
