package job

import (
	"cmp"
	"fmt"
	"strings"
)

// profile is the validation profile to run, and its index.
func (a *createAlgorithmInput) profile(name string) (*algorithmValidationProfile, int, error) {
	if a.ValidationSpecification == nil || len(a.ValidationSpecification.ValidationProfiles) == 0 {
		return nil, 0, fmt.Errorf("algorithm %s has no ValidationSpecification: there is nothing to run", a.AlgorithmName)
	}
	profiles := a.ValidationSpecification.ValidationProfiles
	if name == "" && len(profiles) == 1 {
		return &profiles[0], 0, nil
	}
	names := make([]string, len(profiles))
	for i := range profiles {
		if names[i] = profiles[i].ProfileName; names[i] == name {
			return &profiles[i], i, nil
		}
	}
	if name == "" {
		return nil, 0, fmt.Errorf("algorithm %s has %d validation profiles, choose one: %s", a.AlgorithmName, len(profiles), strings.Join(names, ", "))
	}
	return nil, 0, fmt.Errorf("algorithm %s has no validation profile %q: %s", a.AlgorithmName, name, strings.Join(names, ", "))
}

// Profiles names the validation profiles of a CreateAlgorithm document, in order.
func (d *Document) Profiles() []string {
	a, ok := d.body.(*createAlgorithmInput)
	if !ok || a.ValidationSpecification == nil {
		return nil
	}
	var names []string
	for _, p := range a.ValidationSpecification.ValidationProfiles {
		names = append(names, p.ProfileName)
	}
	return names
}

// validation makes the plan of an algorithm's validation (VAL-1): a training and, with a TransformJobDefinition, a
// transform of what it made. The children's plans are complete: the model's address is known before it exists.
func (m *maker) validation(a *createAlgorithmInput) (*Plan, error) {
	prof, i, err := a.profile(m.o.Profile)
	if err != nil {
		return nil, err
	}
	path := index("ValidationSpecification.ValidationProfiles", i)
	spec := a.TrainingSpecification
	role := a.ValidationSpecification.ValidationRole
	name := cmp.Or(m.o.Name, a.AlgorithmName)
	if m.o.RunSuffix != "" && m.o.Name == "" { // each validation is a new run (ruling 2)
		name = cut(name, maxName-1-len(m.o.RunSuffix)) + "-" + m.o.RunSuffix
	}
	p := m.plan(KindValidation, name, "algorithm", role, spec.TrainingImage)
	p.ARN = arn(p.Region, p.Account, "algorithm", a.AlgorithmName)
	v := &Validation{Algorithm: a.AlgorithmName, Profile: prof.ProfileName}
	p.Validation = v

	isolated := m.isolated(true) // CH-5
	def := &prof.TrainingJobDefinition
	train := m.plan(KindTraining, childName(a.AlgorithmName, prof.ProfileName, "training", m.o.RunSuffix), "training-job", role, spec.TrainingImage)
	train.Training = m.training(train, def.view(join(path, "TrainingJobDefinition")), withDefaults(def.HyperParameters, spec.SupportedHyperParameters),
		image(spec.TrainingImage, spec.TrainingImageDigest), spec.MetricDefinitions)
	train.Training.Isolated = isolated
	train.Training.Instances[0].Containers[0].Env = m.trainingEnv(train, nil)
	v.Training = *train

	if prof.TransformJobDefinition != nil && a.InferenceSpecification != nil {
		model := servedModel{name: childName(a.AlgorithmName, prof.ProfileName, "model", m.o.RunSuffix), role: role}
		model.containers = m.packageContainers(a.InferenceSpecification.Containers)
		if c := &model.containers[model.untrained()]; c.model.URI == "" { // ruling 21
			c.model.URI = train.Training.ModelURI
			if train.Training.Unpacked {
				c.model = ModelSource{URI: train.Training.ModelURI + "/", Type: "S3Prefix", Unpacked: true}
			}
		} else {
			m.warn("ruling 21", "InferenceSpecification.Containers", "each inference container has its own ModelDataUrl: the model that the training makes is not used by the transform")
		}
		tf := m.plan(KindTransform, childName(a.AlgorithmName, prof.ProfileName, "transform", m.o.RunSuffix), "transform-job", role, model.containers[0].image.Ref)
		tf.Region, tf.Account = p.Region, p.Account
		tf.ARN = arn(p.Region, p.Account, "transform-job", tf.Name)
		tf.Transform = m.transform(tf, prof.TransformJobDefinition.view(join(path, "TransformJobDefinition")), model)
		tf.Transform.Isolated = isolated
		v.Transform = tf
	}
	m.rehearse(v, a, prof)
	return p, nil
}
