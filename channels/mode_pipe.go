package channels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

const (
	// DefaultWindow is what one Pipe or FastFile channel holds in memory: enough for a store that is 20 ms and a GB/s
	// away, with as much again for what has arrived.
	DefaultWindow = 96 << 20
	// inFlight is how many epochs a reader may have open at once; the next one's open waits for an earlier one to end.
	inFlight = 4
)

// pipe is Pipe mode: the bytes of one epoch after the other through named pipes <channel>_<epoch> (PIPE-1). There is no
// end of the epochs (PIPE-5): each begins when the reader opens its pipe.
//
// A pipe's writing end is closed in two places only: when its epoch was written whole, or its reader has closed it, and
// in Close, when the container is gone. So nothing that goes wrong looks like an end of data (ruling 8).
type pipe struct {
	ch  job.Channel
	c   Config
	dir *os.File
	set *dataset.Set

	counters
	readerWaits, weWait stopwatch
	main, side          chan struct{} // who may stream: in the wide window, or beside it

	mu     sync.Mutex
	live   map[int]*fifo // by epoch
	closed bool
	read   bool // the first epoch was opened
	note   string
}

func newPipe(ch job.Channel, c Config) (Delivery, error) {
	fail := func(format string, args ...any) (Delivery, error) {
		return nil, &dataset.Error{Channel: ch.Name, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case !slices.Contains([]string{"", "None", "Gzip"}, ch.Compression):
		return fail("CompressionType %q is none of None, Gzip", ch.Compression)
	case !slices.Contains([]string{"", "None", "RecordIO"}, ch.RecordWrapper):
		return fail("RecordWrapperType %q is none of None, RecordIO", ch.RecordWrapper)
	case ch.Source.Type == "FileSystem":
		return fail("a file system cannot be piped") // PIPE-13
	}
	if c.Window <= 0 {
		c.Window = DefaultWindow
	}
	return &pipe{ch: ch, c: c, live: map[int]*fifo{}, main: make(chan struct{}, 1), side: make(chan struct{}, 1)}, nil
}

// Prepare makes the first epoch's pipe: readers look for it once and take the channel for absent if it is not there
// (PIPE-2). From now on its reader is waited for.
func (p *pipe) Prepare(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return p.fail(err)
	}
	dir, err := os.Open(p.c.Dir)
	if err != nil {
		return p.fail(fmt.Errorf("open input directory: %w", err))
	}
	p.dir = dir
	f, err := p.make(0)
	if err != nil {
		return p.fail(err)
	}
	f.await()
	return nil
}

func (p *pipe) make(epoch int) (*fifo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, os.ErrClosed
	}
	f, err := newFifo(p.dir, p.ch.Name+"_"+strconv.Itoa(epoch))
	if err == nil {
		p.live[epoch], p.read = f, epoch > 0
	}
	return f, err
}

// Fill lists the source, so that an empty or forbidden one fails before the image runs, as it does on the service.
func (p *pipe) Fill(ctx context.Context) error {
	set, err := dataset.New(ctx, dataset.Config{
		Channel: p.ch.Name, Source: p.ch.Source, Opener: p.c.Opener, Seed: p.ch.ShuffleSeed, TempDir: p.c.TempDir,
		Rank: p.c.Rank, Hosts: p.c.Hosts, Region: p.c.Region, RoleARN: p.c.RoleARN,
	})
	if err != nil {
		return err
	}
	p.set = set
	for _, err := range set.Epoch(ctx, 0) {
		return err
	}
	return nil // SHARD-3: a host without data
}

// Serve streams each epoch whose pipe is opened. A reader may open the next before the last has ended (in another
// thread), so epochs run side by side.
func (p *pipe) Serve(ctx context.Context) error {
	if p.set == nil {
		return p.fail(errors.New("the source was not listed"))
	}
	p.mu.Lock()
	f := p.live[0]
	p.mu.Unlock()
	g, gctx := errgroup.WithContext(ctx)
	slots, broken := make(chan struct{}, inFlight), make(chan error, 1)
	g.Go(func() error {
		for epoch := 0; ; epoch++ {
			select {
			case slots <- struct{}{}:
			case <-gctx.Done():
				return nil
			}
			f.await()
			select {
			case <-f.opened:
			case <-gctx.Done():
				return nil
			}
			if f.err != nil {
				return p.fail(f.err)
			}
			next, err := p.make(epoch + 1) // before a byte of this one is sent, let alone its end (PIPE-3)
			if err != nil {
				return p.fail(err)
			}
			this := f
			g.Go(func() error {
				defer func() { <-slots }()
				err := p.epoch(gctx, epoch, this)
				if err != nil && gctx.Err() == nil {
					select {
					case broken <- err:
					default: // the first will do
					}
				}
				return err
			})
			f = next
		}
	})
	err := g.Wait()
	if ctx.Err() == nil {
		return err
	}
	select { // the container has ended; what was under way is of no use to anyone
	case err := <-broken: // but this came before
		return err
	default:
		return nil
	}
}

