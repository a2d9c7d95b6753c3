package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/optml/optml/metrics"
)

// servePage serves a page of metrics at an address, for --metrics-listen; no address is no page. The URL is said once it
// answers. end stops it.
func servePage(addr string, say func(string, ...any)) (page *metrics.Page, end func(), err error) {
	if addr == "" {
		return nil, func() {}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		e := &usageError{Err: fmt.Errorf("--metrics-listen %s: %w", addr, err), Hint: "HOST:PORT, such as 127.0.0.1:9400; port 0 takes any that is free"}
		if op, ok := errors.AsType[*net.OpError](err); ok {
			e.Err = fmt.Errorf("--metrics-listen %s: %w", addr, op.Err)
		}
		return nil, nil, e
	}
	page = new(metrics.Page)
	// Whoever can reach the address is not trusted: nothing is read from them but a short header.
	srv := &http.Server{Handler: page, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	say("metrics at http://%s/metrics", l.Addr())
	return page, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		<-done
	}, nil
}
