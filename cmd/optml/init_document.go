package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
)

// draft is what init puts into a document.
type draft struct {
	name, description string
	image             string
	inference         string // image; "" is none: the algorithm only trains
	parameters        []parameter
	metrics           []metric
	objectives        []objective
	instances         []string // types; the first is what the validation runs on
	role              string
	accept            string
	certify           bool
	data              *initData
	look              imageLook
}

// parameter is a hyperparameter as --hyperparameter gives it.
type parameter struct {
	name, value, kind string
	low, high         string   // of a range
	values            []string // of a Categorical
}

type metric struct{ name, regex string }

type objective struct{ kind, metric string }

// parameterKinds are the words for the types.
var parameterKinds = map[string]string{"integer": "Integer", "int": "Integer", "continuous": "Continuous", "float": "Continuous",
	"categorical": "Categorical", "text": "FreeText", "freetext": "FreeText"}

var parameterForm = regexp.MustCompile(`(?is)^(.*?):(integer|int|continuous|float|categorical|text|freetext)(?::(.*))?$`)

// parseParameter reads NAME=VALUE[:TYPE[:RANGE]]: depth=5, depth=5:integer:1..64, kernel=rbf:categorical:rbf|linear.
func parseParameter(s string) (p parameter, err error) {
	name, rest, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return p, usage("--hyperparameter %q: it is NAME=VALUE, NAME=VALUE:TYPE or NAME=VALUE:TYPE:RANGE", s)
	}
	p.name, p.value = name, rest
	limits := ""
	if m := parameterForm.FindStringSubmatch(rest); m != nil {
		p.value, p.kind, limits = m[1], parameterKinds[strings.ToLower(m[2])], m[3]
	}
	if p.kind == "" {
		p.kind = "FreeText"
		if _, err := strconv.ParseInt(p.value, 10, 64); err == nil {
			p.kind = "Integer"
		} else if f, err := strconv.ParseFloat(p.value, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			p.kind = "Continuous"
		}
	}
	switch {
	case p.kind == "Categorical":
		if p.values = strings.Split(limits, "|"); limits == "" {
			p.values = []string{p.value}
		}
	case limits == "":
	case p.kind == "FreeText":
		return p, usage("--hyperparameter %q: text has no range", s)
	default:
		low, high, ok := strings.Cut(limits, "..")
		if !ok || low == "" || high == "" {
			return p, usage("--hyperparameter %q: a range is MIN..MAX, such as 1..64", s)
		}
		p.low, p.high = low, high
	}
	return p, nil
}

// parseMetric reads NAME=REGEX.
func parseMetric(s string) (metric, error) {
	name, regex, ok := strings.Cut(s, "=")
	if !ok || name == "" || regex == "" {
		return metric{}, usage("--metric %q: it is NAME=REGEX, whose first group is the value: 'loss=loss: ([0-9.]+)'", s)
	}
	return metric{name, regex}, nil
}

// field is one line of what init says of its document.
type field struct {
	Path    string `json:"path"`
	Value   string `json:"value"`
	Decides string `json:"decides"` // what it decides, and where the value is from
}

// fields are collected while a document is made.
type fields []field

func (f *fields) say(path string, value any, format string, args ...any) {
	text, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			panic("optml: " + err.Error()) // of lists and maps of strings
		}
		text = string(b)
	}
	*f = append(*f, field{path, text, fmt.Sprintf(format, args...)})
}

type doc = ledger.Document

// document makes the CreateAlgorithm request, and says of each of its fields what it decides.
func (d *draft) document() (doc, []field) {
	var f fields
	out := doc{{Name: "AlgorithmName", Value: d.name}}
	f.say("AlgorithmName", d.name, "the algorithm's name, and that of what its validation makes (--name)")
	if d.description != "" {
		out = append(out, ledger.Member{Name: "AlgorithmDescription", Value: d.description})
		f.say("AlgorithmDescription", d.description, "what buyers read (--description)")
	}
	out = append(out, ledger.Member{Name: "TrainingSpecification", Value: d.training(&f)})
	if d.inference != "" {
		out = append(out, ledger.Member{Name: "InferenceSpecification", Value: d.serving(&f)})
	}
	out = append(out, ledger.Member{Name: "ValidationSpecification", Value: d.validation(&f)})
	out = append(out, ledger.Member{Name: "CertifyForMarketplace", Value: d.certify})
	f.say("CertifyForMarketplace", d.certify, "true asks for what AWS Marketplace needs before an algorithm can be listed (--certify)")
	return out, f
}

