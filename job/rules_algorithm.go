package job

import (
	"fmt"
	"slices"
)

func (a *createAlgorithmInput) profiles() []algorithmValidationProfile {
	if a.ValidationSpecification == nil {
		return nil
	}
	return a.ValidationSpecification.ValidationProfiles
}

func onAlgorithm(f func(c *ruling, a *createAlgorithmInput)) func(*ruling) {
	return func(c *ruling) {
		if a, ok := c.doc.body.(*createAlgorithmInput); ok {
			f(c, a)
		}
	}
}

// onHyperSpec runs a rule on each hyperparameter specification.
func onHyperSpec(f func(c *ruling, s hyperParameterSpecification, path string)) func(*ruling) {
	return onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		for i, s := range a.TrainingSpecification.SupportedHyperParameters {
			f(c, s, index("TrainingSpecification.SupportedHyperParameters", i))
		}
	})
}

// algorithmRules hold for a CreateAlgorithm request itself; its profiles' trainings and transforms are in
// trainingRules and transformRules.
var algorithmRules = []rule{
	{"VAL-8", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		if a.CertifyForMarketplace && len(a.profiles()) == 0 {
			c.soft(serviceNo, "CertifyForMarketplace", "", "an algorithm is certified only with a validation profile", "give ValidationSpecification")
		}
	})},
	{"VAL-9", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		if a.CertifyForMarketplace && a.InferenceSpecification == nil {
			c.soft(serviceNo, "CertifyForMarketplace", "", "an algorithm can be listed only with an inference image", "give InferenceSpecification")
		}
	})},
	{"VAL-14", onHyperSpec(func(c *ruling, s hyperParameterSpecification, path string) {
		if s.IsRequired && s.DefaultValue != nil { // ruling 11: validate fails it, running warns
			c.soft(serviceNo, path+".DefaultValue", "", fmt.Sprintf("hyperparameter %q is required, so it cannot have a default", s.Name), "leave DefaultValue out, or set IsRequired to false")
		}
	})},
	{"VAL-15", onHyperSpec(rangeFits)},
	{"HP-1", onHyperSpec(func(c *ruling, s hyperParameterSpecification, path string) {
		if s.DefaultValue == nil {
			return
		}
		if message, text := s.refuses(*s.DefaultValue); message != "" {
			c.broken(path+".DefaultValue", message, text, "")
		}
	})},
	{"DOC-4", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		t := a.TrainingSpecification
		names := make([]string, 0, len(t.SupportedHyperParameters))
		for _, s := range t.SupportedHyperParameters {
			names = append(names, s.Name)
		}
		c.unique("TrainingSpecification.SupportedHyperParameters", "Name", names)
		names = nil
		for _, s := range t.TrainingChannels {
			names = append(names, s.Name)
		}
		c.unique("TrainingSpecification.TrainingChannels", "Name", names)
		names = nil
		for _, p := range a.profiles() {
			names = append(names, p.ProfileName)
		}
		c.unique("ValidationSpecification.ValidationProfiles", "ProfileName", names)
	})},
	{"CH-3", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		for i, s := range a.TrainingSpecification.TrainingChannels {
			if at := slices.Index(s.SupportedInputModes, "FastFile"); at >= 0 { // ruling 11
				c.soft(serviceNo, index(index("TrainingSpecification.TrainingChannels", i)+".SupportedInputModes", at), "",
					"SageMaker's CreateAlgorithm rejects FastFile, although its model lists it", "leave it out; a buyer's training job may still use it with an image")
			}
		}
	})},
	{"VAL-13", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		for i, o := range a.TrainingSpecification.SupportedTuningJobObjectiveMetrics {
			if !slices.ContainsFunc(a.TrainingSpecification.MetricDefinitions, func(m metricDefinition) bool { return m.Name == o.MetricName }) {
				c.broken(index("TrainingSpecification.SupportedTuningJobObjectiveMetrics", i)+".MetricName", "",
					fmt.Sprintf("metric %q is not in MetricDefinitions", o.MetricName), "define it, or leave the objective out")
			}
		}
	})},
	{"DOC-1", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		if a.InferenceSpecification == nil {
			return
		}
		for i, ct := range a.InferenceSpecification.Containers {
			if ct.Image == "" {
				c.missing(index("InferenceSpecification.Containers", i) + ".Image")
			}
		}
	})},
	{"VAL-1", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		for i, p := range a.profiles() {
			switch {
			case p.TransformJobDefinition != nil && a.InferenceSpecification == nil:
				c.warn(profilePath(i)+".TransformJobDefinition", "the algorithm has no InferenceSpecification: no transform is run")
			case p.TransformJobDefinition == nil && a.InferenceSpecification != nil:
				c.warn(profilePath(i), "the profile has no TransformJobDefinition: the inference container is not tried")
			}
		}
	})},
	{"INF-29", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		const text = "is not mounted: its place in the container is not published" // ruling 10
		if a.TrainingSpecification.AdditionalS3DataSource != nil {
			c.warn("TrainingSpecification.AdditionalS3DataSource", text)
		}
		if a.InferenceSpecification == nil {
			return
		}
		for i, ct := range a.InferenceSpecification.Containers {
			if ct.AdditionalS3DataSource != nil {
				c.warn(index("InferenceSpecification.Containers", i)+".AdditionalS3DataSource", text)
			}
		}
	})},
	{"INF-41", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		if a.InferenceSpecification == nil {
			return
		}
		var envs []map[string]string
		for i, ct := range a.InferenceSpecification.Containers {
			envs = append(envs, ct.Environment)
			if len(ct.Environment) > 16 {
				c.warn(index("InferenceSpecification.Containers", i)+".Environment", fmt.Sprintf("has %d entries; the service's documentation says 16 for these containers, its model 100", len(ct.Environment)))
			}
		}
		c.environmentSize("InferenceSpecification.Containers", envs)
	})},
	{"DOC-6", onAlgorithm(func(c *ruling, a *createAlgorithmInput) {
		t := a.TrainingSpecification
		first := -1
		for i, s := range t.SupportedHyperParameters {
			if !s.IsTunable {
				continue
			}
			if first < 0 {
				first = i
			}
			at := index("TrainingSpecification.SupportedHyperParameters", i) + ".IsTunable"
			if s.Type == "FreeText" {
				c.warn(at, fmt.Sprintf("hyperparameter %q is FreeText: a tuning job searches numbers and categories only", s.Name))
			} else if s.Range == nil {
				c.warn(at, fmt.Sprintf("hyperparameter %q has no Range: a tuning job's own is held against nothing", s.Name))
			}
		}
		if first >= 0 && len(t.SupportedTuningJobObjectiveMetrics) == 0 {
			c.warn(index("TrainingSpecification.SupportedHyperParameters", first)+".IsTunable", "the algorithm has tunable hyperparameters and no SupportedTuningJobObjectiveMetrics to tune them for")
		}
	})},
}

