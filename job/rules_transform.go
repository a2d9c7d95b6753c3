package job

import (
	"cmp"
	"fmt"
	"iter"
	"strings"

	"github.com/optml/optml/dataprocessing"
	"github.com/optml/optml/human"
)

// onTransform runs a rule on each transform job that a document describes.
func onTransform(f func(c *ruling, t transformView)) func(*ruling) {
	return func(c *ruling) {
		switch b := c.doc.body.(type) {
		case *createTransformJobRequest:
			f(c, b.view())
		case *createAlgorithmInput:
			for i, p := range b.profiles() {
				if p.TransformJobDefinition != nil {
					f(c, p.TransformJobDefinition.view(profilePath(i)+".TransformJobDefinition"))
				}
			}
		case *createModelPackageInput:
			if b.ValidationSpecification == nil {
				return
			}
			for i := range b.ValidationSpecification.ValidationProfiles {
				f(c, b.ValidationSpecification.ValidationProfiles[i].TransformJobDefinition.view(profilePath(i)+".TransformJobDefinition"))
			}
		}
	}
}

// dataProcessingRule is BT-155: breaking one of the rules is an error at creation.
func dataProcessingRule(c *ruling, t transformView) {
	for _, r := range t.dataProcessing().Broken() {
		if r.ID == c.id {
			c.broken(t.at(r.Member), "", r.Text, "")
		}
	}
}

// filters yields the filters by their members.
func (d dataProcessing) filters() iter.Seq2[string, string] {
	return func(yield func(member, filter string) bool) {
		if yield("InputFilter", d.InputFilter) {
			yield("OutputFilter", d.OutputFilter)
		}
	}
}

func onTransformJob(f func(c *ruling, r *createTransformJobRequest)) func(*ruling) {
	return func(c *ruling) {
		if b, ok := c.doc.body.(*createTransformJobRequest); ok {
			f(c, b)
		}
	}
}

