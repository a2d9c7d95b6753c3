package job

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// How long the containers of probes may run: long enough for an image that takes its time to say no, and not so long
// that one which never does holds a validation up.
const (
	refuseTime = 5 * time.Minute
	serveTime  = 5 * time.Minute // after the model is loaded
	stopTime   = 5 * time.Minute // beside the grace
)

// rehearsed is what the documents of a validation say of its jobs: the instance types of the profile, and what supports
// them. Of a model package there is no training (spec is nil).
type rehearsed struct {
	training, transform string
	spec                *trainingSpecification
	inference           *inferenceSpecification
}

// rehearse adds to a validation what of the supported instance types can be shown here and, where the user asks for them,
// the probes.
func (m *maker) rehearse(v *Validation, r rehearsed) {
	if v.Training != nil {
		v.Types = m.supported(KindTraining, r.training, r.spec.SupportedTrainingInstanceTypes)
	}
	if v.Transform != nil {
		v.Types = append(v.Types, m.supported(KindTransform, r.transform, r.inference.SupportedTransformInstanceTypes)...)
	}
	if !m.o.Probe {
		return
	}
	b := &probes{maker: m, v: v}
	if v.Training != nil {
		b.hyperparameter(r.spec.SupportedHyperParameters)
		b.channels(r.spec.TrainingChannels)
		b.stop()
	}
	if v.Transform != nil {
		b.request()
		b.serveStop()
	}
	b.types()
}

// supported says of each class of instance types what the profile's job shows and what a probe can show. Types that
// are too large for this host, or of another kind of machine, are not stood in for.
func (m *maker) supported(kind Kind, document string, types []string) []SupportedTypes {
	var all []SupportedTypes
	ran := m.o.told(document)
	for _, t := range types {
		class := "unknown"
		if i, known := instances()[t]; known {
			class = cmp.Or(i.Accelerator, "cpu")
		}
		at := slices.IndexFunc(all, func(s SupportedTypes) bool { return s.Class == class })
		if at < 0 {
			at = len(all)
			all = append(all, SupportedTypes{Job: kind, Class: class})
		}
		s := &all[at]
		s.Types = append(s.Types, t)
		lacks := m.lacks(t)
		switch {
		case lacks != "":
			s.Lacks = cmp.Or(s.Lacks, lacks)
		case t == ran:
			s.Ran = t
		case s.Probe == "" || smaller(t, s.Probe):
			s.Probe = t
		}
	}
	for i := range all {
		s := &all[i]
		if s.Ran != "" && s.Probe != "" && !smaller(s.Probe, s.Ran) {
			s.Probe = ""
		}
		if s.Ran != "" || s.Probe != "" {
			s.Lacks = ""
		}
	}
	return all
}

// lacks is why this host cannot stand in for an instance type; "": it can.
func (m *maker) lacks(t string) string {
	i, known := instances()[t]
	a := hostArch(t)
	switch {
	case m.o.AsInstance == wholeHost:
		return fmt.Sprintf("--as-instance %s: no job is of an instance type's size", wholeHost)
	case !known:
		return fmt.Sprintf("how large %s is, is not known", t)
	case i.Accelerator != "" && i.Accelerator != "gpu":
		return fmt.Sprintf("%s has accelerators (%s) that optml does not offer", t, i.AcceleratorModel)
	case i.Accelerator == "gpu" && i.AcceleratorCount > m.h.GPUs:
		return fmt.Sprintf("%s has %d GPU(s), this host %d", t, i.AcceleratorCount, m.h.GPUs)
	case a != "" && m.h.Arch != "" && a != m.h.Arch:
		return fmt.Sprintf("%s is %s, this host is %s", t, a, m.h.Arch)
	}
	return strings.TrimSuffix(m.short(t), ": runs with the whole host")
}

// smaller says whether a job has less of an instance type than of another: memory first, which is what runs out.
func smaller(a, b string) bool {
	x, y := instances()[a], instances()[b]
	return x.MemoryGiB < y.MemoryGiB || x.MemoryGiB == y.MemoryGiB && x.VCPUs < y.VCPUs
}

// probes makes the plans of a validation's probes.
type probes struct {
	*maker
	v *Validation
}

func (b *probes) add(p Probe) { b.v.Probes = append(b.v.Probes, p) }

// name is a probe's job.
func (b *probes) name(what string) string {
	return childName(cmp.Or(b.v.Algorithm, b.v.Package), b.v.Profile, "probe-"+what, b.o.RunSuffix)
}

