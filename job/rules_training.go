package job

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/optml/optml/human"
	"github.com/optml/optml/metrics/expression"
)

// onTraining runs a rule on each training job that a document describes.
func onTraining(f func(c *ruling, t trainingView)) func(*ruling) {
	return func(c *ruling) {
		switch b := c.doc.body.(type) {
		case *createTrainingJobRequest:
			f(c, b.view())
		case *createAlgorithmInput:
			for i := range b.profiles() {
				f(c, b.profiles()[i].TrainingJobDefinition.view(profilePath(i)+".TrainingJobDefinition"))
			}
		}
	}
}

func onTrainingJob(f func(c *ruling, r *createTrainingJobRequest)) func(*ruling) {
	return func(c *ruling) {
		if b, ok := c.doc.body.(*createTrainingJobRequest); ok {
			f(c, b)
		}
	}
}

func profilePath(i int) string { return index("ValidationSpecification.ValidationProfiles", i) }

func (t trainingView) channelPath(i int) string { return index(t.at("InputDataConfig"), i) }

func (t trainingView) channelMode(i int) string { return cmp.Or(t.channels[i].InputMode, t.mode) }

// missing reports a required member that the model does not know to be required.
func (c *ruling) missing(path string) {
	if c.out.full(hard) {
		return
	}
	p := c.doc.problem(path, Problem{constraint: true, Rule: c.id, Text: "is required and missing"})
	p.Message = fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", p.AWSPath)
	c.out.add(p)
}

