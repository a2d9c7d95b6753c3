package harness

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/optml/optml/transform"
)

// Served is a model's container that is ready, for Host.Drive.
type Served struct {
	transform.Container
	// Listen takes connections from inside the container's network.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	Ready  time.Duration // from the start of its process to the first 200 on /ping
}

// pingEvery is how often /ping is asked where the time until it answers is a figure. The service asks once a second.
const pingEvery = 20 * time.Millisecond

// load waits until the container is ready and leaves it to whoever drives it.
func (f *fleet) load(ctx context.Context) error {
	if f.run.host.Drive == nil {
		return errors.New("nobody is there to drive the container")
	}
	s := f.hosts[0][0]
	c := s.container()
	if err := transform.Ready(ctx, c, f.transform.PingWindow.Std(), pingEvery); err != nil {
		return err
	}
	err := f.run.host.Drive(ctx, Served{Container: c, Listen: s.task.Listen, Ready: time.Since(s.began)})
	if errors.Is(err, transform.ErrExited) && ctx.Err() == nil {
		return &transform.Error{Reason: "AlgorithmError: The model's container ended while it was serving", Err: err}
	}
	return err
}