// transformRules hold for transform jobs, those of validation profiles included.
var transformRules = []rule{
	{"VAL-53", onTransformJob(func(c *ruling, r *createTransformJobRequest) {
		if c.set.model == nil {
			if c.o.ModelImage == "" {
				c.broken("ModelName", "", fmt.Sprintf("model %q is not known here", r.ModelName), "give its CreateModel request beside this one, or an image and a model.tar.gz (--image, --model)")
			}
			return
		}
		if have := c.set.model.body.(*createModelInput).ModelName; have != r.ModelName {
			c.broken("ModelName", fmt.Sprintf("Could not find model %q.", r.ModelName), fmt.Sprintf("names model %q, and the CreateModel request given makes %q", r.ModelName, have), "")
		}
	})},
	{"BT-33", onTransform(func(c *ruling, t transformView) {
		if kind := t.input.DataSource.S3DataSource.S3DataType; kind == "AugmentedManifestFile" || kind == "Converse" {
			c.broken(t.at("TransformInput.DataSource.S3DataSource.S3DataType"), "", kind+" is not for transforms", "say S3Prefix or ManifestFile")
		}
	})},
	{"BT-91", onTransform(func(c *ruling, t transformView) {
		if n := value(t.maxPayload, 0); n > 100 {
			c.broken(t.at("MaxPayloadInMB"), "", fmt.Sprintf("%d MB is more than 100", n), "")
		}
	})},
	{"BT-92", onTransform(func(c *ruling, t transformView) {
		const defaultPayload = 6 // BT-24
		n, mb := value(t.maxConcurrent, 0), value(t.maxPayload, defaultPayload)
		if mb <= 100 && n > 0 && mb > 0 && n > 100/mb {
			c.broken(t.at("MaxConcurrentTransforms"), "", fmt.Sprintf("MaxConcurrentTransforms x MaxPayloadInMB is %d x %d, more than 100 MB", n, mb), fmt.Sprintf("at most %d with this payload", 100/mb))
		}
	})},
	{"BT-37", onTransform(func(c *ruling, t transformView) {
		if t.resources.InstanceCount > 100 {
			c.broken(t.at("TransformResources.InstanceCount"), "", fmt.Sprintf("a transform has at most 100 instances, not %d", t.resources.InstanceCount), "")
		}
	})},
	{"ruling 13", onTransform(func(c *ruling, t transformView) {
		if r := t.resources; r.VolumeKmsKeyId != "" && instances()[r.InstanceType].LocalNvmeGB > 0 {
			c.soft(serviceNo, t.at("TransformResources.VolumeKmsKeyId"), "", r.InstanceType+" has its own NVMe storage, which takes no VolumeKmsKeyId", "leave it out")
		}
	})},
	{"BT-10", onTransform(func(c *ruling, t transformView) {
		for _, k := range []string{"SAGEMAKER_BATCH", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "SAGEMAKER_BATCH_STRATEGY", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_SAFE_PORT_RANGE", "NVIDIA_VISIBLE_DEVICES"} {
			if _, set := t.environment[k]; set {
				c.warn(t.at("Environment."+k), "the service sets "+k+" itself where it applies, over the document's value")
			}
		}
	})},
	{"BT-30", onTransform(func(c *ruling, t transformView) {
		in, out := t.input.DataSource.S3DataSource.S3Uri, t.output.S3OutputPath
		if t.input.DataSource.S3DataSource.S3DataType == "S3Prefix" && strings.HasPrefix(out, in) {
			c.warn(t.at("TransformOutput.S3OutputPath"), "lies under the input prefix: a second run reads the first one's output as input")
		}
	})},
	{"BT-171", onTransform(func(c *ruling, t transformView) {
		in := t.input.DataSource.S3DataSource
		if t.capture != nil && in.S3DataType == "S3Prefix" && strings.HasPrefix(t.capture.DestinationS3Uri, in.S3Uri) {
			c.warn(t.at("DataCaptureConfig.DestinationS3Uri"), "lies under the input prefix: a second run reads the first one's manifests as input")
		}
	})},
	{"BT-172", onTransform(dataProcessingRule)},
	{"BT-152", onTransform(dataProcessingRule)},
	{"BT-153", onTransform(dataProcessingRule)},
	{"BT-154", onTransform(dataProcessingRule)},
	{"BT-98", onTransform(func(c *ruling, t transformView) {
		if single := t.input.SplitType == "Line" && value(t.strategy, "") == "SingleRecord"; value(t.maxPayload, 1) == 0 && !single && (!t.dataProcessing().Idle() || t.dataProcessing().Identify) {
			c.warn(t.at("MaxPayloadInMB"), "with 0 an object is one request of any size, which is not held, so neither DataProcessing nor GenerateInferenceId is carried out on it: the job fails unless records are sent one by one (SplitType Line, BatchStrategy SingleRecord)")
		}
	})},
	{"BT-160", onTransform(func(c *ruling, t transformView) {
		for member, filter := range t.processing.filters() {
			if _, err := dataprocessing.ParsePath(filter); err != nil {
				c.warn(t.at("DataProcessing."+member), err.Error()+": the service takes the request and fails each object")
			}
		}
	})},
	{"BT-162", onTransform(func(c *ruling, t transformView) {
		for member, filter := range t.processing.filters() {
			if p, err := dataprocessing.ParsePath(filter); err == nil && p.SliceEnd() != "" {
				c.warn(t.at("DataProcessing."+member), p.SliceEnd()+" is without its end here, as JSONPath has it; the service's guide counts the end in: compare the columns on the service")
			}
		}
	})},
	{"VAL-13", onTransform(func(c *ruling, t transformView) {
		spec, whose := c.inference()
		if spec == nil {
			return
		}
		among := func(member, v string, list []string, of string) {
			if v != "" && len(list) > 0 && !hasMediaType(list, v) {
				c.broken(t.at(member), "", fmt.Sprintf("%q is not in %s of %s", v, of, whose), "one of "+human.Clip(strings.Join(list, ", "), 200)+", or add it there")
			}
		}
		among("TransformInput.ContentType", t.input.ContentType, spec.SupportedContentTypes, "SupportedContentTypes")
		among("TransformOutput.Accept", t.output.Accept, spec.SupportedResponseMIMETypes, "SupportedResponseMIMETypes")
		c.supportedType(t.at("TransformResources.InstanceType"), t.resources.InstanceType, supported{spec.SupportedTransformInstanceTypes, "SupportedTransformInstanceTypes", whose})
	})},
}

