package container

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/optml/optml/job"
)

// Tree is one training host's /opt/ml on this machine: a directory per mount, below one work directory. The mounts are
// below /opt/ml, not on it, so that what the image ships elsewhere in /opt/ml stays visible (training 2).
type Tree struct{ Root string }

func (t Tree) Input() string   { return filepath.Join(t.Root, "input") }
func (t Tree) Config() string  { return filepath.Join(t.Root, "input", "config") }
func (t Tree) Data() string    { return filepath.Join(t.Root, "input", "data") }
func (t Tree) Model() string   { return filepath.Join(t.Root, "model") }
func (t Tree) Output() string  { return filepath.Join(t.Root, "output", "data") }
func (t Tree) Failure() string { return filepath.Join(t.Root, "output", "failure") }

// Checkpoints is what is mounted at CheckpointConfig.LocalPath.
func (t Tree) Checkpoints() string { return filepath.Join(t.Root, "checkpoints") }

// MakeCheckpoints makes the directory of the checkpoints, of a job that has them.
func (t Tree) MakeCheckpoints(writable bool) error {
	if err := os.Mkdir(t.Checkpoints(), 0o755); err != nil {
		return fmt.Errorf("make the directory of the checkpoints: %w", err)
	}
	return os.Chmod(t.Checkpoints(), mode(writable))
}

// mode is that of directories that the container writes to: with writable by a user that is not root too (ruling 15).
func mode(writable bool) fs.FileMode {
	if writable {
		return 0o777
	}
	return 0o755
}

// Mounts are the bind mounts of a training container. Input is writable: the Python SDK's bootstrap writes there
// (TREE-1).
func (t Tree) Mounts() []Mount {
	return []Mount{
		{Source: t.Input(), Target: "/opt/ml/input"},
		{Source: t.Model(), Target: "/opt/ml/model"},
		{Source: filepath.Join(t.Root, "output"), Target: "/opt/ml/output"},
		{Source: filepath.Join(t.Root, "errors"), Target: "/opt/ml/errors"},
	}
}

// Make creates the directories: root's, 0755, as seen on SageMaker (training 2); with writable also for a non-root
// user of the image (ruling 15). /opt/ml/output/intermediate is not made: its mere existence switches the training
// toolkit's own upload off.
func (t Tree) Make(writable bool) error {
	for _, d := range []string{t.Config(), t.Data(), t.Model(), t.Output(), filepath.Join(t.Root, "errors")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make /opt/ml: %w", err)
		}
	}
	// Above the mount points the mode is ours alone; umask must not decide what the container sees.
	for _, d := range []string{"input", "input/config", "input/data", "model", "output", "output/data", "errors"} {
		if err := os.Chmod(filepath.Join(t.Root, d), mode(writable)); err != nil {
			return fmt.Errorf("make /opt/ml: %w", err)
		}
	}
	return nil
}

// Hosts is what resourceconfig.json says of the cluster.
type Hosts struct {
	Current      string
	All          []string // any order
	InstanceType string   // the document's, verbatim (RES-6)
	Interface    string   // that exists in the container (RES-5)
}

// WriteConfig writes the JSON files of /opt/ml/input/config, byte for byte as SageMaker does (TREE-2).
func (t Tree) WriteConfig(tr *job.Training, h Hosts) error {
	type file struct {
		name string
		body []byte
	}
	files := []file{
		{"hyperparameters.json", hyperParameters(tr.HyperParameters)},
		{"inputdataconfig.json", inputDataConfig(tr.Channels)},
		{"resourceconfig.json", resourceConfig(h)},
	}
	if c := tr.Checkpoint; c != nil { // without checkpoints the file is not there (training 2)
		files = append(files, file{"checkpointconfig.json", new(object).add("LocalPath", c.LocalPath).bytes()})
	}
	root, err := os.OpenRoot(t.Config())
	if err != nil {
		return fmt.Errorf("write /opt/ml/input/config: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if err := root.WriteFile(f.name, f.body, 0o644); err != nil {
			return fmt.Errorf("write /opt/ml/input/config/%s: %w", f.name, err)
		}
		if err := root.Chmod(f.name, 0o644); err != nil {
			return fmt.Errorf("write /opt/ml/input/config/%s: %w", f.name, err)
		}
	}
	return nil
}