func (d *draft) training(f *fields) doc {
	const at = "TrainingSpecification."
	f.say(at+"TrainingImage", d.image, "the image whose `train` is run; %s (--image)", cmp.Or(d.look.says("train"), "it was not looked at"))
	t := doc{{Name: "TrainingImage", Value: d.image}}
	var specs []doc
	for _, p := range d.parameters {
		s := doc{{Name: "Name", Value: p.name}, {Name: "Type", Value: p.kind}}
		how, tunable := "", false
		switch {
		case p.kind == "Categorical":
			s = append(s, ledger.Member{Name: "Range", Value: doc{{Name: "CategoricalParameterRangeSpecification", Value: doc{{Name: "Values", Value: p.values}}}}})
			how, tunable = ", one of "+strings.Join(p.values, ", "), len(p.values) > 1
		case p.low != "":
			s = append(s, ledger.Member{Name: "Range", Value: doc{{Name: p.kind + "ParameterRangeSpecification", Value: doc{{Name: "MinValue", Value: p.low}, {Name: "MaxValue", Value: p.high}}}}})
			how, tunable = fmt.Sprintf(", from %s to %s", p.low, p.high), true
		}
		s = append(s, ledger.Member{Name: "IsTunable", Value: tunable}, ledger.Member{Name: "IsRequired", Value: false}, ledger.Member{Name: "DefaultValue", Value: p.value})
		specs = append(specs, s)
		tuned := "a tuning job cannot vary it: it has no range"
		if tunable {
			tuned = "a tuning job can vary it"
		}
		f.say(fmt.Sprintf("%sSupportedHyperParameters[%d]", at, len(specs)-1), p.name, "%s%s; %s where a job does not give it; %s (--hyperparameter)", p.kind, how, p.value, tuned)
	}
	if specs != nil {
		t = append(t, ledger.Member{Name: "SupportedHyperParameters", Value: specs})
	} else {
		f.say(at+"SupportedHyperParameters", "(none)", "jobs can give no hyperparameter, and the service refuses those that are not listed (--hyperparameter NAME=VALUE:TYPE)")
	}
	t = append(t, ledger.Member{Name: "SupportedTrainingInstanceTypes", Value: d.instances}, ledger.Member{Name: "SupportsDistributedTraining", Value: false})
	f.say(at+"SupportedTrainingInstanceTypes", d.instances, "what buyers can train on; the first is what the validation trains on; %s (--instance-type)", d.look.kind())
	f.say(at+"SupportsDistributedTraining", false, "whether a job may have more than one instance; say true if `train` reads resourceconfig.json and shares the work")
	var metrics []doc
	for i, m := range d.metrics {
		metrics = append(metrics, doc{{Name: "Name", Value: m.name}, {Name: "Regex", Value: m.regex}})
		f.say(fmt.Sprintf("%sMetricDefinitions[%d]", at, i), m.name, "read off each log line that matches %s; a validation wants to see it (--metric)", m.regex)
	}
	if metrics != nil {
		t = append(t, ledger.Member{Name: "MetricDefinitions", Value: metrics})
	} else {
		f.say(at+"MetricDefinitions", "(none)", "no figure is read off the log; without one an algorithm cannot be tuned (--metric NAME=REGEX)")
	}
	t = append(t, ledger.Member{Name: "TrainingChannels", Value: d.channels(f)})
	var objectives []doc
	for i, o := range d.objectives {
		objectives = append(objectives, doc{{Name: "Type", Value: o.kind}, {Name: "MetricName", Value: o.metric}})
		f.say(fmt.Sprintf("%sSupportedTuningJobObjectiveMetrics[%d]", at, i), o.kind+" "+o.metric, "what a tuning job can aim at (--maximize, --minimize)")
	}
	if objectives != nil {
		t = append(t, ledger.Member{Name: "SupportedTuningJobObjectiveMetrics", Value: objectives})
	}
	return t
}