// inference is what the profile of a document is held against, and whose it is: the algorithm's or the package's own, or
// that of the algorithm that the package is of; nil for a job, whose model may be anyone's.
func (c *ruling) inference() (*inferenceSpecification, string) {
	switch b := c.doc.body.(type) {
	case *createAlgorithmInput:
		return b.InferenceSpecification, "algorithm " + b.AlgorithmName
	case *createModelPackageInput:
		if b.InferenceSpecification != nil {
			return b.InferenceSpecification, "the model package"
		}
		if b.SourceAlgorithmSpecification != nil && c.set.algorithm != nil {
			a := c.set.algorithm.body.(*createAlgorithmInput)
			return a.InferenceSpecification, "algorithm " + a.AlgorithmName
		}
	}
	return nil, ""
}

func onModel(f func(c *ruling, r *createModelInput)) func(*ruling) {
	return func(c *ruling) {
		if b, ok := c.doc.body.(*createModelInput); ok {
			f(c, b)
		}
	}
}

// modelRules hold for a CreateModel request.
var modelRules = []rule{
	{"VAL-53", onModel(func(c *ruling, r *createModelInput) {
		switch {
		case r.PrimaryContainer != nil && len(r.Containers) > 0:
			c.broken("Containers", "", "PrimaryContainer and Containers exclude each other", "give one of the two")
		case r.PrimaryContainer == nil && len(r.Containers) == 0:
			c.broken("PrimaryContainer", "", "a model needs PrimaryContainer or Containers", "")
		}
		for path, ct := range r.each() {
			if ct.Image == "" && ct.ModelPackageName == "" {
				c.broken(path+".Image", "", "a container needs Image or ModelPackageName", "")
			}
		}
	})},
	{"VAL-53", onModel(modelPackage)},
	{"DOC-8", onModel(func(c *ruling, r *createModelInput) {
		for path, ct := range r.each() {
			if i := ct.ImageConfig; i != nil && i.RepositoryAuthConfig != nil && i.RepositoryAccessMode != "Vpc" {
				c.soft(serviceNo, path+".ImageConfig.RepositoryAuthConfig", "", "credentials for a registry go with RepositoryAccessMode Vpc only", "leave them out, or say Vpc")
			}
		}
	})},
	{"INF-23", onModel(func(c *ruling, r *createModelInput) {
		for path, ct := range r.each() {
			if ct.ModelDataSource == nil {
				continue
			}
			if ct.ModelDataUrl != "" {
				c.broken(path+".ModelDataSource", "", "ModelDataUrl and ModelDataSource exclude each other", "give one of the two")
			}
			if ct.ModelDataSource.S3DataSource == nil {
				c.broken(path+".ModelDataSource", "", "ModelDataSource needs S3DataSource", "")
			}
			c.soft(serviceNo, path+".ModelDataSource", "", "SageMaker does not allow ModelDataSource in a transform", "give ModelDataUrl") // ruling 21
		}
	})},
	{"INF-24", onModelData(func(c *ruling, path string, s s3ModelDataSource) {
		if s.S3DataType == "S3Prefix" && s.CompressionType == "Gzip" {
			c.broken(path+".CompressionType", "", "Gzip is one archive, and S3Prefix is many objects", "say S3Object, or None")
		}
	})},
	{"INF-25", onModelData(func(c *ruling, path string, s s3ModelDataSource) {
		if s.S3DataType == "S3Prefix" && !strings.HasSuffix(s.S3Uri, "/") {
			c.broken(path+".S3Uri", "", "the address of a model's prefix ends in a slash", "add it")
		}
		if s.S3DataType == "S3Object" && strings.HasSuffix(s.S3Uri, "/") {
			c.broken(path+".S3Uri", "", "an object's address does not end in a slash", "name the object, or say S3Prefix")
		}
	})},
	{"ruling 21", onModelData(func(c *ruling, path string, s s3ModelDataSource) {
		if s.S3DataType == "S3Prefix" && s.ETag != "" {
			c.warn(path+".ETag", "a prefix has no ETag: nothing is compared")
		}
	})},
	{"INF-27", onModelData(func(c *ruling, path string, s s3ModelDataSource) {
		if s.ManifestS3Uri != "" {
			c.warn(path+".ManifestS3Uri", "is not read: what S3Uri names is the model")
		}
		if s.ManifestEtag != "" {
			c.warn(path+".ManifestEtag", "is not compared: the manifest is not read")
		}
		if s.ModelAccessConfig != nil {
			c.warn(path+".ModelAccessConfig", "does nothing: no licence is accepted here")
		}
	})},
	{"INF-28", onModel(func(c *ruling, r *createModelInput) {
		for path, ct := range r.each() {
			seen := map[string]bool{}
			for i, a := range ct.AdditionalModelDataSources {
				at := index(path+".AdditionalModelDataSources", i)
				switch {
				case a.ChannelName == "." || a.ChannelName == "..":
					c.broken(at+".ChannelName", "", fmt.Sprintf("%q cannot be the name of a directory", a.ChannelName), "choose another name")
				case seen[a.ChannelName]:
					c.broken(at+".ChannelName", "", fmt.Sprintf("channel %q stands there already", a.ChannelName), "give each its own name")
				}
				seen[a.ChannelName] = true
			}
			if len(ct.AdditionalModelDataSources) > 0 {
				c.soft(serviceNo, path+".AdditionalModelDataSources", "", "SageMaker has AdditionalModelDataSources beside ModelDataSource alone, which it does not allow in a transform", "put the data into the model's archive") // ruling 21
			}
		}
	})},
	{"INF-41", onModel(func(c *ruling, r *createModelInput) {
		var envs []map[string]string
		for _, ct := range r.each() {
			envs = append(envs, ct.Environment)
		}
		c.environmentSize("", envs)
	})},
	{"INF-51", onModel(func(c *ruling, r *createModelInput) {
		for i, ct := range r.Containers {
			for _, k := range []string{"SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_SAFE_PORT_RANGE"} {
				if _, set := ct.Environment[k]; set && len(r.Containers) > 1 {
					c.warn(index("Containers", i)+".Environment."+k, "the service sets "+k+" itself in a pipeline, over the document's value")
				}
			}
		}
	})},
	{"INF-43", onModel(func(c *ruling, r *createModelInput) {
		seen, named := map[string]bool{}, 0
		for i, ct := range r.Containers {
			if ct.ContainerHostname == "" {
				continue
			}
			named++
			if seen[ct.ContainerHostname] {
				c.broken(index("Containers", i)+".ContainerHostname", "", fmt.Sprintf("%q is another container's host name", ct.ContainerHostname), "")
			}
			seen[ct.ContainerHostname] = true
		}
		if named > 0 && named < len(r.Containers) {
			c.broken("Containers", "", "a pipeline names all its containers (ContainerHostname) or none", "")
		}
	})},
}

