package job

import (
	"cmp"
	"fmt"
)

// onTraining runs a rule on each training job that a document describes.
func onTraining(f func(c *ruling, t trainingView)) func(*ruling) {
	return func(c *ruling) {
		switch b := c.doc.body.(type) {
		case *createTrainingJobRequest:
			if b.ResourceConfig == nil {
				b2 := *b
				b2.ResourceConfig = &resourceConfig{}
				b = &b2
			}
			f(c, b.view())
		case *createAlgorithmInput:
			if b.ValidationSpecification != nil {
				for i := range b.ValidationSpecification.ValidationProfiles {
					path := index("ValidationSpecification.ValidationProfiles", i) + ".TrainingJobDefinition"
					f(c, b.ValidationSpecification.ValidationProfiles[i].TrainingJobDefinition.view(path))
				}
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

func (t trainingView) channelPath(i int) string { return index(t.at("InputDataConfig"), i) }

func (t trainingView) channelMode(i int) string { return cmp.Or(t.channels[i].InputMode, t.mode) }

// missing reports a required member that the model does not know to be required.
func (c *ruling) missing(path string) {
	p := c.doc.problem(path, Problem{constraint: true, Rule: c.id, Text: "is required and missing"})
	p.Message = fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", p.AWSPath)
	c.out.add(p)
}

var trainingRules = []rule{
	{"START-7", onTrainingJob(func(c *ruling, r *createTrainingJobRequest) {
		s := r.AlgorithmSpecification
		if s == nil {
			c.missing("AlgorithmSpecification")
			return
		}
		switch {
		case s.TrainingImage != "" && s.AlgorithmName != "":
			c.broken("AlgorithmSpecification.AlgorithmName", "", "TrainingImage and AlgorithmName exclude each other", "give one of the two")
		case s.TrainingImage == "" && s.AlgorithmName == "":
			c.broken("AlgorithmSpecification.TrainingImage", "", "one of TrainingImage and AlgorithmName is required", "give the image, or the name of an algorithm")
		case s.AlgorithmName != "" && c.set.algorithm == nil:
			c.broken("AlgorithmSpecification.AlgorithmName", "", fmt.Sprintf("algorithm %q is not known here", s.AlgorithmName), "give its CreateAlgorithm request beside this one, or TrainingImage")
		case s.AlgorithmName == "" && c.set.algorithm != nil:
			c.broken("AlgorithmSpecification.TrainingImage", "", "a CreateAlgorithm request was given, and this job names an image, not an algorithm", "leave the CreateAlgorithm request out, or name it in AlgorithmName")
		}
	})},
	{"RES-6", onTrainingJob(func(c *ruling, r *createTrainingJobRequest) {
		if r.ResourceConfig == nil {
			c.missing("ResourceConfig")
		}
		if r.StoppingCondition == nil {
			c.missing("StoppingCondition")
		}
	})},
}
