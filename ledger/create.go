package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/optml/optml/job"
	"golang.org/x/sys/unix"
)

// Request is what a job is made of.
type Request struct {
	Kind job.Kind // "": the plan's
	Name string   // "": the plan's
	// Documents are kept byte for byte under their names in request/. The document of the plan's operation is found by
	// its name, <Operation>.json (CreateTrainingJob.json); Describe echoes its members.
	Documents map[string][]byte
	Options   any // encoded to options.json; job.Options
	Plan      *job.Plan
	Replace   bool // take the place of a finished job with this name
	// UID and GID own the job's directories, and the group of the files in them, so that the user who called sudo can read
	// the record and remove it; 0 and 0: root.
	UID, GID int
}

// Names of directories under way begin with a dot, so that they are never taken for jobs.
const (
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// validName allows what SageMaker allows and the suffix of a validation's run; it keeps names from being paths.
func validName(s string) bool { return len(s) <= maxName && nameRE.MatchString(s) }

func validDocument(s string) bool { return len(s) <= maxName && docRE.MatchString(s) }

const maxName = 128 // not in the expressions, which would be compiled to as many steps at each start

var (
	nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	docRE  = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)
)

// Create makes a job under root and returns its owner. The directory is made under another name, locked there and
// renamed, so nobody ever sees a job that is half made or that nobody owns. *InUseError when the name is taken.
func Create(root string, r Request) (*Owner, error) {
	if err := r.complete(); err != nil {
		return nil, err
	}
	parent := filepath.Join(root, string(r.Kind))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("create job %s: %w", r.Name, err)
	}
	if !r.Replace { // the cheap answer; the rename is the one that counts
		if taken, err := Open(filepath.Join(parent, r.Name)); err == nil {
			return nil, taken.inUse()
		}
	}
	o, err := r.create(parent)
	if err != nil && !errors.Is(err, ErrInUse) {
		err = fmt.Errorf("create job %s: %w", r.Name, err)
	}
	return o, err
}

func (r *Request) complete() error {
	if r.Plan == nil {
		return errors.New("create job: no plan")
	}
	if r.Kind == "" {
		r.Kind = r.Plan.Kind
	}
	if r.Name == "" {
		r.Name = r.Plan.Name
	}
	if r.Kind != r.Plan.Kind || r.Name != r.Plan.Name {
		return fmt.Errorf("create job: the plan is of %s/%s, not of %s/%s", r.Plan.Kind, r.Plan.Name, r.Kind, r.Name)
	}
	if !knownKind(r.Kind) {
		return fmt.Errorf("create job: kind %q is not known", r.Kind)
	}
	if !validName(r.Name) {
		return fmt.Errorf("create job: name %q: letters, digits, dots, hyphens and underscores only, at most 128, a letter or digit first", r.Name)
	}
	for name := range r.Documents {
		if !validDocument(name) {
			return fmt.Errorf("create job: document name %q: letters, digits, dots, hyphens and underscores only, at most 128", name)
		}
	}
	return nil
}

func (r *Request) create(parent string) (o *Owner, err error) {
	making, err := holdMaking(parent)
	if err != nil {
		return nil, err
	}
	defer making.Close()
	temp, err := os.MkdirTemp(parent, newPrefix+"*")
	if err != nil {
		return nil, err
	}
	l := layout(temp)
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	if err := errors.Join(os.Chmod(temp, dirMode), r.give(temp), r.fill(l)); err != nil {
		return nil, err
	}
	lock, _, err := takeLock(l.LockPath())
	if err != nil {
		return nil, err
	}
	final := filepath.Join(parent, r.Name)
	old, err := r.install(temp, final)
	if err != nil {
		lock.Close()
		return nil, err
	}
	// From here on the job exists. Its files are on the disk; the directory's new name is with the next event's sync.
	o, err = own(&Job{layout: layout(final), plan: r.Plan}, lock)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(final))
	}
	if old != nil {
		if rerr := errors.Join(removeTree(old.Dir()), old.lock.Close()); rerr != nil {
			// The new job stands; what is left of the old one goes with the next sweep.
			_ = o.Append(Warning{Text: "the replaced job could not be removed whole: " + rerr.Error()})
		}
	}
	return o, nil
}