// modelPackage: a container that names a package is the model's only one and has nothing of its own but its environment,
// and the package is at hand.
func modelPackage(c *ruling, r *createModelInput) {
	named := false
	for path, ct := range r.each() {
		if ct.ModelPackageName == "" {
			continue
		}
		named = true
		at := path + ".ModelPackageName"
		switch {
		case ct.Image != "" || ct.ModelDataUrl != "" || ct.ModelDataSource != nil || len(ct.AdditionalModelDataSources) > 0:
			c.broken(at, "", "ModelPackageName excludes Image and model data: the package has them", "leave one or the other out")
		case len(r.Containers) > 1:
			c.broken(at, "", "a model of a package has no other container", "give it as PrimaryContainer")
		case c.set.pkg == nil:
			c.broken(at, "", fmt.Sprintf("model package %q is not known here", ct.ModelPackageName), "give its CreateModelPackage request beside this one (--model-package)")
		default:
			p := c.set.pkg.body.(*createModelPackageInput)
			if have := cmp.Or(p.ModelPackageName, p.ModelPackageGroupName); packageName(ct.ModelPackageName) != have {
				c.broken(at, "", fmt.Sprintf("names model package %q, and the CreateModelPackage request given makes %q", ct.ModelPackageName, have), "")
			}
			if s := p.InferenceSpecification; s != nil && len(s.Containers) > 1 && len(ct.Environment) > 0 {
				c.broken(path+".Environment", "", fmt.Sprintf("the package has %d containers, and this does not say which it is for", len(s.Containers)), "put it into the package")
			}
		}
	}
	if c.set.pkg != nil && named && !r.EnableNetworkIsolation && c.set.pkg.body.(*createModelPackageInput).CertifyForMarketplace {
		c.soft(serviceNo, "EnableNetworkIsolation", "", "a model of a package from the marketplace has network isolation", "set it to true")
	}
	if c.set.pkg != nil && !named {
		c.broken("PrimaryContainer", "", "a CreateModelPackage request was given, and this model names no package", "leave the CreateModelPackage request out, or name it in ModelPackageName")
	}
}