// trainingRules hold for training jobs, those of validation profiles included.
var trainingRules = []rule{
	{"START-7", onTrainingJob(oneAlgorithm)},
	{"DOC-1", onTrainingJob(func(c *ruling, r *createTrainingJobRequest) {
		if r.AlgorithmSpecification == nil {
			c.missing("AlgorithmSpecification")
		}
		if r.ResourceConfig == nil {
			c.missing("ResourceConfig")
		}
		if r.StoppingCondition == nil {
			c.missing("StoppingCondition")
		}
	})},
	{"DOC-1", onTraining(func(c *ruling, t trainingView) {
		r := t.resource
		if r == nil || len(r.InstanceGroups) > 0 {
			return
		}
		if r.InstanceType == "" {
			c.missing(t.at("ResourceConfig.InstanceType"))
		}
		if r.InstanceCount == nil {
			c.missing(t.at("ResourceConfig.InstanceCount"))
		} else if *r.InstanceCount == 0 {
			c.broken(t.at("ResourceConfig.InstanceCount"), "", "a job has at least one instance", "say 1")
		}
	})},
	{"DOC-2", onTraining(func(c *ruling, t trainingView) {
		if r := t.resource; r != nil && len(r.InstanceGroups) > 0 && (r.InstanceType != "" || r.InstanceCount != nil) {
			c.broken(t.at("ResourceConfig.InstanceGroups"), "InstanceType or InstanceCount cannot be specified with InstanceGroups",
				"InstanceGroups excludes InstanceType and InstanceCount", "give one or the other")
		}
	})},
	{"DOC-2", onTraining(func(c *ruling, t trainingView) {
		groups := map[string]bool{}
		if t.resource != nil {
			for _, g := range t.resource.InstanceGroups {
				groups[g.InstanceGroupName] = true
			}
		}
		for i, ch := range t.channels {
			if s := ch.DataSource.S3DataSource; s != nil {
				for j, name := range s.InstanceGroupNames {
					if !groups[name] {
						c.broken(index(t.channelPath(i)+".DataSource.S3DataSource.InstanceGroupNames", j), "", fmt.Sprintf("%q is none of the job's InstanceGroups", name), "name a group of ResourceConfig.InstanceGroups, or leave the member out")
					}
				}
			}
		}
	})},
	{"DOC-8", onTrainingJob(func(c *ruling, r *createTrainingJobRequest) {
		if s := r.AlgorithmSpecification; s != nil && s.TrainingImageConfig != nil && s.TrainingImageConfig.TrainingRepositoryAuthConfig != nil && s.TrainingImageConfig.TrainingRepositoryAccessMode != "Vpc" {
			c.soft(serviceNo, "AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig", "", "credentials for a registry go with TrainingRepositoryAccessMode Vpc only", "leave them out, or say Vpc")
		}
	})},
	{"ruling 13", onTraining(func(c *ruling, t trainingView) {
		if r := t.resource; r != nil && r.VolumeKmsKeyId != "" && instances()[r.InstanceType].LocalNvmeGB > 0 {
			c.soft(serviceNo, t.at("ResourceConfig.VolumeKmsKeyId"), "", r.InstanceType+" has its own NVMe storage, which takes no VolumeKmsKeyId", "leave it out")
		}
	})},
	{"STOP-8", onTraining(func(c *ruling, t trainingView) {
		const most = 28 * 24 * 3600
		if s := t.stopping; s != nil && value(s.MaxRuntimeInSeconds, 0) > most {
			c.broken(t.at("StoppingCondition.MaxRuntimeInSeconds"), "", fmt.Sprintf("%d seconds are more than 28 days (%d)", *s.MaxRuntimeInSeconds, most), "")
		}
	})},
	{"DOC-3", onTraining(waitingTime)},
	{"CKP-1", onTrainingJob(checkpointPlace)},
	{"DOC-4", onTraining(func(c *ruling, t trainingView) {
		seen := map[string]int{}
		for i, ch := range t.channels {
			if first, dup := seen[ch.ChannelName]; dup {
				c.broken(t.channelPath(i)+".ChannelName", "", fmt.Sprintf("channel %q stands in %s already", ch.ChannelName, t.channelPath(first)), "give each channel its own name")
				continue
			}
			seen[ch.ChannelName] = i
		}
	})},
	{"PIPE-1", onTraining(func(c *ruling, t trainingView) {
		pipes := map[string]bool{}
		for i, ch := range t.channels {
			if t.channelMode(i) == "Pipe" {
				pipes[ch.ChannelName] = true
			}
		}
		for i, ch := range t.channels {
			if at := strings.LastIndexByte(ch.ChannelName, '_'); at > 0 && pipes[ch.ChannelName[:at]] && isEpoch(ch.ChannelName[at+1:]) {
				c.broken(t.channelPath(i)+".ChannelName", "", fmt.Sprintf("channel %q has the path of an epoch of the Pipe channel %q", ch.ChannelName, ch.ChannelName[:at]), "rename one of the two")
			}
		}
	})},
	{"FF-4", onTraining(func(c *ruling, t trainingView) {
		pipe, fast := -1, -1
		for i := range t.channels {
			switch t.channelMode(i) {
			case "Pipe":
				pipe = i
			case "FastFile":
				fast = i
			}
		}
		if pipe >= 0 && fast >= 0 {
			c.broken(t.channelPath(max(pipe, fast))+".InputMode", "Cannot use both 'Pipe' and 'FastFile' TrainingInputMode on the same Training Job.",
				fmt.Sprintf("a job cannot have a Pipe channel (%s) and a FastFile channel (%s)", t.channels[pipe].ChannelName, t.channels[fast].ChannelName), "choose one mode; File goes with either")
		}
	})},
	{"FILE-8", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			mode := t.channelMode(i)
			if mode == "Pipe" {
				continue
			}
			if ch.CompressionType == "Gzip" {
				c.broken(t.channelPath(i)+".CompressionType", "", fmt.Sprintf("objects are unpacked in Pipe mode only; channel %q is %s", ch.ChannelName, mode), "say None; the image reads the compressed file")
			}
			if ch.RecordWrapperType == "RecordIO" {
				c.broken(t.channelPath(i)+".RecordWrapperType", "", fmt.Sprintf("objects are wrapped in Pipe mode only; channel %q is %s", ch.ChannelName, mode), "say None")
			}
		}
	})},
	{"DOC-5", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			n := 0
			d := ch.DataSource
			for _, given := range []bool{d.S3DataSource != nil, d.FileSystemDataSource != nil, d.DatasetSource != nil} {
				if given {
					n++
				}
			}
			if n != 1 {
				c.broken(t.channelPath(i)+".DataSource", "", fmt.Sprintf("a channel has one data source, this has %d", n), "give S3DataSource or FileSystemDataSource")
			}
		}
	})},
	{"FILE-10", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			if s := ch.DataSource.S3DataSource; s != nil && s.S3DataType == "AugmentedManifestFile" && t.channelMode(i) != "Pipe" {
				c.broken(t.channelPath(i)+".DataSource.S3DataSource.S3DataType", "", "an augmented manifest needs Pipe mode; channel "+strconv.Quote(ch.ChannelName)+" is "+t.channelMode(i), "set InputMode to Pipe")
			}
		}
	})},
	{"FF-2", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			if s := ch.DataSource.S3DataSource; s != nil && s.S3DataType == "ManifestFile" && t.channelMode(i) == "FastFile" {
				c.broken(t.channelPath(i)+".DataSource.S3DataSource.S3DataType", "", "FastFile mode reads a prefix only, not a manifest", "use File mode, or a prefix")
			}
		}
	})},
	{"AUG-1", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			s := ch.DataSource.S3DataSource
			if s == nil {
				continue
			}
			path := t.channelPath(i) + ".DataSource.S3DataSource.AttributeNames"
			if augmented := s.S3DataType == "AugmentedManifestFile"; augmented && len(s.AttributeNames) == 0 {
				c.broken(path, "", "an augmented manifest needs the names of the attributes to read", "give AttributeNames")
			} else if !augmented && len(s.AttributeNames) > 0 {
				c.broken(path, "", "only an augmented manifest has attributes", "leave AttributeNames out, or say AugmentedManifestFile")
			}
		}
	})},
	{"FILE-13", onTraining(func(c *ruling, t trainingView) {
		for i, ch := range t.channels {
			if ch.DataSource.FileSystemDataSource != nil && t.channelMode(i) != "File" {
				c.broken(t.channelPath(i)+".DataSource.FileSystemDataSource", "", fmt.Sprintf("a file system is mounted in File mode only; channel %q is %s", ch.ChannelName, t.channelMode(i)), "set InputMode to File")
			}
		}
	})},
	{"ENV-4", onTrainingJob(func(c *ruling, r *createTrainingJobRequest) {
		for _, k := range []string{"TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "NVIDIA_VISIBLE_DEVICES"} {
			if _, set := r.Environment[k]; set {
				c.warn("Environment."+k, "the service sets "+k+" itself: the document's value is not seen")
			}
		}
	})},
	{"MET-1", func(c *ruling) {
		for _, x := range c.expressions() {
			if x.err == nil && x.Groups() == 0 {
				c.warn(x.path, fmt.Sprintf("metric %q has no group in its expression: the whole match is taken for the value", x.metric))
			}
		}
	}},
	{"MET-5", func(c *ruling) {
		for _, x := range c.expressions() {
			switch {
			case x.err != nil:
				c.broken(x.path, "", fmt.Sprintf("metric %q: %v", x.metric, x.err), "an expression as Go or Python has it, with one group for the value: loss=([0-9.]+)")
			case x.Construct() != "":
				c.warn(x.path, fmt.Sprintf("metric %q uses %s: its expression is matched by backtracking, slower, and at most %s a line; which dialect the service takes is not documented", x.metric, x.Construct(), expression.Patience))
			}
		}
	}},
	{"HP-5", onTraining(func(c *ruling, t trainingView) {
		if spec := c.specification(); spec != nil {
			c.hyperParameters(t, spec)
		}
	})},
	{"CH-1", onTraining(func(c *ruling, t trainingView) {
		if spec := c.specification(); spec != nil {
			c.channels(t, spec)
		}
	})},
	{"CH-4", onTraining(func(c *ruling, t trainingView) {
		spec := c.specification()
		if spec == nil || t.resource == nil {
			return
		}
		alone := fmt.Sprintf("algorithm %s does not support distributed training (SupportsDistributedTraining), so one instance", spec.AlgorithmName)
		if n := value(t.resource.InstanceCount, 0); n > 1 && !spec.TrainingSpecification.SupportsDistributedTraining {
			c.broken(t.at("ResourceConfig.InstanceCount"), "", alone, "say 1")
		}
		supported := supported{spec.TrainingSpecification.SupportedTrainingInstanceTypes, "SupportedTrainingInstanceTypes", "algorithm " + spec.AlgorithmName}
		c.supportedType(t.at("ResourceConfig.InstanceType"), t.resource.InstanceType, supported)
		all := int64(0)
		for i, g := range t.resource.InstanceGroups {
			all += g.InstanceCount
			c.supportedType(index(t.at("ResourceConfig.InstanceGroups"), i)+".InstanceType", g.InstanceType, supported)
		}
		if all > 1 && !spec.TrainingSpecification.SupportsDistributedTraining {
			c.broken(t.at("ResourceConfig.InstanceGroups"), "", alone, "say one group of 1")
		}
	})},
}