// epoch streams one epoch, ends its pipe, and leaves it open if that fails.
func (p *pipe) epoch(ctx context.Context, epoch int, f *fifo) error {
	w, err := newFifoWriter(ctx, f.out, &p.bytes, &p.weWait, &p.readerWaits)
	if err != nil {
		return p.fail(err)
	}
	err = p.stream(ctx, epoch, w)
	w.release()
	switch {
	case errors.Is(err, errReaderGone):
		p.closedEarly(epoch, w.n)
	case err != nil:
		return p.fail(err)
	}
	p.epochs.Add(1)
	p.mu.Lock()
	delete(p.live, epoch)
	p.mu.Unlock()
	if err := f.end(); err != nil {
		return p.fail(err)
	}
	return nil
}

func (p *pipe) closedEarly(epoch int, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = fmt.Sprintf("closed early at byte %d", at) // report and describe show the last one
	if epoch > 0 {
		p.note += fmt.Sprintf(" of epoch %d", epoch)
	}
}

// window takes the wide window, or the narrow one where another epoch has that.
func (p *pipe) window(ctx context.Context) (size int64, done func(), err error) {
	wide := p.c.Window / 4 * 3
	select {
	case p.main <- struct{}{}:
		return wide, func() { <-p.main }, nil
	default:
	}
	select {
	case p.main <- struct{}{}:
		return wide, func() { <-p.main }, nil
	case p.side <- struct{}{}:
		return p.c.Window - wide, func() { <-p.side }, nil
	case <-ctx.Done():
		return 0, nil, context.Cause(ctx)
	}
}

// stream writes an epoch's bytes: the objects one behind the other, with nothing between them (PIPE-9).
func (p *pipe) stream(ctx context.Context, epoch int, w *fifoWriter) error {
	window, done, err := p.window(ctx)
	if err != nil {
		return err
	}
	defer done()
	s := dataset.NewStream(ctx, p.set.Epoch(ctx, epoch), dataset.StreamOptions{
		Channel: p.ch.Name, Window: window, Chunk: int(min(max(window/8, 64<<10), 4<<20)), Workers: p.c.Workers, Gunzip: p.ch.Compression == "Gzip", Splice: true,
	})
	defer s.Close()
	write := func(piece dataset.Piece) error { return send(w, piece) }
	if p.ch.RecordWrapper == "RecordIO" {
		r := &records{w: w, tempDir: p.c.TempDir}
		defer r.close()
		write = r.add
	}
	for {
		piece, err := p.next(s, w)
		if err == io.EOF {
			return w.Flush()
		} else if err != nil {
			return err
		}
		if err := write(piece); err != nil {
			if errors.Is(err, errReaderGone) || ctx.Err() != nil {
				return err
			}
			return &dataset.Error{Channel: p.ch.Name, Object: piece.Entry.URI(), Err: err}
		}
		if piece.Last && piece.Entry.Store != nil {
			p.objects.Add(1)
		}
	}
}

// next is the next piece. If it is not there yet, the reader gets what was gathered; it waits for us if it has read all
// of that before the piece comes.
func (p *pipe) next(s *dataset.Stream, w *fifoWriter) (dataset.Piece, error) {
	if s.Ready() {
		return s.Next()
	}
	if err := w.Flush(); err != nil {
		return dataset.Piece{}, err
	}
	p.readerWaits.begin()
	piece, err := s.Next()
	p.readerWaits.end(w.empty())
	return piece, err
}

func (p *pipe) fail(err error) error {
	if _, ok := errors.AsType[*dataset.Error](err); ok {
		return err
	}
	return &dataset.Error{Channel: p.ch.Name, Err: err}
}

// Close removes the pipes. The container must have ended: to a reader it looks like the end of data.
func (p *pipe) Close() error {
	p.mu.Lock()
	live := p.live
	p.live, p.closed = nil, true
	p.mu.Unlock()
	var errs []error
	for _, f := range live {
		errs = append(errs, f.end())
	}
	if p.set != nil {
		errs = append(errs, p.set.Close())
		p.set = nil
	}
	if p.dir != nil {
		errs = append(errs, p.dir.Close())
		p.dir = nil
	}
	if err := errors.Join(errs...); err != nil {
		return p.fail(err)
	}
	return nil
}

func (p *pipe) Stats() Stats {
	s := p.stats(p.ch.Name, "Pipe")
	s.ReaderWaited, s.WeWaited = int64(p.readerWaits.read()), int64(p.weWait.read())
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Note = p.note
	if s.Note == "" && !p.read {
		s.Note = "never opened"
	}
	return s
}