// packageName is the name or group in a package's name, with its version or not, or in its ARN (TRAP-25).
func packageName(s string) string {
	if _, rest, arn := strings.Cut(s, ":model-package/"); arn {
		s = rest
	}
	name, _, _ := strings.Cut(s, "/")
	return name
}

// each goes over a model's containers with their paths.
func (r *createModelInput) each() func(yield func(string, containerDefinition) bool) {
	return func(yield func(string, containerDefinition) bool) {
		if r.PrimaryContainer != nil && !yield("PrimaryContainer", *r.PrimaryContainer) {
			return
		}
		for i, ct := range r.Containers {
			if !yield(index("Containers", i), ct) {
				return
			}
		}
	}
}

// onModelData runs a rule on each S3DataSource of a model.
func onModelData(f func(c *ruling, path string, s s3ModelDataSource)) func(*ruling) {
	return onModel(func(c *ruling, r *createModelInput) {
		for path, ct := range r.each() {
			if ct.ModelDataSource != nil && ct.ModelDataSource.S3DataSource != nil {
				f(c, path+".ModelDataSource.S3DataSource", *ct.ModelDataSource.S3DataSource)
			}
			for i, a := range ct.AdditionalModelDataSources {
				if a.S3DataSource != nil {
					f(c, index(path+".AdditionalModelDataSources", i)+".S3DataSource", *a.S3DataSource)
				}
			}
		}
	})
}

func onPackage(f func(c *ruling, r *createModelPackageInput)) func(*ruling) {
	return func(c *ruling) {
		if b, ok := c.doc.body.(*createModelPackageInput); ok {
			f(c, b)
		}
	}
}

