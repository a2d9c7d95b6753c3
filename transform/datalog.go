package transform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/dataprocessing"
	"github.com/optml/optml/framing"
)

// dataLog writes what the service's agent writes, line for line (ST-19 to ST-23).
type dataLog struct {
	mu     sync.Mutex
	w      io.Writer
	bucket string
}

// maxLogged bounds what of one response goes into the data log.
const maxLogged = 16 << 10

// write puts lines that belong together into the log.
func (l *dataLog) write(lines ...string) {
	if l.w == nil {
		return
	}
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000") + ":[sagemaker logs]: "
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(stamp)
		b.WriteString(line)
		b.WriteByte('\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(b.Bytes()) // a log that cannot be written is no reason to fail
}

// settings is the first line (ST-20).
func (l *dataLog) settings(s Settings) {
	l.write(fmt.Sprintf("MaxConcurrentTransforms=%d, MaxPayloadInMB=%d, BatchStrategy=%s", s.MaxConcurrent, s.MaxPayloadMB, s.BatchStrategy))
}

// failure writes what one failed object looks like (BT-96, BT-106 to BT-108, ST-21, ST-22).
func (l *dataLog) failure(f *Failure, s Settings) {
	status, _ := errors.AsType[*StatusError](f.Err)
	long, _ := errors.AsType[*framing.TooLong](f.Err)
	path, _ := errors.AsType[*dataprocessing.PathError](f.Err)
	var message string
	head := "ClientError: 400"
	switch {
	case path != nil:
		head = path.Error() // BT-160
	case status != nil && f.Class == ClientError:
		head, message = fmt.Sprintf("ClientError: %d", status.Status), string(status.Body)
	case status != nil:
		head, message = fmt.Sprintf("Bad HTTP status received from algorithm: %d", status.Status), string(status.Body)
	case long != nil:
		what := fmt.Sprintf("Record %d", long.Record)
		if long.Format == wholeObject {
			what = "Object"
		}
		least := ""
		if long.AtLeast {
			least = "at least "
		}
		message = fmt.Sprintf("%s is %s%d bytes, larger than MaxPayloadInMB=%d (%d bytes)", what, least, long.Size, s.MaxPayloadMB, long.Max)
		if long.Format != wholeObject {
			message += fmt.Sprintf("\nat byte %d of the object", long.Offset)
		}
	case f.Class == ClientError:
		message = f.Err.Error()
	case f.Class == InternalError:
		head, message = "InternalServerError", f.Err.Error()
	case errors.Is(f.Err, ErrResponse):
		head, message = "Unable to get response from algorithm", f.Err.Error()
	default:
		head = "Unable to get response from algorithm"
	}
	object := l.bucket + "/" + f.Key + ": "
	lines := []string{object + head}
	if c, ok := errors.AsType[*ContainerError](f.Err); ok {
		lines = append(lines, object+"Container: "+c.Container) // ours: the service's line does not tell whose answer it was
	}
	if message != "" {
		if len(message) > maxLogged {
			message = message[:maxLogged]
		}
		lines = append(lines, object, object+"Message:")
		for line := range strings.Lines(message) {
			lines = append(lines, object+strings.TrimRight(line, "\r\n"))
		}
	} else if status != nil {
		lines = append(lines, object, object+"Message:")
	}
	l.write(lines...)
}
