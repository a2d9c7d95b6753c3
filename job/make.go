package job

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Make checks documents and makes the Plan of the one that is to be carried out. docs holds one CreateTrainingJob,
// CreateTransformJob or CreateAlgorithm and, in any order, what it names: the CreateModel of a transform's ModelName with
// the CreateModelPackage that it may be of, the CreateAlgorithm of a training's AlgorithmName or of such a package. A
// CreateAlgorithm alone, or a CreateModelPackage with the CreateAlgorithm that it may name, becomes the plan of its
// validation. With Options.Serve it is a CreateModel, whose container then serves, with the
// CreateModelPackage and the CreateAlgorithm that it may be of.
//
// Its errors are *Invalid (the service's words) and *Unsupported (members that optml does not carry out), joined when
// both hold; errors.As finds each.
func Make(docs []*Document, o Options, h HostFacts) (*Plan, error) {
	set, err := arrange(docs)
	if err != nil {
		return nil, err
	}
	if set.main == set.model && !o.Serve {
		return nil, errors.New("a CreateModel request runs nothing: give the CreateTransformJob request that names it too")
	}
	if err := errors.Join(o.place(set.main.Operation), o.standIn()); err != nil {
		return nil, err
	}
	m := &maker{set: set, o: o, h: h}
	if m.members, m.warnings, err = set.examine(o, &m.out); err != nil {
		return nil, err
	}
	var p *Plan
	switch b := set.main.body.(type) {
	case *createTrainingJobRequest:
		p = m.trainingJob(b)
	case *createTransformJobRequest:
		p = m.transformJob(b)
	case *createModelInput:
		p = m.served(b)
	case *createAlgorithmInput:
		p, err = m.validation(b)
	case *createModelPackageInput:
		p, err = m.packageValidation(b)
	}
	if err != nil {
		return nil, err
	}
	if m.wrong != nil {
		return nil, m.wrong
	}
	if len(m.cannot) > 0 {
		return nil, &Unsupported{Operation: set.main.Operation, Members: m.cannot}
	}
	p.Members, p.Warnings = m.members, m.warnings
	return p, nil
}

// Check holds documents against constraints and rules without making a Plan of them, and says how each member is treated,
// whatever is wrong. A CreateModel request alone will do. Its errors are those of Make.
func Check(docs []*Document, o Options) ([]MemberUse, []Warning, error) {
	set, err := arrange(docs)
	if err != nil {
		return nil, nil, err
	}
	return set.examine(o, &problems{})
}

func (s documents) examine(o Options, out *problems) (members []MemberUse, warnings []Warning, err error) {
	warnings, err = s.check(o, out)
	refused := &Unsupported{Operation: s.main.Operation}
	for _, d := range s.all() {
		uses, no := treat(d, o)
		if d != s.main {
			for i := range uses {
				uses[i].Path = d.Operation + "." + uses[i].Path
			}
		}
		members = append(members, uses...)
		refused.add(no...)
	}
	switch {
	case err != nil && len(refused.Members) > 0:
		err = errors.Join(err, refused)
	case len(refused.Members) > 0:
		err = refused
	}
	return members, warnings, err
}

// documents is one main document and those that it names.
type documents struct {
	main, algorithm, model, pkg *Document
}

