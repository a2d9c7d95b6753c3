package transform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/optml/optml/framing"
)

// Sampled is what Sample took.
type Sampled struct {
	Objects, Records int
	Bytes            int64
	Files            []string // one an object, decompressed
	Largest          int64    // bytes of the largest object of them; where there is a SplitType, of a record at least
	// Long is the size as stored, where it is known, of an object of which the last file is only the beginning; 0: it is
	// whole, -1: not known.
	Long int64
}

// maxSample bounds the objects of a sample: each is a file.
const maxSample = 10_000

// Sample writes the first objects of cfg into files in dir until they have limit bytes, decompressed. Where there is a
// SplitType an object is cut behind a whole record. Of cfg it looks at the input and at Objects.
func Sample(ctx context.Context, cfg Config, dir string, limit int64) (s Sampled, err error) {
	p := &pool{cfg: &cfg, stats: new(Stats)}
	p.format, p.split = framing.ByName(cfg.Job.Input.SplitType)
	for o, err := range cfg.Objects {
		if err != nil {
			return s, err
		}
		if o.Size == 0 {
			continue
		}
		name := filepath.Join(dir, fmt.Sprintf("%06d", len(s.Files)))
		if err := p.sample(ctx, o, name, limit-s.Bytes, &s); err != nil {
			return s, fmt.Errorf("%s: %w", o.Key, err)
		}
		s.Files = append(s.Files, name)
		if s.Objects++; s.Bytes >= limit || s.Objects == maxSample {
			break
		}
	}
	if s.Records == 0 {
		return s, ErrNoObjects
	}
	return s, nil
}

func (p *pool) sample(ctx context.Context, o Object, name string, limit int64, s *Sampled) error {
	r, err := p.source(ctx, &object{Object: o})
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if !p.split {
		n, err := io.Copy(f, io.LimitReader(r, maxPayload<<20+1))
		if n > maxPayload<<20 {
			err = fmt.Errorf("larger than %d MiB, which no request may have", maxPayload)
		}
		s.Bytes, s.Records, s.Largest = s.Bytes+n, s.Records+1, max(s.Largest, n)
		return errors.Join(err, f.Close())
	}
	st := framing.NewStream(p.format, r)
	for buf := make([]byte, min(1<<20, max(64<<10, limit))); limit > 0; {
		n, records, err := st.Fill(buf)
		if long, ok := errors.AsType[*framing.TooLong](err); ok && len(buf) < maxPayload<<20 {
			s.Largest = max(s.Largest, long.Frame)
			buf = make([]byte, 2*len(buf))
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		limit -= int64(n)
		s.Bytes, s.Records = s.Bytes+int64(n), s.Records+records
	}
	if limit <= 0 {
		if _, _, err := st.Fill(make([]byte, 64<<10)); err != io.EOF {
			s.Long = o.Size
		}
	}
	return f.Close()
}
