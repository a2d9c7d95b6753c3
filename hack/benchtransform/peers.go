package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/optml/optml/hack/measure"
)

//go:embed peer.py
var peerSource []byte

// peer is a side that is a program in the network of a held container. amount is how many requests the row is about; a
// program that runs for a time makes others.
func (b *bench) peer(s measure.Side, h *held, amount int64, command func() (*exec.Cmd, error)) measure.Side {
	s.Run = func(check bool) (out measure.Sample, err error) {
		if _, err := b.ask(h, h.host, check); err != nil {
			return out, err
		}
		cmd, err := command()
		if err != nil {
			return out, err
		}
		_, out.CPU, out.Peak, err = measure.RunAll(nil, cmd)
		if err != nil {
			return out, err
		}
		a, err := b.ask(h, h.host, false)
		if err != nil {
			return out, err
		}
		if a.Requests < 2 {
			return out, fmt.Errorf("%d requests came", a.Requests)
		}
		out.Took = []time.Duration{time.Duration(float64(a.took()) * float64(amount) / float64(a.Requests))}
		out.CPU = time.Duration(float64(out.CPU) * float64(amount) / float64(a.Requests))
		if a.Requests == amount {
			out.Bytes, out.Sum, out.HasSum = a.Bytes, a.Sum, check
		}
		return out, nil
	}
	return s
}

// python is the loop with requests of Debian's Python over d, counted as if it had sent amount requests. trust is what
// requests does unless told otherwise.
func (b *bench) python(s measure.Side, h *held, d data, amount int64, concurrent int, trust bool) measure.Side {
	s.Name = "requests.Session"
	look := "1"
	if !trust {
		s.Name, look = s.Name+", trust_env False", "0"
	}
	if err := exec.Command("/usr/bin/python3", "-c", "import requests").Run(); err != nil {
		s.Missing = fmt.Errorf("python3-requests of Debian: %w", measure.ErrNotFound)
	}
	return b.peer(s, h, amount, func() (*exec.Cmd, error) {
		if err := d.make(b); err != nil {
			return nil, err
		}
		return h.command("/usr/bin/python3", b.File("peer.py"), "http://"+h.host+"/invocations", d.path(b), b.File("peer.out"), d.strategy(), strconv.Itoa(concurrent),
			strconv.Itoa(d.limit), look), nil
	})
}

// wrk sends one body again and again, for a time.
func (b *bench) wrk(s measure.Side, h *held, d data, threads, concurrent int) measure.Side {
	s.Name = fmt.Sprintf("wrk -t %d", threads)
	path, err := measure.Find("", "wrk")
	s.Missing = err
	return b.peer(s, h, d.requests, func() (*exec.Cmd, error) {
		script := fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %q\nwrk.headers[\"Content-Type\"] = \"text/csv\"\nwrk.headers[\"Accept\"] = \"text/csv\"\n", d.record(0))
		if err := os.WriteFile(b.File("post.lua"), []byte(script), 0o644); err != nil {
			return nil, err
		}
		return h.command(path, "-t", strconv.Itoa(threads), "-c", strconv.Itoa(concurrent), "-d", "2s", "-s", b.File("post.lua"), "http://"+h.host+"/invocations"), nil
	})
}

// rawPlan is the argument of the process that posts bodies.
type rawPlan struct {
	Host, File string
	Body       int // bytes of each; the last may be shorter
	Concurrent int
	Read       bool // each is read, and cut behind its last line, when it is posted; else all are prepared
}

// raw is what a Go program can do: nothing but writes of what lies in memory and reads of answers that need no parser.
// Where it reads, it does the same work as ours does: the object's payloads are made while they are sent.
func (b *bench) raw(s measure.Side, h *held, d data, concurrent int, reads bool) measure.Side {
	s.Name = "raw Go loop"
	if reads {
		s.Name += " that reads and cuts"
	}
	return b.peer(s, h, d.requests, func() (*exec.Cmd, error) {
		p, err := json.Marshal(rawPlan{h.host, d.path(b), d.body(), concurrent, reads})
		return h.command(b.self, "raw", string(p)), err
	})
}

// raw is that process.
func raw(arg string) error {
	var p rawPlan
	if err := json.Unmarshal([]byte(arg), &p); err != nil {
		return err
	}
	begin := p.prepared
	if p.Read {
		begin = p.reading
	}
	next, err := begin()
	if err != nil {
		return err
	}
	errs := make([]error, p.Concurrent)
	var wg sync.WaitGroup
	for i := range p.Concurrent {
		wg.Go(func() {
			errs[i] = func() error {
				c, err := net.Dial("tcp", p.Host)
				if err != nil {
					return err
				}
				defer c.Close()
				r := bufio.NewReader(c)
				for q := next(); q.head != nil; q = next() {
					if q.body == nil {
						_, err = c.Write(q.head)
					} else {
						bufs := net.Buffers{q.head, q.body}
						_, err = bufs.WriteTo(c)
					}
					if err == nil {
						err = readSmall(r)
					}
					if err != nil {
						return err
					}
					if q.done != nil {
						q.done()
					}
				}
				return nil
			}()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// post is a request; without a head it is the end.
type post struct {
	head, body []byte
	done       func()
}

func (p rawPlan) head(length int) []byte {
	return fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nAccept: text/csv\r\nContent-Type: text/csv\r\n\r\n", p.Host, length)
}

// prepared has all requests in memory.
func (p rawPlan) prepared() (func() post, error) {
	content, err := os.ReadFile(p.File)
	if err != nil {
		return nil, err
	}
	var requests []post
	for rest := content; len(rest) > 0; {
		body := rest[:min(p.Body, len(rest))]
		rest = rest[len(body):]
		head := p.head(len(body))
		if len(body) <= 64<<10 { // one write
			head, body = append(head, body...), nil
		}
		requests = append(requests, post{head: head, body: body})
	}
	var taken atomic.Int64
	return func() post {
		if n := taken.Add(1); n <= int64(len(requests)) {
			return requests[n-1]
		}
		return post{}
	}, nil
}

// reading reads them one ahead of those that are sent.
func (p rawPlan) reading() (func() post, error) {
	f, err := os.Open(p.File)
	if err != nil {
		return nil, err
	}
	free, ready := make(chan []byte, p.Concurrent+2), make(chan post)
	for range cap(free) {
		free <- make([]byte, p.Body)
	}
	go func() {
		defer close(ready)
		defer f.Close()
		b, have := <-free, 0
		for {
			n, err := io.ReadFull(f, b[have:])
			n += have
			cut := n
			if err == nil {
				cut = bytes.LastIndexByte(b[:n], '\n') + 1
			}
			if cut == 0 { // the end; what a long line lacks, the sum of the bytes tells
				return
			}
			this, next := b, <-free
			have = copy(next, b[cut:n])
			ready <- post{head: p.head(cut), body: this[:cut], done: func() { free <- this }}
			if err != nil {
				return
			}
			b = next
		}
	}()
	return func() post { return <-ready }, nil
}

// readSmall reads a response of the server.
func readSmall(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer %q", line)
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(text)); err != nil {
				return err
			}
		}
		if len(line) == 0 {
			break
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err := r.Discard(length)
	return err
}

// get prints what an address answers.
func get(url string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", strings.TrimSpace(r.Status))
	}
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}
