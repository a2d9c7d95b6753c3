package transform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stream carries a whole object in one request and its response into the output, neither of them held (BT-97).
func (w *worker) stream(it *item) (err error) {
	p, o := w.p, it.obj
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	r, err := p.source(ctx, o)
	if err != nil {
		return err
	}
	defer r.Close()
	var first [1]byte
	switch _, err := io.ReadFull(r, first[:]); err {
	case nil:
	case io.EOF:
		return nil // no byte, no invocation (BT-35)
	default:
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	p.stats.Requests.Add(1)
	p.stats.InFlight.Add(1)
	defer p.stats.InFlight.Add(-1)
	w.saw = seen{began: time.Now()}
	deadline := w.saw.began.Add(p.cfg.Job.InvocationTimeout.Std())
	if w.c != nil { // it could not be repeated if the connection turned out to be dead
		p.close(w.c)
		w.c = nil
	}
	if spare := p.takeSpare(); spare != nil {
		p.close(spare)
	}
	c, err := w.connect(deadline)
	if err != nil {
		return timeout(err)
	}
	c.start(deadline)
	in := &countReader{r: io.MultiReader(bytes.NewReader(first[:]), r)}
	sent, _ := c.send(p.post, payload{chunked: true, stream: in})
	var out Writer
	var n int64
	status, rerr := c.readHead()
	if rerr == nil {
		w.saw.status, w.saw.head = status, c.said
	}
	switch {
	case rerr != nil:
	case !p.good(status):
		rerr = &StatusError{status, errorBody(c)}
	default:
		rerr = w.passOn(c, deadline, func(c *conn) (err error) {
			out, n, err = p.streamOut(ctx, c, o)
			return err
		})
		w.saw.received = n
	}
	_, refused := errors.AsType[*StatusError](rerr)
	if rerr != nil && !refused {
		cancel() // its reading ends too
		c.nc.Close()
	}
	werr := c.join(sent, rerr != nil)
	if source, ok := errors.AsType[*sourceError](werr); ok && !errors.Is(source.err, context.Canceled) {
		rerr = fmt.Errorf("%w: %w", ErrInput, source.err)
	}
	if werr != nil {
		c.finish = true
	}
	w.saw.took, w.saw.sent = time.Since(w.saw.began), in.n
	if rerr != nil {
		w.saw.useless(body{}, rerr)
	}
	w.keep(c, rerr)
	if rerr != nil {
		if out != nil {
			out.Abort()
		}
		return timeout(rerr)
	}
	o.w = out
	p.stats.Records.Add(1)
	p.stats.BytesIn.Add(in.n)
	p.stats.BytesOut.Add(n)
	return nil
}

// streamOut writes a response into a new output as it comes.
func (p *pool) streamOut(ctx context.Context, c *conn, o *object) (out Writer, n int64, err error) {
	out, err = p.cfg.Create(ctx, o.name, p.contentType)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: create: %w", ErrOutput, err)
	}
	buf := make([]byte, outputBuffer)
	last := byte(0)
	for {
		m, err := io.ReadFull(c, buf)
		if m > 0 {
			if n += int64(m); p.maxResponse > 0 && n > p.maxResponse {
				return out, n, p.tooLarge(n)
			}
			last = buf[m-1]
			over := c.ours()
			_, err := out.Write(buf[:m])
			over()
			if err != nil {
				return out, n, fmt.Errorf("%w: write: %w", ErrOutput, err)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && c.kind == bodyNone {
			break
		}
		if err != nil {
			return out, n, err
		}
	}
	if p.line && !(p.cfg.OneNewline && last == '\n') {
		if _, err := out.Write([]byte{'\n'}); err != nil {
			return out, n, fmt.Errorf("%w: write: %w", ErrOutput, err)
		}
	}
	return out, n, nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
