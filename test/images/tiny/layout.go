package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// layout is what a container can see of how it was started.
type layout struct {
	Args       []string              `json:"args"`
	Env        []string              `json:"env"` // sorted
	Dir        string                `json:"dir"`
	Hostname   string                `json:"hostname"`
	PID        int                   `json:"pid"`
	UID        int                   `json:"uid"`
	GID        int                   `json:"gid"`
	CPUs       int                   `json:"cpus"`   // that the program may use
	NProc      int                   `json:"nproc"`  // that it is bound to, as nproc counts
	Memory     string                `json:"memory"` // the limit of its control group
	Config     map[string]configFile `json:"config"` // of /opt/ml/input/config, by name
	Tree       []entry               `json:"tree"`   // of /opt/ml, sorted by path, at most 10,000
	Mounts     []mount               `json:"mounts"`
	Hosts      string                `json:"hosts"`  // text of /etc/hosts
	Resolv     string                `json:"resolv"` // text of /etc/resolv.conf
	Status     map[string]string     `json:"status"` // CapEff, NoNewPrivs, Seccomp … of /proc/self/status
	OOMScore   string                `json:"oom_score_adj"`
	NoFile     [2]uint64             `json:"nofile"` // soft, hard
	MemLock    [2]uint64             `json:"memlock"`
	ShmBytes   uint64                `json:"shm_bytes"`
	Interfaces map[string][]string   `json:"interfaces"` // name -> addresses
	Routes     []string              `json:"routes"`     // lines of /proc/net/route without the heading
	Devices    []string              `json:"devices"`    // names in /dev
	Writable   map[string]bool       `json:"writable"`   // input, input/config, input/data, model, output, output/data, checkpoints
}

type configFile struct {
	Text string `json:"text"`
	Perm string `json:"perm"`
}