// failureBytes bounds what is read of /opt/ml/output/failure: 1024 characters of at most four bytes (FAIL-2).
const failureBytes = 4096

// ReadFailure returns the start of /opt/ml/output/failure, or "" without one. It is only meant for a regular file; the
// container may have put anything there, so links are not followed out of the tree and pipes are not opened.
func (t Tree) ReadFailure() (string, error) {
	root, err := os.OpenRoot(filepath.Join(t.Root, "output"))
	if err != nil {
		return "", err
	}
	defer root.Close()
	fi, err := root.Stat("failure")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() {
		return "", fmt.Errorf("/opt/ml/output/failure is not a regular file (%s)", fi.Mode().Type())
	}
	f, err := root.Open("failure")
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, failureBytes)
	n, err := f.ReadAt(b, 0)
	if n > 0 {
		err = nil
	}
	return string(b[:n]), err
}

// HasArtifacts says whether /opt/ml/model or /opt/ml/output/data holds anything.
func (t Tree) HasArtifacts() bool {
	for _, d := range []string{t.Model(), t.Output()} {
		if es, err := os.ReadDir(d); err == nil && len(es) > 0 {
			return true
		}
	}
	return false
}

// object writes a JSON object with members in the order given, compact, without HTML escaping and without a trailing
// newline (TREE-2).
type object struct {
	buf   bytes.Buffer
	begun bool
}

func (o *object) add(name string, value any) *object {
	if o.begun {
		o.buf.WriteByte(',')
	} else {
		o.buf.WriteByte('{')
		o.begun = true
	}
	o.buf.Write(compact(name))
	o.buf.WriteByte(':')
	o.buf.Write(compact(value))
	return o
}

func (o *object) bytes() json.RawMessage {
	if !o.begun {
		return json.RawMessage("{}")
	}
	return append(bytes.Clone(o.buf.Bytes()), '}')
}

func compact(v any) []byte {
	if raw, ok := v.(json.RawMessage); ok {
		return raw
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings, nil and lists of both only
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// hyperParameters: every value a string, exactly the request's (training 2.1). Order by name: the service's is unknown.
func hyperParameters(hp map[string]string) []byte {
	var o object
	for _, k := range slices.Sorted(maps.Keys(hp)) {
		o.add(k, hp[k])
	}
	return o.bytes()
}

// inputDataConfig: only what IDC-1 names, in its order; no URI, no compression, no attribute names (IDC-3).
func inputDataConfig(chs []job.Channel) []byte {
	var all object
	for _, c := range chs {
		var o object
		if c.ContentType != "" {
			o.add("ContentType", c.ContentType)
		}
		mode := c.Mode
		if c.Source.Type == "AugmentedManifestFile" {
			mode = "Pipe" // IDC-4
		}
		o.add("TrainingInputMode", mode)
		o.add("S3DistributionType", cmp.Or(c.Source.Distribution, "FullyReplicated")) // IDC-2
		o.add("RecordWrapperType", cmp.Or(c.RecordWrapper, "None"))
		all.add(c.Name, o.bytes())
	}
	return all.bytes() // IDC-6: {} without channels
}

// homogeneousCluster is the one group of a job without instance groups (RES-2).
const homogeneousCluster = "homogeneousCluster"

// resourceConfig in the form seen since 2025, "topology":null last (ruling 7); hosts sorted as strings (RES-1).
func resourceConfig(h Hosts) []byte { return resourceConfigForm(h, true) }

func resourceConfigForm(h Hosts, topology bool) []byte {
	hosts := slices.Sorted(slices.Values(h.All))
	var group, o object
	group.add("instance_group_name", homogeneousCluster).add("instance_type", h.InstanceType).add("hosts", hosts)
	o.add("current_host", h.Current).
		add("current_instance_type", h.InstanceType).
		add("current_group_name", homogeneousCluster).
		add("hosts", hosts).
		add("instance_groups", json.RawMessage("["+string(group.bytes())+"]")).
		add("network_interface_name", cmp.Or(h.Interface, "eth0"))
	if topology {
		o.add("topology", nil)
	}
	return o.bytes()
}