// fill writes everything but the lock, synced: after a power failure a job is whole or not there.
func (r *Request) fill(l layout) error {
	for _, d := range []string{requestDir, logsDir, workDir} {
		if err := os.Mkdir(l.path(d), dirMode); err != nil {
			return err
		}
		own := r.give
		if d == workDir { // its files are seen by containers, as root's
			own = r.keep
		}
		if err := own(l.path(d)); err != nil {
			return err
		}
	}
	// A job whose end could not be recorded would stay InProgress.
	if err := makeReserve(l.path(reserveFile)); err != nil {
		return err
	}
	plan, err := json.MarshalIndent(r.Plan, "", "  ")
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	files := map[string][]byte{planFile: plan, eventsFile: nil}
	if r.Options != nil {
		if files[optionsFile], err = json.MarshalIndent(r.Options, "", "  "); err != nil {
			return fmt.Errorf("encode options: %w", err)
		}
	}
	for name, b := range r.Documents {
		files[filepath.Join(requestDir, name)] = b
	}
	// Synced side by side, so that the file system commits them together.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for name, b := range maps.All(files) {
		wg.Go(func() {
			if err := writeSynced(l.path(name), b); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// give makes a directory the user's. What is made in it later is of the user's group.
func (r *Request) give(dir string) error {
	if !r.given() {
		return nil
	}
	return errors.Join(os.Lchown(dir, r.UID, r.GID), os.Chmod(dir, dirMode|os.ModeSetgid))
}

// keep makes a directory root's that lies in one of the user's.
func (r *Request) keep(dir string) error {
	if !r.given() {
		return nil
	}
	return errors.Join(os.Lchown(dir, 0, 0), os.Chmod(dir, dirMode))
}

// given says whether the job is somebody else's than ours. Only root can give it away.
func (r *Request) given() bool { return (r.UID != 0 || r.GID != 0) && os.Geteuid() == 0 }

// User owns the job's directory: whoever called sudo, or root.
func (l layout) User() (uid, gid int) {
	var st unix.Stat_t
	if unix.Lstat(l.Dir(), &st) != nil {
		return 0, 0
	}
	return int(st.Uid), int(st.Gid)
}

// GiveWork makes the scratch directory the user's, who is to find there what could not be uploaded.
func (o *Owner) GiveWork() error {
	r := &Request{}
	r.UID, r.GID = o.User()
	return r.give(o.WorkDir())
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && len(b) > 0 {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// replaced is a finished job whose place was taken; it lies under a name of its own, locked.
type replaced struct {
	layout
	lock *os.File
}

// install gives temp its final name. With Replace a finished job that has the name is swapped out in the same instant
// and returned.
func (r *Request) install(temp, final string) (*replaced, error) {
	for range 10 { // each time round another process was quicker to make or remove the job
		err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, final, unix.RENAME_NOREPLACE)
		if err == nil {
			return nil, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return nil, &os.LinkError{Op: "rename", Old: temp, New: final, Err: err}
		}
		taken, err := Open(final)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !r.Replace {
			return nil, taken.inUse()
		}
		lock, _, err := takeLock(taken.LockPath())
		if errors.Is(err, ErrOwned) {
			return nil, taken.inUse()
		}
		if err != nil {
			return nil, err
		}
		s, err := taken.State()
		if err == nil && !s.Final {
			err = taken.inUse()
		}
		if err == nil {
			err = s.OnlyCopy()
		}
		if err == nil && !sameFile(lock, taken.LockPath()) { // replaced or removed since we opened it
			lock.Close()
			continue
		}
		if err == nil {
			err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, final, unix.RENAME_EXCHANGE)
		}
		if err != nil {
			lock.Close()
			return nil, err
		}
		old := filepath.Join(filepath.Dir(temp), oldPrefix+strings.TrimPrefix(filepath.Base(temp), newPrefix))
		if os.Rename(temp, old) != nil {
			old = temp
		}
		return &replaced{layout(old), lock}, nil
	}
	return nil, fmt.Errorf("%s: other processes keep making and removing it", final)
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// inUse describes the job that has a name.
func (j *Job) inUse() *InUseError {
	s, err := j.State()
	owned, oerr := j.Owned()
	return &InUseError{
		Kind: j.plan.Kind, Name: j.plan.Name, ARN: j.plan.ARN,
		Finished: err == nil && oerr == nil && s.Final && !owned,
	}
}