// training is the profile's training under another name.
func (b *probes) training(what string) Plan {
	p := *b.v.Training
	p.Name = b.name(what)
	p.ARN = arn(p.Region, p.Account, "training-job", p.Name)
	t := *p.Training
	t.HyperParameters, t.Channels = maps.Clone(t.HyperParameters), slices.Clone(t.Channels)
	t.Instances = slices.Clone(t.Instances)
	in := &t.Instances[0]
	in.Containers = slices.Clone(in.Containers)
	t.OutputPath, t.ModelURI, t.OutputURI, t.KMSKeyID, t.Unpacked = "", "", "", "", false
	p.Training = &t
	in.Containers[0].Env = b.trainingEnv(&p, nil)
	return p
}

// transform is the profile's transform under another name.
func (b *probes) transform(what string) Plan {
	p := *b.v.Transform
	p.Name = b.name(what)
	p.ARN = arn(p.Region, p.Account, "transform-job", p.Name)
	t := *p.Transform
	t.Output.Path, t.Output.KMSKeyID = "", ""
	p.Transform = &t
	return p
}

// hyperparameter gives one a value that cannot be meant. What the algorithm specifies is refused before a buyer's job
// starts (HP-1); an image that notices by itself says so where the buyer sees it (FAIL-1).
func (b *probes) hyperparameter(specs []hyperParameterSpecification) {
	p := Probe{Kind: ProbeHyperparameter, Plan: b.training("hyperparameter"), Limit: Duration(refuseTime)}
	value, what := "", ""
	for _, kind := range []string{"Integer", "Continuous", "Categorical", "FreeText"} {
		at := slices.IndexFunc(specs, func(s hyperParameterSpecification) bool { return s.Type == kind })
		if at < 0 {
			continue
		}
		p.About, p.Must = specs[at].Name, kind != "FreeText"
		switch kind {
		case "Integer", "Continuous":
			value, what = "not-a-number", "which must be a number"
		case "Categorical":
			value, what = "no-such-value", "which is none of its values"
		default:
			value, what = "\x01no such value\x01", "which may be any text"
		}
		break
	}
	if p.About == "" {
		p.About, value, what = "no-such-hyperparameter", "1", "which the algorithm does not know"
	}
	p.Plan.Training.HyperParameters[p.About] = value
	p.Does = fmt.Sprintf("trains with %s=%q, %s; ends after %s at the latest", p.About, value, what, p.Limit.Std())
	b.add(p)
}

// channels gives each required channel one object without content. A prefix without objects never reaches an image: the
// service refuses it, and so does optml (END-2).
func (b *probes) channels(specs []channelSpecification) {
	for _, s := range specs {
		at := slices.IndexFunc(b.v.Training.Training.Channels, func(c Channel) bool { return c.Name == s.Name })
		if !s.IsRequired || at < 0 {
			continue
		}
		p := Probe{Kind: ProbeChannel, About: s.Name, Must: true, Plan: b.training(fmt.Sprintf("channel-%d", at+1)), Limit: Duration(refuseTime)}
		c := &p.Plan.Training.Channels[at]
		c.Source = Source{Type: "S3Prefix", Distribution: defaultDataSharing}
		c.Compression = "None"
		p.Files = []ProbeFile{{Name: "empty" + suffix(c.ContentType)}}
		p.Does = fmt.Sprintf("trains with an empty file as all that channel %s has; ends after %s at the latest", s.Name, p.Limit.Std())
		b.add(p)
	}
}

// suffix is what images look for in the names of files of a content type.
func suffix(contentType string) string {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch strings.TrimSpace(media) {
	case "text/csv":
		return ".csv"
	case "application/json":
		return ".json"
	case "application/jsonlines", "application/jsonl", "application/x-jsonlines":
		return ".jsonl"
	case "application/x-parquet":
		return ".parquet"
	case "application/x-recordio", "application/x-recordio-protobuf":
		return ".rec"
	case "text/libsvm", "text/x-libsvm":
		return ".libsvm"
	case "text/plain":
		return ".txt"
	case "image/jpeg":
		return ".jpg"
	case "image/png":
		return ".png"
	}
	return ""
}

// stop interrupts a training; when, the profile's own will have shown.
func (b *probes) stop() {
	p := Probe{Kind: ProbeStop, Plan: b.training("stop"), Limit: Duration(stopTime)}
	p.Does = fmt.Sprintf("trains, and sends SIGTERM when half of the time that the profile's training took is over, after %s at the latest; kills after %s", p.Limit.Std(), p.Plan.Training.Grace.Std())
	b.add(p)
}

