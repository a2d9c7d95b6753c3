package job

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/optml/optml/human"
)

// Replayed is the reply of a Describe call as the request that it answers for.
type Replayed struct {
	*Document          // the request; its places are those in the reply
	Reply     string   // DescribeTrainingJob
	Request   []byte   // the request as a document of its own
	Dropped   []string // paths of what the reply has and the request has not, in the reply's order
}

// NoReplyError is a document that is no reply of a Describe call.
type NoReplyError struct {
	Name      string
	Operation string // the request that it is; "" when that cannot be told
}

func (e *NoReplyError) Error() string {
	if e.Operation != "" {
		return fmt.Sprintf("%s is a %s request, not a reply that describes one", e.Name, e.Operation)
	}
	return e.Name + " is not a reply that describes a job, a model, an algorithm or a model package"
}

// Hint is what to do about it.
func (e *NoReplyError) Hint() string {
	if e.Operation != "" {
		return "a request is given without --from"
	}
	return "it is what `aws sagemaker describe-training-job` and its like print, or `optml describe JOB --output json`"
}

// clientMembers are what the SDKs put beside the members of a reply when a program writes it to a file.
var clientMembers = []string{"ResponseMetadata", "ResultMetadata"}

// Replay reads the reply of a Describe call, and makes the request of it that would bring the same about again. What only
// replies have is left out: the facts are those of the service's model. A member of neither is an error, as is all that
// Decode refuses. The error is a *NoReplyError for what is no reply at all.
func Replay(name string, data []byte) (*Replayed, error) {
	d, sound, err := read("", name, data)
	if err != nil {
		return nil, err
	}
	if d.Operation = replied(d.Root); d.Operation == "" {
		op, _ := recognise(d.Root)
		return nil, &NoReplyError{name, op}
	}
	r := &Replayed{Document: d, Reply: facts().Replies[d.Operation].Operation}
	known := r.reduce()
	if _, err := d.decode(sound && known); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	d.Root.write(&b, "\n")
	r.Request = append(b.Bytes(), '\n')
	return r, nil
}

// ReplyOf names the Describe call that a document is the reply of; "" is none.
func ReplyOf(data []byte) string {
	root, err := parse(data)
	if err != nil || root.Kind != Object {
		return ""
	}
	if op := replied(root); op != "" {
		return facts().Replies[op].Operation
	}
	return ""
}

// replied tells the operation whose request a reply answers for. Each reply has an ARN that is named after its kind; one
// that was cut by a query is known by its other members.
func replied(root *Node) string {
	for _, op := range operationNames() {
		if root.Get(strings.TrimPrefix(facts().Replies[op].Operation, "Describe")+"Arn") != nil {
			return op
		}
	}
	op, _ := recognise(root)
	if op == "" {
		return ""
	}
	for _, m := range root.Members {
		if slices.Contains(facts().Replies[op].Only, m.Name) {
			return op
		}
	}
	return ""
}

// reduce leaves the members of the request in the tree. It reports those that are of neither, and then returns false.
func (r *Replayed) reduce() (known bool) {
	request := facts().Shapes[facts().Operations[r.Operation]]
	only := facts().Replies[r.Operation].Only
	known = true
	for _, m := range r.Root.Members {
		if request.Members[m.Name] != "" || slices.Contains(only, m.Name) || slices.Contains(clientMembers, m.Name) {
			continue
		}
		hint := "remove it if what it says is not needed here: it may be newer than the service's model that optml has"
		if near := human.Nearest(m.Name, slices.Concat(slices.Sorted(maps.Keys(request.Members)), only)); near != "" {
			hint = "did you mean " + near + "?"
		}
		r.checker().add(m.Offset, place{m.Name, lowerFirst(m.Name)}, Problem{
			Code:    CodeValidation,
			Message: fmt.Sprintf("Parameter validation failed: Unknown parameter in input: %q", m.Name), // a client's words
			Text:    fmt.Sprintf("neither a reply of %s nor a %s request has a member of this name", r.Reply, r.Operation), Hint: hint,
		})
		known = false
	}
	var walk func(n *Node, s *shape, path string)
	walk = func(n *Node, s *shape, path string) {
		switch {
		case s.Type == "list" && n.Kind == Array:
			for i, it := range n.Items {
				walk(it, facts().Shapes[s.Member], index(path, i))
			}
		case s.Type == "structure" && n.Kind == Object:
			var kept []Member
			for _, m := range n.Members {
				at := join(path, m.Name)
				if s.Members[m.Name] == "" && s == request || r.derived(s, n, m.Name) {
					if m.Value.Kind != Null {
						r.Dropped = append(r.Dropped, at)
					}
					continue
				}
				kept = append(kept, m)
				if next := facts().Shapes[s.Members[m.Name]]; next != nil {
					walk(m.Value, next, at)
				}
			}
			n.Members = kept
		}
	}
	walk(r.Root, request, "")
	return known
}

// derived are members that requests have too, but that in a reply the service has made of others: they would contradict
// those, or this machine.
func (r *Replayed) derived(s *shape, n *Node, member string) bool {
	given := func(other string) bool {
		v := n.Get(other)
		return v != nil && v.Text != "" || v != nil && v.Kind == Object
	}
	switch s.Name + "." + member {
	case "CreateModelPackageInput.ModelPackageName": // of a version it is the group's (VAL-52)
		return given("ModelPackageGroupName")
	case "CreateModelPackageInput.InferenceSpecification": // of a package of an algorithm it is the algorithm's (VAL-52)
		return given("SourceAlgorithmSpecification")
	case "AlgorithmSpecification.TrainingImage": // of a job of an algorithm it is the algorithm's (START-7)
		return given("AlgorithmName")
	case "ModelPackageContainerDefinition.ModelDataETag", "SourceAlgorithm.ModelDataETag": // of the object there was (ruling 21)
		return true
	}
	return false
}
