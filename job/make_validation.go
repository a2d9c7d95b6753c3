package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// chooseProfile is the index of the validation profile to run. what has them, names are theirs.
func chooseProfile(what string, names []string, want string) (int, error) {
	i := slices.Index(names, want)
	switch {
	case i >= 0:
		return i, nil
	case want == "" && len(names) == 1:
		return 0, nil
	case want == "":
		return 0, fmt.Errorf("%s has %d validation profiles, choose one: %s", what, len(names), strings.Join(names, ", "))
	case len(names) == 0:
		return 0, fmt.Errorf("%s has no validation profile %q: it has none", what, want)
	}
	return 0, fmt.Errorf("%s has no validation profile %q: %s", what, want, strings.Join(names, ", "))
}

// Profiles names the validation profiles of a CreateAlgorithm or CreateModelPackage document, in order.
func (d *Document) Profiles() []string {
	var names []string
	switch b := d.body.(type) {
	case *createAlgorithmInput:
		for _, p := range b.profiles() {
			names = append(names, p.ProfileName)
		}
	case *createModelPackageInput:
		for _, p := range b.profiles() {
			names = append(names, p.ProfileName)
		}
	}
	return names
}

// unspecified is why nothing is run of a request without a profile (VAL-7).
const unspecified = "the request has no validation profile"

// skip makes a validation one of which nothing is run: the service makes what is asked for all the same (VAL-7).
func (m *maker) skip(v *Validation, path, why string) {
	v.Skipped = why
	m.warn("VAL-7", path, "%s: nothing is run, and nothing of it is known to work; the service makes it Completed like that, and it cannot be listed on the marketplace", why)
}

// run is the plan of a validation, which is a new run each time (ruling 2).
func (m *maker) run(name, resource, id, role string, images ...string) *Plan {
	entry := cmp.Or(m.o.Name, name)
	if m.o.RunSuffix != "" && m.o.Name == "" {
		entry = cut(entry, maxName-1-len(m.o.RunSuffix)) + "-" + m.o.RunSuffix
	}
	p := m.plan(KindValidation, entry, resource, role, images...)
	p.ARN = arn(p.Region, p.Account, resource, id)
	return p
}

// validation makes the plan of an algorithm's validation (VAL-1): a training and, with a TransformJobDefinition, a
// transform of what it made. The children's plans are complete: the model's address is known before it exists.
func (m *maker) validation(a *createAlgorithmInput) (*Plan, error) {
	spec := a.TrainingSpecification
	role := ""
	if a.ValidationSpecification != nil {
		role = a.ValidationSpecification.ValidationRole
	}
	p := m.run(a.AlgorithmName, "algorithm", a.AlgorithmName, role, spec.TrainingImage)
	v := &Validation{Algorithm: a.AlgorithmName, Images: []NamedImage{{"training-image", image(spec.TrainingImage, spec.TrainingImageDigest)}}}
	p.Validation = v
	var served []servedContainer
	if a.InferenceSpecification != nil {
		served = m.packageContainers(a.InferenceSpecification.Containers)
		v.Images = append(v.Images, inferenceImages(served)...)
	}
	if len(a.profiles()) == 0 && m.o.Profile == "" {
		m.skip(v, "ValidationSpecification", unspecified)
		return p, nil
	}
	i, err := chooseProfile("algorithm "+a.AlgorithmName, m.set.main.Profiles(), m.o.Profile)
	if err != nil {
		return nil, err
	}
	prof, path := &a.profiles()[i], profilePath(i)
	v.Profile = prof.ProfileName

	isolated := m.isolated(true) // CH-5
	def := &prof.TrainingJobDefinition
	train := m.plan(KindTraining, childName(a.AlgorithmName, prof.ProfileName, "training", m.o.RunSuffix), "training-job", role, spec.TrainingImage)
	train.Training = m.training(train, def.view(join(path, "TrainingJobDefinition")), withDefaults(def.HyperParameters, spec.SupportedHyperParameters),
		v.Images[0].Image, spec.MetricDefinitions)
	train.Training.Isolated = isolated
	train.Training.Instances[0].Containers[0].Env = m.trainingEnv(train, nil)
	v.Training = train
	r := rehearsed{training: def.ResourceConfig.InstanceType, spec: &spec, inference: a.InferenceSpecification}

	if prof.TransformJobDefinition != nil && len(served) > 0 {
		model := servedModel{name: childName(a.AlgorithmName, prof.ProfileName, "model", m.o.RunSuffix), role: role, containers: served}
		if c := &model.containers[model.untrained()]; c.model.URI == "" { // ruling 21
			c.model.URI = train.Training.ModelURI
			if train.Training.Unpacked {
				c.model = ModelSource{URI: train.Training.ModelURI + "/", Type: "S3Prefix", Unpacked: true}
			}
		} else {
			m.warn("ruling 21", "InferenceSpecification.Containers", "each inference container has its own ModelDataUrl: the model that the training makes is not used by the transform")
		}
		r.transform = prof.TransformJobDefinition.TransformResources.InstanceType
		v.Transform = m.validationTransform(p, a.AlgorithmName, prof.TransformJobDefinition.view(join(path, "TransformJobDefinition")), model, isolated)
	}
	m.rehearse(v, r)
	return p, nil
}

