package transform

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for what comes over many connections, from one goroutine.
type poller struct {
	epoll int
	bell  int // an eventfd: ends a wait
	timer int // a timerfd, where a wait ends in time to the microsecond; else -1, and it ends within two milliseconds

	now    time.Time     // of the last wait's end
	slept  time.Duration // how long nothing was there in it
	spins  bool
	events [64]unix.EpollEvent
}

const (
	// An answer that comes within spinTime is waited for without sleep: to be woken up takes as long on a machine whose
	// processors have nothing else to do. It is tried only where the last wait was so short.
	spinTime = 100 * time.Microsecond
	// nearTime is how long before a wait must end it is not worth to sleep.
	nearTime = 20 * time.Microsecond
)

func newPoller(precise bool) (p *poller, err error) {
	p = &poller{epoll: -1, bell: -1, timer: -1, now: time.Now()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	if precise {
		if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
			return nil, err
		}
		// By its edge: once over, it would else end each wait to come until it is read, or set again.
		if err = p.add(p.timer, unix.EPOLLIN|unix.EPOLLET); err != nil {
			return nil, err
		}
	}
	return p, p.watch(p.bell)
}

func (p *poller) close() {
	for _, fd := range []int{p.epoll, p.bell, p.timer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (p *poller) watch(fd int) error { return p.add(fd, unix.EPOLLIN) }

func (p *poller) add(fd int, events uint32) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// ring ends a wait. Others may call it.
func (p *poller) ring() {
	_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full: it rings already
}

// rung takes back what ring did.
func (p *poller) rung() {
	var b [8]byte
	_, _ = unix.Read(p.bell, b[:])
}

// wait returns what has come, which is valid until the next call. busy says that answers are due. patience says how long
// to wait at most; it is asked only if nothing is there yet.
func (p *poller) wait(busy bool, patience func(time.Time) time.Duration) []unix.EpollEvent {
	n, err := unix.EpollWait(p.epoll, p.events[:], 0)
	p.slept = 0
	if n == 0 && err == nil {
		start := time.Now()
		n, err = p.sleep(start, busy, patience)
		p.slept = p.now.Sub(start)
	} else {
		p.now = time.Now()
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		panic(fmt.Sprintf("epoll_wait: %v", err)) // of our own arguments
	}
	return p.events[:max(n, 0)]
}

func (p *poller) sleep(start time.Time, busy bool, patience func(time.Time) time.Duration) (n int, err error) {
	left := time.Duration(-1) // not asked for
	spin := time.Duration(0)
	if p.spins && busy {
		spin = spinTime
	}
	if p.timer >= 0 {
		if left = patience(start); left <= 0 {
			p.now = start
			return 0, nil
		} else if left <= nearTime || left < spin {
			spin = left
		}
	}
	if spin > 0 {
		now := start
		for n == 0 && err == nil && now.Sub(start) < spin {
			n, err = unix.EpollWait(p.epoll, p.events[:], 0)
			now = time.Now()
		}
		if n != 0 || err != nil || spin == left {
			p.now = now
			return n, err
		}
		if p.spins = false; left >= 0 {
			left -= now.Sub(start)
		}
		start = now
	}
	if p.timer < 0 {
		n, err = unix.EpollWait(p.epoll, p.events[:], int(max(0, patience(start).Milliseconds()+1)))
	} else {
		// Its first argument is a timer of ours, and it is set to a time.
		_ = unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, left.Nanoseconds()))}, nil)
		n, err = unix.EpollWait(p.epoll, p.events[:], -1)
	}
	p.now = time.Now()
	p.spins = busy && p.now.Sub(start) < spinTime && runtime.GOMAXPROCS(0) > 1
	return n, err
}

func write(fd int, b []byte) (int, error) {
	for {
		if n, err := unix.Write(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

func read(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

func wouldBlock(err error) bool { return err == unix.EAGAIN || err == unix.EINTR }
