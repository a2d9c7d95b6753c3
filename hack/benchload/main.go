// benchload measures how fast optml's load generator drives a server, against wrk on the same server in turn. The server
// is a process of its own on the loopback; each side keeps so many requests open for two seconds.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/load"
	"github.com/optml/optml/transform"
)

// amount of requests is what the times are of: each side runs for a time, and makes others.
const amount = 100_000

type bench struct {
	dir     string
	optml   string
	seconds float64
}

func main() {
	b := &bench{}
	flag.Float64Var(&b.seconds, "seconds", 2, "of a run")
	flag.StringVar(&b.optml, "optml", "build/optml", "the `binary` whose bench serve is held against a container with known latencies")
	measure.Program[*bench]{
		Usage: "benchload [-n RUNS] [-rows REGEXP]: the load generator against wrk on the same server, in turn, and what bench serve says against what is known",
		Rows:  rows, Runs: 10, Roles: map[string]func(string) error{"serve": serve},
		Prepare: func(b *bench) (err error) {
			b.dir, err = os.MkdirTemp("", "optml-bench-")
			return err
		},
		End: func(b *bench) { os.RemoveAll(b.dir) },
	}.Main(b)
}

var body = bytes.Repeat([]byte("0123456,"), 128)

// rows are the servers and how many requests are open. The server of Go's library takes most of the time itself; the lean
// one leaves it to who asks.
var rows = []measure.Row[*bench]{
	row("http-1", "Go's net/http, one request at a time", 1),
	row("http-4", "Go's net/http, four requests at a time", 4),
	row("http-16", "Go's net/http, 16 requests at a time", 16),
	row("http-64", "Go's net/http, 64 requests at a time", 64),
	row("lean-1", "a server that reads a length and no more, one request at a time", 1),
	row("lean-4", "a server that reads a length and no more, four requests at a time", 4),
	row("lean-16", "a server that reads a length and no more, 16 requests at a time", 16),
	open("open-http", "Go's net/http, the highest rate that an open loop holds against what wrk gets with 16 at a time"),
	open("open-lean", "a server that reads a length and no more, the highest rate that an open loop holds against what wrk gets with 16 at a time"),
	accuracy("known", "a container with a known distribution of latencies", false),
	accuracy("known-stall", "the same that answers nothing for a second", true),
}

// openConcurrent is how many requests wrk keeps open where ours has a rate.
const openConcurrent = 16

// openSteps are the parts of what wrk gets that are tried as a rate, until one is held.
var openSteps = []float64{1.1, 1.05, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5}

func open(name, says string) measure.Row[*bench] {
	r := row(name, says, openConcurrent)
	_, kind, _ := strings.Cut(name, "-")
	r.Ready = func(b *bench) (*measure.Contest, error) {
		s, err := measure.Serve(kind)
		if err != nil {
			return nil, err
		}
		peers := []measure.Side{b.peer(s.URL, openConcurrent, 1), b.peer(s.URL, openConcurrent, 2)}
		most := 0.0
		for _, p := range peers {
			if p.Missing != nil {
				continue
			}
			x, err := p.Run(false)
			if err != nil {
				s.Close()
				return nil, err
			}
			most = max(most, amount/x.Took[0].Seconds())
		}
		if most == 0 {
			most = 50_000
		}
		ours := measure.Side{Name: "optml's load", Run: func(bool) (measure.Sample, error) {
			for _, part := range openSteps {
				r, err := b.load(s.URL, load.Options{Arrivals: load.Constant(most * part)})
				if err != nil {
					return measure.Sample{}, err
				}
				if r.Held {
					return sample(time.Duration(r.Seconds*1e9), time.Duration(r.OwnCPU*1e9), int64(r.Throughput*r.Seconds))
				}
			}
			return measure.Sample{}, fmt.Errorf("holds not even half of wrk's %.0f/s", most)
		}}
		return &measure.Contest{Sides: append([]measure.Side{ours}, peers...), Close: s.Close}, nil
	}
	return r
}

