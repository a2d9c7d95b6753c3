package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// console is a stream that can be let go of: when the terminal is gone (SIGHUP), the job goes on and what it would say
// goes nowhere (D11). Write never fails, so that a reader that has left cannot end a job.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	term bool
	wide int // columns of the terminal
}

func newConsole(w io.Writer) *console {
	c := &console{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		c.term = true
		if c.wide, _, _ = term.GetSize(int(f.Fd())); c.wide <= 0 {
			c.wide = 80
		}
	}
	return c
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil {
		return len(b), nil
	}
	if _, err := c.w.Write(b); err != nil {
		c.w = nil // the reader is gone
	}
	return len(b), nil
}

// detach lets go of the stream.
func (c *console) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = nil
}

// dim makes text less prominent where that can be seen (https://no-color.org).
func (c *console) dim(s string) string {
	if !c.term || os.Getenv("NO_COLOR") != "" {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}