// packageValidation makes the plan of a model package's validation (VAL-2): a transform with its model.
func (m *maker) packageValidation(r *createModelPackageInput) (*Plan, error) {
	name, id, version := r.ModelPackageName, r.ModelPackageName, 0
	if r.ModelPackageGroupName != "" {
		name, version = r.ModelPackageGroupName, 1
		id = name + "/" + strconv.Itoa(version)
	}
	served := m.packageModel(r)
	role := ""
	if r.ValidationSpecification != nil {
		role = r.ValidationSpecification.ValidationRole
	}
	p := m.run(name, "model-package", id, role, served[0].image.Ref)
	v := &Validation{Package: name, Version: version, Images: inferenceImages(served)}
	p.Validation = v
	switch {
	case len(r.profiles()) == 0 && m.o.Profile == "":
		m.skip(v, "ValidationSpecification", unspecified)
		return p, nil
	case r.SkipModelValidation == "All":
		m.skip(v, "SkipModelValidation", "SkipModelValidation is All")
		return p, nil
	}
	i, err := chooseProfile("model package "+name, m.set.main.Profiles(), m.o.Profile)
	if err != nil {
		return nil, err
	}
	prof := &r.profiles()[i]
	v.Profile = prof.ProfileName
	model := servedModel{name: childName(name, prof.ProfileName, "model", m.o.RunSuffix), role: role, containers: served}
	v.Transform = m.validationTransform(p, name, prof.TransformJobDefinition.view(join(profilePath(i), "TransformJobDefinition")), model, m.isolated(true))
	inference := r.InferenceSpecification
	if inference == nil {
		inference = m.set.algorithm.body.(*createAlgorithmInput).InferenceSpecification
	}
	m.rehearse(v, rehearsed{transform: prof.TransformJobDefinition.TransformResources.InstanceType, inference: inference})
	return p, nil
}

// validationTransform is the transform of a validation: of whose name it is in name.
func (m *maker) validationTransform(p *Plan, name string, t transformView, model servedModel, isolated bool) *Plan {
	tf := m.plan(KindTransform, childName(name, p.Validation.Profile, "transform", m.o.RunSuffix), "transform-job", model.role, model.containers[0].image.Ref)
	tf.Region, tf.Account = p.Region, p.Account
	tf.ARN = arn(p.Region, p.Account, "transform-job", tf.Name)
	tf.Transform = m.transform(tf, t, model)
	tf.Transform.Isolated = isolated
	return tf
}

// inferenceImages are the images of an InferenceSpecification, named as VAL-22 has it.
func inferenceImages(all []servedContainer) []NamedImage {
	var out []NamedImage
	for i, c := range all {
		name := "inference-image"
		if len(all) > 1 {
			name += "-" + strconv.Itoa(i+1)
		}
		out = append(out, NamedImage{name, c.image})
	}
	return out
}