func (d *draft) channels(f *fields) []doc {
	var all []doc
	for i, c := range d.data.channels {
		required := i == 0
		all = append(all, doc{{Name: "Name", Value: c.name}, {Name: "IsRequired", Value: required}, {Name: "SupportedContentTypes", Value: []string{c.kind}},
			{Name: "SupportedCompressionTypes", Value: []string{"None"}}, {Name: "SupportedInputModes", Value: []string{"File"}}})
		must := "a job may go without it"
		if required {
			must = "each job must have it"
		}
		f.say(fmt.Sprintf("TrainingSpecification.TrainingChannels[%d]", i), c.name, "data in /opt/ml/input/data/%s, as files of %s; %s; here: %s, %s, in %s", c.name, c.kind, must, human.Count(int64(c.files), "file"), human.Bytes(c.bytes), c.path)
	}
	return all
}

func (d *draft) serving(f *fields) doc {
	const at = "InferenceSpecification."
	batch := d.data.batch
	realtime := slices.Clone(d.instances)
	accept := []string{d.accept}
	f.say(at+"Containers[0].Image", d.inference, "the image whose `serve` answers /ping and /invocations, with the model that was trained; %s (--inference-image)", cmp.Or(d.look.says("serve"), "it was not looked at"))
	f.say(at+"SupportedTransformInstanceTypes", d.instances, "what buyers can run batch transforms on; the first is what the validation runs it on (--instance-type)")
	f.say(at+"SupportedRealtimeInferenceInstanceTypes", realtime, "what buyers can have an endpoint on (--instance-type)")
	f.say(at+"SupportedContentTypes", []string{batch.kind}, "what /invocations takes, as the data is")
	f.say(at+"SupportedResponseMIMETypes", accept, "what /invocations answers; the transform asks for it (--accept)")
	return doc{{Name: "Containers", Value: []doc{{{Name: "Image", Value: d.inference}}}}, {Name: "SupportedTransformInstanceTypes", Value: d.instances},
		{Name: "SupportedRealtimeInferenceInstanceTypes", Value: realtime}, {Name: "SupportedContentTypes", Value: []string{batch.kind}},
		{Name: "SupportedResponseMIMETypes", Value: accept}}
}

const (
	initProfile = "first"
	initRuntime = 3600 // s
)