type entry struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
	Size int64  `json:"size"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

type mount struct {
	Target   string `json:"target"`
	Type     string `json:"type"`
	Source   string `json:"source"`
	ReadOnly bool   `json:"read_only"`
	Options  string `json:"options"`
}

func readLayout() *layout {
	l := &layout{
		Args: os.Args, Env: slices.Sorted(slices.Values(os.Environ())), PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), CPUs: runtime.GOMAXPROCS(0),
		Config: map[string]configFile{}, Status: map[string]string{}, Interfaces: map[string][]string{}, Writable: map[string]bool{},
		Hosts: read("/etc/hosts"), Resolv: read("/etc/resolv.conf"), OOMScore: strings.TrimSpace(read("/proc/self/oom_score_adj")),
	}
	l.NProc = runtime.NumCPU()
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if v := strings.TrimSpace(read(file)); v != "" {
			l.Memory = v
		}
	}
	l.Dir, _ = os.Getwd()
	l.Hostname, _ = os.Hostname()
	files, _ := os.ReadDir(ml("input/config"))
	for _, f := range files {
		if info, err := f.Info(); err == nil && !f.IsDir() {
			l.Config[f.Name()] = configFile{Text: read(ml("input/config", f.Name())), Perm: info.Mode().String()}
		}
	}
	l.Tree = tree(ml())
	l.Mounts = mounts()
	for line := range strings.Lines(read("/proc/self/status")) {
		k, v, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Groups"}, k) {
			l.Status[k] = strings.TrimSpace(v)
		}
	}
	const memlock = 8 // RLIMIT_MEMLOCK, not named in package syscall
	for resource, into := range map[int]*[2]uint64{syscall.RLIMIT_NOFILE: &l.NoFile, memlock: &l.MemLock} {
		var r syscall.Rlimit
		if syscall.Getrlimit(resource, &r) == nil {
			*into = [2]uint64{r.Cur, r.Max}
		}
	}
	var fsStat syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &fsStat) == nil {
		l.ShmBytes = fsStat.Blocks * uint64(fsStat.Bsize)
	}
	links, _ := net.Interfaces()
	for _, i := range links {
		addrs, _ := i.Addrs()
		l.Interfaces[i.Name] = []string{}
		for _, a := range addrs {
			l.Interfaces[i.Name] = append(l.Interfaces[i.Name], a.String())
		}
	}
	if routes := strings.Split(strings.TrimSpace(read("/proc/net/route")), "\n"); len(routes) > 1 {
		l.Routes = routes[1:]
	}
	devices, _ := os.ReadDir("/dev")
	for _, d := range devices {
		l.Devices = append(l.Devices, d.Name())
	}
	for _, dir := range []string{"input", "input/config", "input/data", "model", "output", "output/data", "checkpoints"} {
		l.Writable[dir] = tryWrite(ml(dir)) == nil
	}
	return l
}

func read(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(raw)
}

// tryWrite makes and removes a file.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".tiny-*")
	if err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

func tree(root string) []entry {
	var all []entry
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || len(all) >= 10_000 {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		e := entry{Path: rel, Mode: info.Mode().String(), Size: info.Size()}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			e.UID, e.GID = s.Uid, s.Gid
		}
		all = append(all, e)
		return nil
	})
	return all
}

// mounts reads /proc/self/mountinfo: fields 5 (target) and 6 (options), and after the dash type and source.
func mounts() []mount {
	var all []mount
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		all = append(all, mount{Target: f[4], Options: f[5], Type: g[0], Source: g[1], ReadOnly: slices.Contains(strings.Split(f[5], ","), "ro")})
	}
	return all
}

// checkTraining lists what is wrong with the layout of a training job; the ids are those of the contract.
func checkTraining(l *layout) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	object := func(name string) map[string]any {
		c, ok := l.Config[name]
		if !ok {
			bad("TREE %s is missing", name)
			return nil
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(c.Text), &v); err != nil {
			bad("TREE-2 %s: %v", name, err)
			return nil
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(c.Text)); err != nil || compact.String() != c.Text {
			bad("TREE-2 %s is not compact", name)
		}
		return v
	}
	for k, v := range object("hyperparameters.json") {
		if _, ok := v.(string); !ok {
			bad("2.1 hyperparameter %s is not a string", k)
		}
	}
	for name, v := range object("inputdataconfig.json") {
		c, _ := v.(map[string]any)
		for _, k := range []string{"TrainingInputMode", "S3DistributionType", "RecordWrapperType"} {
			if _, ok := c[k].(string); !ok {
				bad("IDC-1 channel %s has no %s", name, k)
			}
		}
		path := ml("input/data", name)
		want := fs.ModeDir
		if c["TrainingInputMode"] == "Pipe" {
			path, want = path+"_0", fs.ModeNamedPipe
		}
		if info, err := os.Stat(path); err != nil {
			bad("channel %s: %v", name, err)
		} else if info.Mode().Type() != want {
			bad("channel %s is %s", name, info.Mode())
		}
	}
	r := object("resourceconfig.json")
	for _, k := range []string{"current_host", "current_instance_type", "hosts", "network_interface_name"} {
		if _, ok := r[k]; !ok {
			bad("RES-4 resourceconfig.json has no %s", k)
		}
	}
	if hosts, _ := r["hosts"].([]any); !slices.Contains(hosts, r["current_host"]) {
		bad("current_host %v is not among hosts %v", r["current_host"], hosts)
	}
	if name, _ := r["network_interface_name"].(string); name != "" {
		if _, ok := l.Interfaces[name]; !ok {
			bad("RES-5 network_interface_name %s does not exist", name)
		}
	}
	for _, dir := range []string{"input", "input/data", "model", "output", "output/data"} {
		if !l.Writable[dir] && l.UID == 0 {
			bad("TREE-1 /opt/ml/%s is not writable", dir)
		}
	}
	if _, err := os.Lstat(ml("output/intermediate")); err == nil {
		bad("/opt/ml/output/intermediate exists")
	}
	for _, name := range []string{"TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "AWS_REGION"} {
		if os.Getenv(name) == "" {
			bad("%s is not set", name)
		}
	}
	for _, kv := range l.Env {
		if strings.HasPrefix(kv, "SM_") {
			bad("ENV-1 %s is set", kv)
		}
	}
	return wrong
}
