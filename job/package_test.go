package job

import (
	"slices"
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
		`"other" is not known here`:                                                     {ofAlgorithm}, // to be validated itself
		"and this package is of none":                                                   {pkg, fixture(t, "algorithm.json")},
		"the package has 2 containers, and this does not say which it is for":           {transform, model(object{"ModelPackageName": "boost-package", "Environment": object{"A": "b"}}), several},
		"a model of a package has no other container":                                   {transform, pipelineModel(t, named, object{"Image": "i"}), pkg},
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

// VAL-2, VAL-4, VAL-6, VAL-11, VAL-22: a package's validation is a transform with its model, isolated, with the defaults
// of what a TransformJobDefinition cannot say.
func TestVAL2PackageValidation(t *testing.T) {
	two := object{"ContainerHostname": "second", "Image": "img:2", "ModelDataETag": "e2", "ModelDataUrl": "s3://b/2.tar.gz"}
	several := change(t, edit(t, "package.json", "", ""), "InferenceSpecification.Containers", []any{object{"ContainerHostname": "first", "Image": "img:1"}, two})
	p := plan(t, Options{RunSuffix: "r1"}, machine, several)
	v := p.Validation
	if p.Name != "boost-package-r1" || p.Operation != CreateModelPackage || p.ARN != "arn:aws:sagemaker:us-east-1:210987654321:model-package/boost-package" || v.Package != "boost-package" || v.Algorithm != "" || v.Training != nil {
		t.Errorf("%+v %+v", p, v)
	}
	tf := v.Transform
	if tf.Name != "boost-package-default-transform-r1" || tf.Operation != CreateTransformJob || !tf.Transform.Isolated || tf.Transform.MaxRetries != 3 || tf.Transform.InvocationTimeout.Std().Seconds() != 600 {
		t.Errorf("%+v", tf)
	}
	if in := tf.Transform.Instances[0].Containers; len(in) != 2 || in[0].Name != "algo-1-first" || in[1].Port == in[0].Port {
		t.Errorf("INF-51: %+v", in)
	}
	if m := tf.Transform.Models; m[0].URI != "" || m[1].URI != "s3://b/2.tar.gz" || m[1].ETag != "e2" {
		t.Errorf("ruling 21: %+v", m)
	}
	want := []NamedImage{{"inference-image-1", Image{Ref: "img:1"}}, {"inference-image-2", Image{Ref: "img:2"}}}
	if !slices.Equal(v.Images, want) {
		t.Errorf("VAL-22: %+v", v.Images)
	}

	// VAL-52: a version of a group; and the algorithm's containers with the package's own model and its ETag.
	text := change(t, edit(t, "package.json", `"CertifyForMarketplace": true`, `"ModelPackageGroupName": "group"`), "ModelPackageName", nil)
	if p := plan(t, Options{}, machine, text); p.ARN != "arn:aws:sagemaker:us-east-2:210987654321:model-package/group/1" || p.Validation.Version != 1 || p.Validation.Package != "group" {
		t.Errorf("%+v %+v", p, p.Validation)
	}
	text = change(t, change(t, edit(t, "package.json", "", ""), "InferenceSpecification", nil), "SourceAlgorithmSpecification",
		object{"SourceAlgorithms": []any{object{"AlgorithmName": "iris-forest", "ModelDataUrl": "s3://b/trained.tar.gz", "ModelDataETag": "abc"}}})
	p, err := Make([]*Document{decode(t, "package.json", text), fixture(t, "algorithm.json")}, Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	if m := p.Validation.Transform.Transform.Models[0]; p.Operation != CreateModelPackage || m.URI != "s3://b/trained.tar.gz" || m.ETag != "abc" {
		t.Errorf("%+v", p.Validation.Transform.Transform.Models)
	}
}

// VAL-7: what has no profile, or skips it, is accepted, runs nothing, and is said to.
func TestVAL7NothingIsRun(t *testing.T) {
	for _, c := range []struct {
		file, path string
		value      any
		skipped    string
	}{
		{"algorithm.json", "ValidationSpecification", nil, "the request has no validation profile"},
		{"package.json", "ValidationSpecification", nil, "the request has no validation profile"},
		{"package.json", "ValidationSpecification.ValidationProfiles", []any{}, "the request has no validation profile"},
		{"package.json", "SkipModelValidation", "All", "SkipModelValidation is All"},
		{"package.json", "SkipModelValidation", "None", ""},
	} {
		text := change(t, change(t, edit(t, c.file, "", ""), "CertifyForMarketplace", nil), c.path, c.value)
		p := plan(t, Options{}, machine, text)
		v := p.Validation
		ran := v.Training != nil || v.Transform != nil
		said := slices.ContainsFunc(p.Warnings, func(w Warning) bool { return w.Rule == "VAL-7" && strings.Contains(w.Text, "nothing is run") })
		if v.Skipped != c.skipped || ran != (c.skipped == "") || said == ran || len(v.Images) == 0 {
			t.Errorf("%s %s = %v: %+v, warnings %+v", c.file, c.path, c.value, v, p.Warnings)
		}
	}
	text := change(t, change(t, edit(t, "package.json", "", ""), "CertifyForMarketplace", nil), "ValidationSpecification", nil)
	if got := refusal(t, Options{Profile: "other"}, text); got != `model package boost-package has no validation profile "other": it has none` {
		t.Errorf("got %q", got)
	}
}

// Ruling 4: --lenient takes several profiles of a package, one at a time.
func TestSeveralProfilesOfAPackage(t *testing.T) {
	definition := object{"TransformInput": object{"DataSource": object{"S3DataSource": object{"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}},
		"TransformOutput": object{"S3OutputPath": "s3://b/out"}, "TransformResources": object{"InstanceType": "ml.m5.large", "InstanceCount": 1}}
	text := change(t, edit(t, "package.json", "", ""), "ValidationSpecification.ValidationProfiles",
		[]any{object{"ProfileName": "a", "TransformJobDefinition": definition}, object{"ProfileName": "b", "TransformJobDefinition": definition}})
	if got := refusal(t, Options{}, text); !strings.Contains(got, "at 'validationSpecification.validationProfiles' failed to satisfy constraint: Member must have length less than or equal to 1") {
		t.Errorf("got %q", got)
	}
	if got := decode(t, "package.json", text).Profiles(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
	if p := plan(t, Options{Lenient: true, Profile: "b"}, machine, text); p.Validation.Profile != "b" {
		t.Errorf("%+v", p.Validation)
	}
}
