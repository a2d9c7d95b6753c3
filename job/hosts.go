package job

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/optml/optml/human"
)

// maxHosts is how many host names a job has room for: the addresses of a /24 without the gateway's.
const maxHosts = 253

var hostForm = regexp.MustCompile(`^algo-[1-9][0-9]{0,3}$`)

// place checks what the user said of the job's hosts (ruling 5). The document is not looked at.
func (o Options) place(operation string) error {
	if len(o.Hosts) == 0 {
		if o.CurrentHost != "" {
			return fmt.Errorf("--current-host %s without --hosts: name all hosts of the job", human.Clip(o.CurrentHost, 64))
		}
		return nil
	}
	if operation != CreateTrainingJob {
		return fmt.Errorf("--hosts is for training jobs, not for a %s request", operation)
	}
	if n := len(o.Hosts); n > maxHosts {
		return fmt.Errorf("--hosts: %d hosts, a job has room for %d", n, maxHosts)
	}
	seen := map[string]bool{}
	for _, h := range o.Hosts {
		switch {
		case !hostForm.MatchString(h):
			return fmt.Errorf("--hosts: %q is no host name: they are algo-1, algo-2, and so on", human.Clip(h, 64))
		case seen[h]:
			return fmt.Errorf("--hosts names %s twice", h)
		}
		seen[h] = true
	}
	switch {
	case o.CurrentHost == "" && len(o.Hosts) > 1:
		return errors.New("--hosts without --current-host: say which of them runs here")
	case o.CurrentHost != "" && !seen[o.CurrentHost]:
		return fmt.Errorf("--current-host %q is not one of --hosts", human.Clip(o.CurrentHost, 64))
	}
	return nil
}

// hosts are all hosts of the job, sorted as text (RES-1), and the place of the one that runs here.
func (o Options) hosts() (all []string, rank int) {
	if len(o.Hosts) == 0 {
		return []string{trainingInstance}, 0
	}
	all = slices.Sorted(slices.Values(o.Hosts))
	return all, slices.Index(all, cmp.Or(o.CurrentHost, o.Hosts[0]))
}

// counted says that --hosts names as many hosts as the document's InstanceCount.
func (o Options) counted(n *Node) bool {
	v, ok := wholeNumber(n.Text)
	return ok && len(o.Hosts) > 0 && v.IsInt64() && v.Int64() == int64(len(o.Hosts))
}