// oneAlgorithm: exactly one of TrainingImage and AlgorithmName (START-7), and the algorithm is at hand.
func oneAlgorithm(c *ruling, r *createTrainingJobRequest) {
	s := r.AlgorithmSpecification
	if s == nil {
		return
	}
	const image, name = "AlgorithmSpecification.TrainingImage", "AlgorithmSpecification.AlgorithmName"
	switch {
	case s.TrainingImage != "" && s.AlgorithmName != "":
		c.broken(name, "", "TrainingImage and AlgorithmName exclude each other", "give one of the two")
	case s.TrainingImage == "" && s.AlgorithmName == "":
		c.broken(image, "", "one of TrainingImage and AlgorithmName is required", "give the image, or the name of an algorithm")
	case s.AlgorithmName != "" && c.set.algorithm == nil:
		c.broken(name, "", fmt.Sprintf("algorithm %q is not known here", s.AlgorithmName), "validate it here, or give its CreateAlgorithm request beside this one, or TrainingImage")
	case s.AlgorithmName == "" && c.set.algorithm != nil:
		c.broken(image, "", "a CreateAlgorithm request was given, and this job names an image, not an algorithm", "leave the CreateAlgorithm request out, or name it in AlgorithmName")
	case s.AlgorithmName != "":
		if have := c.set.algorithm.body.(*createAlgorithmInput).AlgorithmName; lastSegment(s.AlgorithmName) != have {
			c.broken(name, "", fmt.Sprintf("names algorithm %q, and the CreateAlgorithm request given makes %q", s.AlgorithmName, have), "")
		}
	}
}