// packageRules hold for a CreateModelPackage request (VAL-52).
var packageRules = []rule{
	{"VAL-52", onPackage(func(c *ruling, r *createModelPackageInput) {
		versioned, named := r.ModelPackageGroupName != "", r.ModelPackageName != ""
		switch {
		case versioned == named:
			c.broken(cmp.Or(map[bool]string{true: "ModelPackageGroupName"}[versioned], "ModelPackageName"), "", "a model package has either ModelPackageName or ModelPackageGroupName", "give one of the two")
		case versioned && r.CertifyForMarketplace:
			c.broken("CertifyForMarketplace", "", "a versioned model package cannot be certified for the marketplace", "give ModelPackageName instead of ModelPackageGroupName")
		case versioned && len(r.Tags) > 0:
			c.broken("Tags", "", "a versioned model package has no tags of its own", "tag its group")
		}
		if (r.InferenceSpecification == nil) == (r.SourceAlgorithmSpecification == nil) {
			c.broken("InferenceSpecification", "", "a model package has either InferenceSpecification or SourceAlgorithmSpecification", "give one of the two")
		}
	})},
	{"VAL-52", onPackage(func(c *ruling, r *createModelPackageInput) {
		const at = "SourceAlgorithmSpecification.SourceAlgorithms[0].AlgorithmName"
		if r.SourceAlgorithmSpecification == nil || len(r.SourceAlgorithmSpecification.SourceAlgorithms) != 1 {
			return
		}
		name := r.SourceAlgorithmSpecification.SourceAlgorithms[0].AlgorithmName
		if c.set.algorithm == nil {
			c.broken(at, "", fmt.Sprintf("algorithm %q is not known here", name), "validate it here, or give its CreateAlgorithm request beside this one (--algorithm)")
			return
		}
		switch a := c.set.algorithm.body.(*createAlgorithmInput); {
		case lastSegment(name) != a.AlgorithmName:
			c.broken(at, "", fmt.Sprintf("names algorithm %q, and the CreateAlgorithm request given makes %q", name, a.AlgorithmName), "")
		case a.InferenceSpecification == nil:
			c.broken(at, "", fmt.Sprintf("algorithm %s has no InferenceSpecification: there is nothing to serve with", a.AlgorithmName), "")
		}
	})},
	{"VAL-52", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.SourceAlgorithmSpecification == nil && c.set.algorithm != nil {
			c.broken("SourceAlgorithmSpecification", "", "a CreateAlgorithm request was given, and this package is of none", "leave the CreateAlgorithm request out")
		}
	})},
	{"VAL-52", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.SourceAlgorithmSpecification == nil {
			return
		}
		for i, s := range r.SourceAlgorithmSpecification.SourceAlgorithms {
			at := index("SourceAlgorithmSpecification.SourceAlgorithms", i)
			if s.ModelDataUrl == "" && s.ModelDataSource == nil {
				c.warn(at, "has no ModelDataUrl: the package has no model of its own")
			} else if s.ModelDataUrl != "" && s.ModelDataSource != nil {
				c.broken(at+".ModelDataSource", "", "ModelDataUrl and ModelDataSource exclude each other", "give one of the two")
			}
		}
	})},
	{"INF-23", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.InferenceSpecification == nil {
			return
		}
		for i, ct := range r.InferenceSpecification.Containers {
			if ct.ModelDataUrl != "" && ct.ModelDataSource != nil {
				c.broken(index("InferenceSpecification.Containers", i)+".ModelDataSource", "", "ModelDataUrl and ModelDataSource exclude each other", "give one of the two")
			}
		}
	})},
	{"DOC-1", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.InferenceSpecification == nil {
			return
		}
		for i, ct := range r.InferenceSpecification.Containers {
			if ct.Image == "" {
				c.missing(index("InferenceSpecification.Containers", i) + ".Image")
			}
		}
	})},
	{"DOC-4", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.ValidationSpecification == nil {
			return
		}
		var names []string
		for _, p := range r.ValidationSpecification.ValidationProfiles {
			names = append(names, p.ProfileName)
		}
		c.unique("ValidationSpecification.ValidationProfiles", "ProfileName", names)
	})},
	{"VAL-8", onPackage(func(c *ruling, r *createModelPackageInput) {
		if r.CertifyForMarketplace && (r.ValidationSpecification == nil || len(r.ValidationSpecification.ValidationProfiles) == 0) {
			c.soft(serviceNo, "CertifyForMarketplace", "", "a model package is certified only with a validation profile", "give ValidationSpecification")
		}
	})},
	{"VAL-50", onPackage(func(c *ruling, r *createModelPackageInput) {
		s := r.InferenceSpecification
		if r.ModelPackageName == "" || s == nil {
			return
		}
		if s.SupportedTransformInstanceTypes == nil {
			c.missing("InferenceSpecification.SupportedTransformInstanceTypes")
		}
		if s.SupportedRealtimeInferenceInstanceTypes == nil {
			c.missing("InferenceSpecification.SupportedRealtimeInferenceInstanceTypes")
		}
	})},
	{"ruling 21", onPackage(func(c *ruling, r *createModelPackageInput) {
		const text = "there is no ModelDataUrl: nothing is compared"
		if s := r.SourceAlgorithmSpecification; s != nil {
			for i, a := range s.SourceAlgorithms {
				if a.ModelDataETag != "" && a.ModelDataUrl == "" {
					c.warn(index("SourceAlgorithmSpecification.SourceAlgorithms", i)+".ModelDataETag", text)
				}
			}
		}
		if s := r.InferenceSpecification; s != nil {
			for i, ct := range s.Containers {
				if ct.ModelDataETag != "" && ct.ModelDataUrl == "" {
					c.warn(index("InferenceSpecification.Containers", i)+".ModelDataETag", text)
				}
			}
		}
	})},
}
