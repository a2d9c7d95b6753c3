package transform_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// TestUnready: what looks the same in the service's sentence (ST-12) is told apart, with what to change.
func TestUnready(t *testing.T) {
	answer := func(code int, body string) transform.Container {
		return tt.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		})).Container
	}
	refusing := func(listening ...string) transform.Container {
		c := transform.Container{Addr: "10.213.0.2:8080", Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}}
		c.Listening = func(context.Context) (all []netip.AddrPort, err error) {
			for _, a := range listening {
				all = append(all, netip.MustParseAddrPort(a))
			}
			return all, nil
		}
		return c
	}
	unknown := refusing()
	unknown.Listening = func(context.Context) ([]netip.AddrPort, error) { return nil, errors.New("it is gone") }
	for _, c := range []struct {
		name         string
		c            transform.Container
		says, remedy string
	}{
		{"no route", answer(404, "<h1>Not Found</h1>"), "status 404: <h1>Not Found</h1>", "add one that answers 200"},
		{"its own fault", answer(500, "cannot unpickle\n model.pkl\x1b[0m"), "status 500: cannot unpickle model.pkl[0m", ""},
		{"a redirect", answer(302, ""), "status 302", "redirects are not followed"},
		{"another success", answer(204, ""), "status 204", "only 200 counts"},
		{"a long answer", answer(503, strings.Repeat("x", 5000)), "xxx…", ""},
		{"INF-50 the loopback", refusing("127.0.0.1:8080", "[::1]:8080"), "the container listens on 127.0.0.1:8080, [::1]:8080 only, and is asked at 10.213.0.2", "0.0.0.0, and not on the loopback"},
		{"INF-50 another port", refusing("0.0.0.0:8000"), "nothing listens on port 8080; the container listens on 0.0.0.0:8000", "listen on port 8080"},
		{"INF-60 too late", refusing("127.0.0.1:9000", "[::]:8080"), "by now the container listens on [::]:8080", "answer 200 sooner"},
		{"INF-60 too late on the one", refusing("10.213.0.2:8080"), "by now the container listens on 10.213.0.2:8080", "answer 200 sooner"},
		{"nothing", refusing(), "nothing in the container listens on any port", "start a web server on port 8080"},
		{"not known", unknown, "nothing listens on 10.213.0.2:8080", ""},
		{"no HTTP", tt.Raw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte("\x15\x03\x01\x00\x02\x02\x46"))
		}).Container, "does not speak plain HTTP/1", "without TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := transform.Ready(t.Context(), c.c, 50*time.Millisecond, 20*time.Millisecond)
			ping, ok := errors.AsType[*transform.PingError](err)
			if !ok || !errors.Is(err, transform.ErrPing) {
				t.Fatal(err)
			}
			if !strings.Contains(ping.Says, c.says) || !strings.Contains(ping.Remedy, c.remedy) || (ping.Remedy == "") != (c.remedy == "") || len(ping.Says) > 400 {
				t.Errorf("%q\n%q", ping.Says, ping.Remedy)
			}
		})
	}
}

// TestSilentPing: INF-61, a connection that is taken and not answered.
func TestSilentPing(t *testing.T) {
	bubble(t, &tt.Container{}, func(t *testing.T, in transform.Instance) {
		in.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				for _, err := there.Read(make([]byte, 1<<10)); err == nil; _, err = there.Read(make([]byte, 1<<10)) {
				}
			}()
			return here, nil
		}
		err := transform.Ready(t.Context(), in.Container, time.Minute, time.Second)
		if ping, ok := errors.AsType[*transform.PingError](err); !ok || ping.Says != "none within 2s, although it took the connection" || !strings.Contains(ping.Remedy, "INF-61") {
			t.Error(err)
		}
	})
}