// lastSegment is the name in an ARN, or the name itself.
func lastSegment(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// isEpoch tells the number of a Pipe channel's FIFO.
func isEpoch(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && s == strconv.Itoa(n)
}

// waitingTime: MaxWaitTimeInSeconds goes with spot training and only with it. A validation profile's definition has no
// member for spot training (VAL-11), so there it says nothing, and is taken.
func waitingTime(c *ruling, t trainingView) {
	r, ok := c.doc.body.(*createTrainingJobRequest)
	if !ok || t.stopping == nil {
		return
	}
	path, wait, run := t.at("StoppingCondition.MaxWaitTimeInSeconds"), t.stopping.MaxWaitTimeInSeconds, value(t.stopping.MaxRuntimeInSeconds, int64(defaultMaxRuntime.Seconds()))
	switch spot := r.EnableManagedSpotTraining; {
	case !spot && wait != nil:
		c.broken(path, "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true", "waiting time is for spot training only", "leave it out, or set EnableManagedSpotTraining")
	case spot && value(wait, 0) < run:
		c.broken(path, "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds", fmt.Sprintf("spot training needs a waiting time of at least MaxRuntimeInSeconds (%d)", run), "")
	}
}

// checkpointPlace: what is mounted at LocalPath must not hide what else the container needs, nor be hidden by it. The
// service's own answer is not published.
func checkpointPlace(c *ruling, r *createTrainingJobRequest) {
	if r.CheckpointConfig == nil {
		return
	}
	const at, hint = "CheckpointConfig.LocalPath", "/opt/ml/checkpoints is the usual place"
	if u := r.CheckpointConfig.S3Uri; u == "" || strings.HasSuffix(strings.TrimSuffix(u, "/"), ":/") {
		c.broken("CheckpointConfig.S3Uri", "", "names no place for checkpoints", "a folder of a bucket, such as s3://bucket/checkpoints/job")
	}
	local := r.CheckpointConfig.LocalPath
	if local == "" {
		return
	}
	clean := strings.TrimSuffix(local, "/")
	if !strings.HasPrefix(local, "/") || path.Clean(local) != cmp.Or(clean, "/") || strings.ContainsFunc(local, unicode.IsControl) {
		c.broken(at, "", fmt.Sprintf("%q is not a plain absolute path", human.Clip(local, 64)), hint)
		return
	}
	for _, taken := range []string{"/opt/ml/input", "/opt/ml/model", "/opt/ml/output", "/opt/ml/errors", "/proc", "/sys", "/dev"} {
		if clean == taken || strings.HasPrefix(clean, taken+"/") || strings.HasPrefix(taken, clean+"/") {
			c.broken(at, "", fmt.Sprintf("%s and %s, which the container needs for something else, hide each other", local, taken), hint)
			return
		}
	}
}

// compiled is a metric's expression, or why it is none.
type compiled struct {
	*expression.Expression
	err          error
	metric, path string
}

// expressions are those of a document's metrics. What the service refuses for its length alone is not compiled, since
// that takes time: definitions beyond the most that there may be, and expressions beyond the longest.
func (c *ruling) expressions() []compiled {
	if c.compiled == nil {
		list, path := metricsOf(c.doc)
		most, longest := *facts().Shapes["MetricDefinitionList"].max, *facts().Shapes["MetricRegex"].max
		for i, m := range list[:min(int64(len(list)), most)] {
			if m.Regex == "" || int64(utf8.RuneCountInString(m.Regex)) > longest {
				continue
			}
			e, err := expression.Compile(m.Regex)
			c.compiled = append(c.compiled, compiled{e, err, m.Name, index(path, i) + ".Regex"})
		}
	}
	return c.compiled
}

// metricsOf are the metric definitions of a document and their place.
func metricsOf(d *Document) ([]metricDefinition, string) {
	switch b := d.body.(type) {
	case *createTrainingJobRequest:
		if b.AlgorithmSpecification != nil {
			return b.AlgorithmSpecification.MetricDefinitions, "AlgorithmSpecification.MetricDefinitions"
		}
	case *createAlgorithmInput:
		return b.TrainingSpecification.MetricDefinitions, "TrainingSpecification.MetricDefinitions"
	}
	return nil, ""
}

// specification is the algorithm that a job is held against; nil for one with its own image (HP-4).
func (c *ruling) specification() *createAlgorithmInput {
	if a, ok := c.doc.body.(*createAlgorithmInput); ok {
		return a
	}
	if c.set.algorithm != nil {
		return c.set.algorithm.body.(*createAlgorithmInput)
	}
	return nil
}

// supported are the instance types that an algorithm or a model package supports, and in which member it says so.
type supported struct {
	types        []string
	member, what string
}

// supportedType: an instance type is among those that are supported. On one's own machine this only warns (CH-4,
// ruling 3).
func (c *ruling) supportedType(path, have string, s supported) {
	if len(s.types) == 0 || have == "" || isLocalType(have) || slices.Contains(s.types, have) {
		return
	}
	c.soft(awsOnly, path, fmt.Sprintf("Instance type %s is not supported by %s", have, s.what),
		fmt.Sprintf("%s is not in %s of %s", have, s.member, s.what), "one of "+human.Clip(strings.Join(s.types, ", "), 200))
}