// request sends what cannot be meant to /invocations, twice, since the container is to live on; and gives optml a record
// that is too large, which must not reach the container (BT-94).
func (b *probes) request() {
	p := Probe{Kind: ProbeRequest, Plan: b.transform("request"), Limit: Duration(serveTime)}
	t := p.Plan.Transform
	p.About = t.Input.ContentType
	garbage, must := malformed(p.About)
	p.Must = must
	p.Files = []ProbeFile{{Name: "1-malformed", Content: garbage}, {Name: "2-malformed", Content: garbage[:len(garbage)-1]}, {Name: "3-too-large", TooLarge: true}}
	t.Input = TransformInput{Source: Source{Type: "S3Prefix"}, ContentType: p.About, Compression: "None", SplitType: "None"}
	t.Output.AssembleWith = "None"
	t.MaxRetries = 0 // once says it all
	t.MaxConcurrent, t.Instances = new(1), slices.Clone(t.Instances[:1])
	p.Does = fmt.Sprintf("sends two malformed requests to /invocations, and has one refused that is larger than MaxPayloadInMB; ends %s after /ping at the latest", p.Limit.Std())
	b.add(p)
}

// malformed is a body that is not of a content type. must is false where any body would be.
func malformed(contentType string) (body []byte, must bool) {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch media = strings.TrimSpace(media); {
	case strings.HasSuffix(media, "json"), strings.Contains(media, "jsonl"):
		return []byte("{\"instances\": [\xff"), true
	case media == "text/csv", strings.HasSuffix(media, "libsvm"):
		return []byte("\"no number \xff,,\x00 and a quote that nothing ends"), true
	case strings.HasPrefix(media, "image/"), strings.HasPrefix(media, "audio/"), strings.HasPrefix(media, "video/"),
		strings.Contains(media, "parquet"), strings.Contains(media, "recordio"), strings.Contains(media, "protobuf"), strings.Contains(media, "npy"):
		return []byte("neither the beginning nor the end of such a file"), true
	}
	return []byte("\xff\x00 optml: any bytes \x00\xff"), false
}

// serveStop stops an inference container while it starts.
func (b *probes) serveStop() {
	p := Probe{Kind: ProbeServeStop, Plan: b.transform("serve-stop"), Limit: Duration(time.Second)}
	p.Does = fmt.Sprintf("starts the inference container, and sends SIGTERM after %s; kills after %s", p.Limit.Std(), p.Plan.Transform.Grace.Std())
	b.add(p)
}

// types runs the smallest instance type of each class that the host can stand in for and the profile does not show.
func (b *probes) types() {
	for _, s := range b.v.Types {
		if s.Probe == "" {
			continue
		}
		one := *b.maker
		one.o.AsInstance, one.warnings, one.cannot = "", nil, nil // what it warns of is the profile's
		p := Probe{Kind: ProbeInstance, About: s.Probe, Must: true}
		switch s.Job {
		case KindTraining:
			p.Plan = b.training(s.Class + "-training")
			t := p.Plan.Training
			t.InstanceType = s.Probe
			t.Instances[0] = one.as(t.Instances[0], s.Probe)
			t.ShmBytes = one.shm(t.Instances[0])
			t.Instances[0].Containers[0].Env = b.trainingEnv(&p.Plan, nil)
			p.Limit = t.MaxRuntime
			p.Does = fmt.Sprintf("trains as on %s, the smallest supported type of its class that this host can stand in for; takes as long as the profile's training, and %s at most", s.Probe, p.Limit.Std())
		case KindTransform:
			p.Plan = b.transform(s.Class + "-transform")
			t := p.Plan.Transform
			t.Instances = slices.Clone(t.Instances[:1])
			t.Instances[0] = one.as(t.Instances[0], s.Probe)
			t.ShmBytes = one.shm(t.Instances[0])
			p.Limit = Duration(transformTime)
			p.Does = fmt.Sprintf("transforms as on %s, the smallest supported type of its class that this host can stand in for; takes as long as the profile's transform, and %s at most", s.Probe, p.Limit.Std())
		}
		b.add(p)
	}
}

// transformTime is the longest that the marketplace lets a batch take (VAL-39).
const transformTime = time.Hour

// as is an instance with the size of another type.
func (m *maker) as(in Instance, t string) Instance {
	x := m.instance(in.Host, t, "")
	x.Containers = slices.Clone(in.Containers)
	if x.GPUs == in.GPUs {
		x.GPUDevices = in.GPUDevices
		return x
	}
	for i := range x.Containers {
		env := maps.Clone(x.Containers[i].Env)
		delete(env, "NVIDIA_VISIBLE_DEVICES")
		if x.GPUs == 0 {
			env["NVIDIA_VISIBLE_DEVICES"] = "void" // START-14
		}
		x.Containers[i].Env = env
	}
	return x
}