func (s documents) all() []*Document {
	var out []*Document
	for _, d := range []*Document{s.main, s.algorithm, s.model, s.pkg} {
		if d != nil && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

func arrange(docs []*Document) (documents, error) {
	var s documents
	by := map[string]*Document{}
	for _, d := range docs {
		if by[d.Operation] != nil {
			return s, fmt.Errorf("%s and %s are both %s requests: give one", by[d.Operation].Name, d.Name, d.Operation)
		}
		by[d.Operation] = d
	}
	jobs := 0
	for _, op := range []string{CreateTrainingJob, CreateTransformJob} {
		if by[op] != nil {
			s.main = by[op]
			jobs++
		}
	}
	if jobs > 1 {
		return s, errors.New("several jobs at once: give one CreateTrainingJob or CreateTransformJob request")
	}
	s.algorithm, s.model, s.pkg = by[CreateAlgorithm], by[CreateModel], by[CreateModelPackage]
	switch {
	case s.main != nil:
	case s.model != nil && s.algorithm == nil, s.model != nil && s.pkg != nil:
		s.main = s.model // it is of the package
	case s.pkg != nil:
		s.main = s.pkg
	case s.algorithm != nil:
		s.main = s.algorithm
	default:
		return s, errors.New("no document")
	}
	if s.main.Operation != CreateTransformJob && s.model != nil && s.model != s.main {
		return s, fmt.Errorf("%s: a %s request uses no CreateModel request", s.model.Name, s.main.Operation)
	}
	if s.main.Operation != CreateTransformJob && s.main != s.model && s.pkg != nil && s.pkg != s.main {
		return s, fmt.Errorf("%s: a %s request uses no CreateModelPackage request", s.pkg.Name, s.main.Operation)
	}
	if s.pkg != nil && s.pkg != s.main && s.model == nil {
		return s, fmt.Errorf("%s: give the CreateModel request that names the package too", s.pkg.Name)
	}
	if s.main.Operation == CreateTransformJob && s.algorithm != nil && s.pkg == nil {
		return s, fmt.Errorf("%s: a CreateTransformJob request uses no CreateAlgorithm request", s.algorithm.Name)
	}
	return s, nil
}

// maker holds what all parts of a Plan need.
type maker struct {
	set      documents
	o        Options
	h        HostFacts
	out      problems
	members  []MemberUse
	warnings []Warning
	cannot   []RefusedMember // refused for what this host is or the user said, not by the table
	wrong    error           // in what the user said beside the documents
}

func (m *maker) warn(rule, path, format string, a ...any) {
	m.warnings = append(m.warnings, Warning{Rule: rule, Path: path, Text: fmt.Sprintf(format, a...)})
}

// plan is the part that all kinds share. role and images decide region and account.
func (m *maker) plan(kind Kind, name, resource, role string, images ...string) *Plan {
	region, account := where(m.o, m.h, role, images...)
	operation := map[Kind]string{KindTraining: CreateTrainingJob, KindTransform: CreateTransformJob, KindServing: CreateModel, KindValidation: m.set.main.Operation}[kind]
	return &Plan{
		Format: 1, Kind: kind, Operation: operation, Name: name, Region: region, Account: account, Role: role,
		ARN: arn(region, account, resource, name),
	}
}

// isolated is EnableNetworkIsolation, unless the user says otherwise.
func (m *maker) isolated(document bool) bool {
	switch m.o.Network {
	case "isolated":
		return true
	case "open":
		if document {
			m.warn("INF-44", "", "network isolation is asked for and is off: --network open; on SageMaker the containers would reach nothing")
		}
		return false
	}
	return document
}

// shm is /dev/shm of a container of an instance: half of the memory that it has (START-12).
func (m *maker) shm(in Instance) int64 {
	switch {
	case m.o.ShmBytes > 0:
		return m.o.ShmBytes
	case in.MemoryBytes > 0:
		return in.MemoryBytes / 2
	}
	return m.h.MemoryBytes / 2
}

// gpus is how many an instance gets, with the warnings of ruling 14.
func (m *maker) gpus(instanceType, path string) int {
	n, few := gpusFor(instanceType, m.o.GPUs, m.h)
	i, known := instances()[instanceType]
	if few && m.o.GPUs != nil {
		m.wrong = fmt.Errorf("--gpus %d: this host has %d (`optml gpus` lists them)", n, m.h.GPUs)
	}
	lacks := m.short(instanceType)
	switch a := hostArch(instanceType); {
	case m.o.AsInstance == wholeHost:
		n, _ = gpusFor("local_gpu", m.o.GPUs, m.h)
		lacks = fmt.Sprintf("runs with the whole host (--as-instance %s), not as %s", wholeHost, instanceType)
	case lacks != "":
	case known && (i.Accelerator == "neuron" || i.Accelerator == "gaudi"):
		lacks = fmt.Sprintf("%s has accelerators (%s) that optml does not offer", instanceType, i.AcceleratorModel)
	case a != "" && m.h.Arch != "" && a != m.h.Arch:
		lacks = fmt.Sprintf("%s is %s, this host is %s: an image for %s does not run here", instanceType, a, m.h.Arch, a)
	case !known && isServiceType(instanceType): // of any other it is said already that the service does not have it
		lacks = fmt.Sprintf("how large %s is, is not known: runs with the whole host", instanceType)
	}
	switch {
	case lacks == "":
	case m.o.Strict:
		m.cannot = append(m.cannot, RefusedMember{File: m.set.main.Name, Path: path, Value: instanceType, Text: "this host cannot stand in for it: " + lacks, Rule: "ruling 14"})
	default:
		m.warn("ruling 14", path, "%s", lacks)
	}
	return n
}

// spread gives each instance its GPUs. Instances on one machine have different ones (DIST-8), as few each as that takes,
// unless the user says that they share.
func (m *maker) spread(all []Instance, each int, path string) {
	var devices []string
	if m.o.GPUs != nil {
		devices = m.o.GPUs.Devices
	}
	have := m.h.GPUs
	if devices != nil {
		have = len(devices)
	}
	n, shared := each, m.o.ShareGPUs && len(all) > 1
	if !shared && (each*len(all) > have || devices != nil) {
		n = have / len(all)
	}
	switch {
	case each > 0 && n == 0:
		m.cannot = append(m.cannot, RefusedMember{File: m.set.main.Name, Path: path, Value: strconv.Itoa(len(all)), Rule: "DIST-8",
			Text: fmt.Sprintf("%d instances need a GPU each and there are %d: give fewer instances, --gpus 0, or --share-gpus", len(all), have)})
	case n < each && devices == nil:
		m.warn("DIST-8", path, "each of the %d instances gets %d GPUs, not %d: this host has %d", len(all), n, each, have)
	}
	for i := range all {
		all[i].GPUs, all[i].SharedGPUs = n, shared && n > 0
		switch {
		case devices == nil || n == 0:
		case shared:
			all[i].GPUDevices = devices
		default:
			all[i].GPUDevices = devices[i*n : (i+1)*n]
		}
	}
}

// serviceEnv lays the service's own variables over the request's (ENV-4, INF-40). AWS_REGION alone is the user's to
// change.
func serviceEnv(request map[string]string, region string, gpus int, own map[string]string) map[string]string {
	env := make(map[string]string, len(request)+len(own)+2)
	env["AWS_REGION"] = region
	maps.Copy(env, request)
	maps.Copy(env, own)
	if gpus == 0 {
		env["NVIDIA_VISIBLE_DEVICES"] = "void" // START-14
	}
	return env
}

// warnLogin says that a Lambda function which has a registry's credentials is not asked (START-6).
func (m *maker) warnLogin(path, function, ref string) {
	m.warn("START-6", path, "%s is not asked: image %s is pulled with this machine's own credentials for its registry", function, ref)
}

// image splits what a document says of an image.
func image(ref, digest string) Image { return Image{Ref: ref, Digest: strings.ToLower(digest)} }

// value returns what p points to, or a default.
func value[T any](p *T, or T) T {
	if p == nil {
		return or
	}
	return *p
}

func orNone(s string) string { return cmp.Or(s, "None") }