// rangeFits: a range goes with its type, can be read, and is not empty.
func rangeFits(c *ruling, s hyperParameterSpecification, path string) {
	if s.Range == nil {
		return
	}
	have := map[string]bool{"Integer": s.Range.IntegerParameterRangeSpecification != nil,
		"Continuous": s.Range.ContinuousParameterRangeSpecification != nil, "Categorical": s.Range.CategoricalParameterRangeSpecification != nil}
	n := 0
	for kind, given := range have {
		if !given {
			continue
		}
		n++
		if kind != s.Type {
			c.broken(path+".Range."+kind+"ParameterRangeSpecification", "", fmt.Sprintf("hyperparameter %q is of type %s, its range is for %s", s.Name, s.Type, kind), "")
		}
	}
	if n == 0 {
		c.broken(path+".Range", "", fmt.Sprintf("the range of hyperparameter %q is empty", s.Name), "leave Range out, or fill it")
		return
	}
	low, high, given := s.bounds()
	if !given {
		return
	}
	parse, member := parseContinuous, path+".Range.ContinuousParameterRangeSpecification"
	if s.Type == "Integer" {
		parse, member = parseInteger, path+".Range.IntegerParameterRangeSpecification"
	}
	l, ok1 := parse(low)
	h, ok2 := parse(high)
	if !ok1 {
		c.broken(member+".MinValue", "", fmt.Sprintf("%q is not a value of type %s", low, s.Type), "")
	}
	if !ok2 {
		c.broken(member+".MaxValue", "", fmt.Sprintf("%q is not a value of type %s", high, s.Type), "")
	}
	if ok1 && ok2 && l.cmp(h) > 0 {
		c.broken(member+".MinValue", "", fmt.Sprintf("the range of hyperparameter %q begins at %s and ends at %s", s.Name, low, high), "MinValue must not be above MaxValue")
	}
}

// unique reports names that a list has twice.
func (c *ruling) unique(path, member string, names []string) {
	seen := map[string]int{}
	for i, n := range names {
		if first, dup := seen[n]; dup {
			c.broken(index(path, i)+"."+member, "", fmt.Sprintf("%q stands in %s already", n, index(path, first)), "each name once")
			continue
		}
		seen[n] = i
	}
}

// environmentSize: a model's environments have at most 32 KB together (INF-41).
func (c *ruling) environmentSize(path string, envs []map[string]string) {
	const most = 32 << 10
	n := 0
	for _, e := range envs {
		for k, v := range e {
			n += len(k) + len(v)
		}
	}
	if n > most {
		c.broken(path, "", fmt.Sprintf("the environments of a model's containers have %d bytes together, more than %d", n, most), "")
	}
}