func row(name, says string, concurrent int) measure.Row[*bench] {
	return measure.Row[*bench]{
		Name: name, Says: says + ", bodies of 1 KiB", Instants: []string{"100,000 requests"}, Unit: "requests/s",
		Amount: func(*bench) float64 { return amount },
		Ready: func(b *bench) (*measure.Contest, error) {
			kind, _, _ := strings.Cut(name, "-")
			s, err := measure.Serve(kind)
			if err != nil {
				return nil, err
			}
			sides := []measure.Side{b.ours(s.URL, concurrent), b.peer(s.URL, concurrent, 1)}
			if concurrent > 1 {
				sides = append(sides, b.peer(s.URL, concurrent, 2))
			}
			return &measure.Contest{Sides: sides, Close: s.Close}, nil
		},
	}
}

// sample is what a side that made requests took for the amount.
func sample(took, cpu time.Duration, requests int64) (measure.Sample, error) {
	if requests < 100 {
		return measure.Sample{}, fmt.Errorf("%d requests", requests)
	}
	part := amount / float64(requests)
	return measure.Sample{Took: []time.Duration{time.Duration(float64(took) * part)}, CPU: time.Duration(float64(cpu) * part)}, nil
}

// load puts a load on a server for the time of a run.
func (b *bench) load(at string, o load.Options) (*load.Result, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	o.Payloads, o.Duration = [][]byte{body}, time.Duration(b.seconds*float64(time.Second))
	target := load.Target{ContentType: "text/csv", Accept: "text/csv",
		Container: transform.Container{Addr: u.Host, Dial: new(net.Dialer).DialContext}}
	r, err := load.Run(context.Background(), target, o)
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d failed: %v", r.Failed, r.Errors)
	}
	return r, err
}

func (b *bench) ours(at string, concurrent int) measure.Side {
	return measure.Side{Name: "optml's load", Run: func(bool) (measure.Sample, error) {
		r, err := b.load(at, load.Options{Concurrency: concurrent})
		if err != nil {
			return measure.Sample{}, err
		}
		return sample(time.Duration(r.Seconds*1e9), time.Duration(r.OwnCPU*1e9), int64(r.Throughput*r.Seconds))
	}}
}

var wrkTold = regexp.MustCompile(`(\d+) requests in ([\d.]+)s`)

// peer is wrk on so many threads.
func (b *bench) peer(at string, concurrent, threads int) measure.Side {
	path, err := measure.Find("", "wrk")
	return measure.Side{Name: fmt.Sprintf("wrk -t %d", threads), Missing: err, Target: 0.8, Best: true, Run: func(bool) (out measure.Sample, err error) {
		lua := filepath.Join(b.dir, "post.lua")
		script := fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %q\nwrk.headers[\"Content-Type\"] = \"text/csv\"\nwrk.headers[\"Accept\"] = \"text/csv\"\n", body)
		if err := os.WriteFile(lua, []byte(script), 0o644); err != nil {
			return out, err
		}
		cmd := exec.Command(path, "-t", strconv.Itoa(threads), "-c", strconv.Itoa(concurrent), "-d", strconv.Itoa(max(1, int(b.seconds))), "-s", lua, at+"/invocations")
		text, err := cmd.CombinedOutput()
		m := wrkTold.FindSubmatch(text)
		if err != nil || m == nil || bytes.Contains(text, []byte("Socket errors")) || bytes.Contains(text, []byte("Non-2xx")) {
			return out, fmt.Errorf("wrk: %w\n%s", err, text)
		}
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		took, _ := strconv.ParseFloat(string(m[2]), 64)
		return sample(time.Duration(took*1e9), measure.CPU(cmd), n)
	}}
}

// serve is the server's process: it ends with its input.
func serve(kind string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if kind == "http" {
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "0.5\n")
		}))
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go lean(c)
	}
}

func lean(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for length := 0; ; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(text)))
		}
		if len(line) > 2 {
			continue
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0.5\n"); err != nil {
			return
		}
	}
}
