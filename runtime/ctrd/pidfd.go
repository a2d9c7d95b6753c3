package ctrd

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// pidfdDead waits for a process to be dead, at most for d.
func pidfdDead(fd int, d time.Duration) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(d); ; {
		n, err := unix.Poll(p, int(max(0, time.Until(deadline)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// pidfdInfo is the kernel's struct pidfd_info in its first version of 64 bytes.
type pidfdInfo struct {
	mask     uint64
	cgroup   uint64
	ids      [11]uint32
	exitCode int32 // as wait(2) gives it
}

// pidfdGetInfo is PIDFD_GET_INFO for that version: _IOWR(0xFF, 11, 64 bytes).
const pidfdGetInfo = 3<<30 | uint(unsafe.Sizeof(pidfdInfo{}))<<16 | 0xFF<<8 | 11

// pidfdExit asks the kernel how a process ended that has been reaped by its parent. Kernels before 6.15 do not tell.
func pidfdExit(fd int) (container.Exit, bool) {
	info := pidfdInfo{mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(pidfdGetInfo), uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&unix.PIDFD_INFO_EXIT == 0 {
		return container.Exit{}, false
	}
	e := container.Exit{At: time.Now()}
	if st := unix.WaitStatus(info.exitCode); st.Signaled() {
		e.Signal = int(st.Signal())
		e.Code = 128 + e.Signal
	} else {
		e.Code = st.ExitStatus()
	}
	return e, true
}
