package job

import (
	"strings"
	"testing"
)

// VAL-53, TRAP-25: a model that names a package is its containers, with the model's environment over the package's.
func TestModelOfAPackage(t *testing.T) {
	for _, name := range []string{"boost-package", "arn:aws:sagemaker:us-east-2:210987654321:model-package/boost-package", "boost-package/3"} {
		text := change(t, edit(t, "model.json", "", ""), "PrimaryContainer", object{"ModelPackageName": name, "Environment": object{"LOG": "mine", "B": "model"}})
		pkg := change(t, edit(t, "package.json", "", ""), "InferenceSpecification.Containers[0].Environment", object{"LOG": "package", "A": "package"})
		p, err := Make([]*Document{fixture(t, "transform.json"), decode(t, "model.json", text), decode(t, "package.json", pkg)}, Options{}, machine)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := p.Transform.Instances[0].Containers[0]
		if c.Image.Ref != "210987654321.dkr.ecr.us-east-2.amazonaws.com/boost:1" || p.Transform.Models[0].URI != "s3://bucket/model.tar.gz" || c.Name != "algo-1" || c.Port != 8080 {
			t.Errorf("%s: %+v %+v", name, c, p.Transform.Models)
		}
		if c.Env["A"] != "package" || c.Env["B"] != "model" || c.Env["LOG"] != "job" {
			t.Errorf("INF-40: %v", c.Env)
		}
	}
	// A package of several containers is a pipeline.
	pkg := change(t, edit(t, "package.json", "", ""), "InferenceSpecification.Containers", []any{object{"Image": "img:1"}, object{"Image": "img:2", "ModelDataUrl": "s3://b/2.tar.gz"}})
	p, err := Make(append(packaged(t), decode(t, "package.json", pkg)), Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	if in := p.Transform.Instances[0].Containers; len(in) != 2 || in[1].Name != "algo-1-container-2" || p.Transform.Models[1].URI != "s3://b/2.tar.gz" {
		t.Errorf("%+v %+v", in, p.Transform.Models)
	}
}

// VAL-52, ruling 21: a package of an algorithm has the algorithm's inference containers and its own model.
func TestModelOfAnAlgorithm(t *testing.T) {
	pkg := change(t, change(t, edit(t, "package.json", "", ""), "InferenceSpecification", nil), "SourceAlgorithmSpecification",
		object{"SourceAlgorithms": []any{object{"AlgorithmName": "arn:aws:sagemaker:us-east-2:210987654321:algorithm/iris-forest", "ModelDataUrl": "s3://b/trained.tar.gz"}}})
	p, err := Make(append(packaged(t), decode(t, "package.json", pkg), fixture(t, "algorithm.json")), Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	want := plan(t, Options{}, machine, edit(t, "algorithm.json", "", "")).Validation.Transform.Transform.Instances[0].Containers[0].Image
	if c := p.Transform.Instances[0].Containers[0]; c.Image != want || p.Transform.Models[0].URI != "s3://b/trained.tar.gz" {
		t.Errorf("%+v %+v", c, p.Transform.Models)
	}
}

// packageMistakes are documents that do not go together, by what is said.
func packageMistakes(t *testing.T) map[string][]*Document {
	transform, pkg := fixture(t, "transform.json"), fixture(t, "package.json")
	model := func(container object) *Document {
		return decode(t, "model.json", change(t, edit(t, "model.json", "", ""), "PrimaryContainer", container))
	}
	ofAlgorithm := decode(t, "package.json", change(t, change(t, edit(t, "package.json", "", ""), "InferenceSpecification", nil), "SourceAlgorithmSpecification",
		object{"SourceAlgorithms": []any{object{"AlgorithmName": "other", "ModelDataUrl": "s3://b/m.tar.gz"}}}))
	unserved := change(t, change(t, edit(t, "algorithm.json", "", ""), "InferenceSpecification", nil), "AlgorithmName", "other")
	several := decode(t, "package.json", change(t, edit(t, "package.json", "", ""), "InferenceSpecification.Containers", []any{object{"Image": "a"}, object{"Image": "b"}}))
	named := object{"ModelPackageName": "boost-package"}
	return map[string][]*Document{
		`model package "boost-package" is not known here`:                               {transform, model(named)},
		`names model package "x", and the CreateModelPackage request given`:             {transform, model(object{"ModelPackageName": "x"}), pkg},
		"ModelPackageName excludes Image and model data":                                {transform, model(object{"ModelPackageName": "boost-package", "Image": "i"}), pkg},
		"this model names no package":                                                   {transform, model(object{"Image": "i"}), pkg},
		"give the CreateModel request that names the package too":                       {transform, pkg},
		"a CreateTrainingJob request uses no CreateModelPackage request":                {fixture(t, "training.json"), pkg},
		`algorithm "other" is not known here`:                                           {transform, model(named), ofAlgorithm},
		"algorithm other has no InferenceSpecification: there is nothing to serve with": {transform, model(named), ofAlgorithm, decode(t, "algorithm.json", unserved)},
		`names algorithm "other", and the CreateAlgorithm request given`:                {transform, model(named), ofAlgorithm, fixture(t, "algorithm.json")},
		"a CreateAlgorithm request was given, and this package is of none":              {transform, model(named), pkg, fixture(t, "algorithm.json")},
		"the package has 2 containers, and this does not say which it is for":           {transform, model(object{"ModelPackageName": "boost-package", "Environment": object{"A": "b"}}), several},
		"a model of a package has no other container":                                   {transform, pipelineModel(t, named, object{"Image": "i"}), pkg},
		"CreateModelPackage: refused: model packages are read and checked, and not":     {pkg},
	}
}

// What does not go together is said, and where.
func TestPackageMistakes(t *testing.T) {
	for want, docs := range packageMistakes(t) {
		if _, err := Make(docs, Options{}, machine); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