func (d *draft) validation(f *fields) doc {
	const at = "ValidationSpecification."
	f.say(at+"ValidationRole", d.role, "whose rights the service has when it validates; no role is used here: name one of yours before you upload the document (--role)")
	const job = at + "ValidationProfiles[0]."
	f.say(job+"ProfileName", initProfile, "names the jobs of the validation; the service takes one profile")
	def := doc{{Name: "TrainingInputMode", Value: "File"}}
	f.say(job+"TrainingJobDefinition.TrainingInputMode", "File", "data is copied into the container before it starts")
	if len(d.parameters) > 0 {
		values := doc{}
		for _, p := range d.parameters {
			values = append(values, ledger.Member{Name: p.name, Value: p.value})
		}
		def = append(def, ledger.Member{Name: "HyperParameters", Value: values})
		f.say(job+"TrainingJobDefinition.HyperParameters", values, "what the validation trains with")
	}
	var inputs []doc
	size := int64(0)
	for i, c := range d.data.channels {
		inputs = append(inputs, doc{{Name: "ChannelName", Value: c.name},
			{Name: "DataSource", Value: doc{{Name: "S3DataSource", Value: doc{{Name: "S3DataType", Value: "S3Prefix"}, {Name: "S3Uri", Value: c.uri}, {Name: "S3DataDistributionType", Value: "FullyReplicated"}}}}},
			{Name: "ContentType", Value: c.kind}, {Name: "CompressionType", Value: "None"}, {Name: "RecordWrapperType", Value: "None"}})
		size += c.bytes
		f.say(fmt.Sprintf("%sTrainingJobDefinition.InputDataConfig[%d]", job, i), c.uri, "channel %s: every object whose key begins so; here it is %s", c.name, c.path)
	}
	models := d.data.bucket() + "/output/training/"
	volume := max(10, 3*size>>30+1)
	f.say(job+"TrainingJobDefinition.OutputDataConfig.S3OutputPath", models, "where model.tar.gz goes")
	f.say(job+"TrainingJobDefinition.ResourceConfig", fmt.Sprintf("1 %s, %d GB", d.instances[0], volume), "what the validation trains on; the disk holds three times the data, 10 GB at least")
	f.say(job+"TrainingJobDefinition.StoppingCondition.MaxRuntimeInSeconds", strconv.Itoa(initRuntime), "a training that takes longer is stopped, and the validation has failed")
	def = append(def, doc{{Name: "InputDataConfig", Value: inputs}, {Name: "OutputDataConfig", Value: doc{{Name: "S3OutputPath", Value: models}}},
		{Name: "ResourceConfig", Value: doc{{Name: "InstanceType", Value: d.instances[0]}, {Name: "InstanceCount", Value: 1}, {Name: "VolumeSizeInGB", Value: volume}}},
		{Name: "StoppingCondition", Value: doc{{Name: "MaxRuntimeInSeconds", Value: initRuntime}}}}...)
	profile := doc{{Name: "ProfileName", Value: initProfile}, {Name: "TrainingJobDefinition", Value: def}}
	if d.inference != "" {
		profile = append(profile, ledger.Member{Name: "TransformJobDefinition", Value: d.transform(f, job+"TransformJobDefinition.")})
	}
	return doc{{Name: "ValidationRole", Value: d.role}, {Name: "ValidationProfiles", Value: []doc{profile}}}
}

// lineTypes are content types with a record a line.
var lineTypes = []string{"text/csv", "application/jsonlines", "text/libsvm", "text/plain", "text/tab-separated-values"}

func (d *draft) transform(f *fields, at string) doc {
	b, scores := d.data.batch, d.data.bucket()+"/output/transform/"
	var t doc
	split, assemble := "None", "None"
	if slices.Contains(lineTypes, b.kind) {
		split, assemble = "Line", "Line"
		t = append(t, ledger.Member{Name: "MaxPayloadInMB", Value: 6}, ledger.Member{Name: "BatchStrategy", Value: "MultiRecord"})
		f.say(at+"MaxPayloadInMB", "6", "no request is larger; the service's own default")
		f.say(at+"BatchStrategy", "MultiRecord", "each request has as many lines as fit into MaxPayloadInMB; with SingleRecord it has one")
	}
	f.say(at+"TransformInput", b.uri, "each object is sent to /invocations as %s, split by %s; here it is %s", b.kind, split, b.path)
	f.say(at+"TransformOutput", scores, "each object's answers go to <name>.out, asked for as %s, assembled with %s", d.accept, assemble)
	f.say(at+"TransformResources", "1 "+d.instances[0], "what the validation's transform runs on")
	return append(t, doc{
		{Name: "TransformInput", Value: doc{{Name: "DataSource", Value: doc{{Name: "S3DataSource", Value: doc{{Name: "S3DataType", Value: "S3Prefix"}, {Name: "S3Uri", Value: b.uri}}}}},
			{Name: "ContentType", Value: b.kind}, {Name: "CompressionType", Value: "None"}, {Name: "SplitType", Value: split}}},
		{Name: "TransformOutput", Value: doc{{Name: "S3OutputPath", Value: scores}, {Name: "Accept", Value: d.accept}, {Name: "AssembleWith", Value: assemble}}},
		{Name: "TransformResources", Value: doc{{Name: "InstanceType", Value: d.instances[0]}, {Name: "InstanceCount", Value: 1}}},
	}...)
}
