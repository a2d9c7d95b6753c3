package job

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/optml/optml/dataprocessing"
)

// transformView is a transform as both a CreateTransformJob and a TransformJobDefinition describe it.
type transformView struct {
	path          string
	maxConcurrent *int64
	maxPayload    *int64
	strategy      *string
	environment   map[string]string
	input         transformInput
	output        transformOutput
	resources     transformResources
	client        *modelClientConfig
	processing    dataProcessing
	capture       *batchDataCaptureConfig
	served        bool // by itself, as at an endpoint: there is no batch
}

func (t transformView) at(member string) string { return join(t.path, member) }

func (r *createTransformJobRequest) view() transformView {
	return transformView{"", r.MaxConcurrentTransforms, r.MaxPayloadInMB, r.BatchStrategy, r.Environment,
		r.TransformInput, r.TransformOutput, r.TransformResources, r.ModelClientConfig, value(r.DataProcessing, dataProcessing{}), r.DataCaptureConfig, false}
}

// dataProcessing is the DataProcessing with what it depends on.
func (t transformView) dataProcessing() dataprocessing.Options {
	return dataprocessing.Options{
		InputFilter: t.processing.InputFilter, OutputFilter: t.processing.OutputFilter, Join: t.processing.JoinSource == "Input",
		ContentType: t.input.ContentType, Accept: t.output.Accept, SplitType: t.input.SplitType, AssembleWith: t.output.AssembleWith,
		Identify: t.capture != nil && t.capture.GenerateInferenceId,
	}
}

func (d *transformJobDefinition) view(path string) transformView {
	return transformView{path, d.MaxConcurrentTransforms, d.MaxPayloadInMB, d.BatchStrategy, d.Environment,
		d.TransformInput, d.TransformOutput, d.TransformResources, nil, dataProcessing{}, nil, false}
}

// servedModel is the model that a transform drives, from whatever document describes it.
type servedModel struct {
	name       string
	role       string
	isolated   bool
	containers []servedContainer
}

type servedContainer struct {
	image    Image
	hostname string // "": the instance's
	model    ModelSource
	more     []ModelSource // beside the model
	env      map[string]string
}

// pipelinePort is where the first container of a pipeline serves, with the ports behind it its own up to the next one's:
// below those that the kernel gives out, above what images like to take (INF-51 leaves the numbers open).
const (
	pipelinePort  = 21000
	pipelinePorts = 100
)

// untrained is the container that gets a model from elsewhere: the first without its own (ruling 21), else the first.
func (s servedModel) untrained() int {
	return max(0, slices.IndexFunc(s.containers, func(c servedContainer) bool { return c.model.URI == "" }))
}

// transformJob makes the plan of a CreateTransformJob with its model.
func (m *maker) transformJob(r *createTransformJobRequest) *Plan {
	model := servedModel{name: r.ModelName}
	if m.set.model != nil {
		model = m.servedModel(m.set.model.body.(*createModelInput))
	} else {
		model.containers = []servedContainer{{image: image(m.o.ModelImage, "")}}
	}
	if m.o.ModelURI != "" {
		model.containers[model.untrained()].model = ModelSource{URI: resolve(m.o.Dir, m.o.ModelURI)}
	}
	p := m.plan(KindTransform, cmp.Or(m.o.Name, r.TransformJobName), "transform-job", model.role, model.containers[0].image.Ref)
	p.Transform = m.transform(p, r.view(), model)
	p.Transform.Isolated = m.isolated(model.isolated)
	return p
}

// served makes the plan of a model whose container serves whoever asks it. No document names an instance: it is
// --as-instance's, or the whole host.
func (m *maker) served(r *createModelInput) *Plan {
	model := m.servedModel(r)
	if m.o.ModelURI != "" {
		model.containers[model.untrained()].model = ModelSource{URI: resolve(m.o.Dir, m.o.ModelURI)}
	}
	if n := len(model.containers); n > 1 {
		m.cannot = append(m.cannot, RefusedMember{File: m.set.main.Name, Path: "Containers", Value: strconv.Itoa(n), Rule: "INF-54",
			Text: "a pipeline is not served by itself: give a model of one container, or drive the pipeline with a transform"})
	}
	view := transformView{served: true, resources: transformResources{InstanceType: m.o.AsInstance, InstanceCount: 1}}
	if m.o.AsInstance == wholeHost || m.o.AsInstance == "" {
		m.o.AsInstance, view.resources.InstanceType = "", "local"
		if m.h.GPUs > 0 {
			view.resources.InstanceType = "local_gpu"
		}
	}
	p := m.plan(KindServing, cmp.Or(m.o.Name, r.ModelName), "model", model.role, model.containers[0].image.Ref)
	p.Transform = m.transform(p, view, model)
	p.Transform.Input, p.Transform.Output = TransformInput{}, TransformOutput{}
	p.Transform.Isolated = m.isolated(model.isolated)
	return p
}

func (m *maker) servedModel(r *createModelInput) servedModel {
	s := servedModel{name: r.ModelName, role: r.ExecutionRoleArn, isolated: r.EnableNetworkIsolation}
	list := r.Containers
	if r.PrimaryContainer != nil {
		list = []containerDefinition{*r.PrimaryContainer}
		list[0].ContainerHostname = "" // ignored for a model with one PrimaryContainer (INF-43)
	}
	for i, c := range list {
		if c.ImageConfig != nil && c.ImageConfig.RepositoryAuthConfig != nil {
			path := index("Containers", i)
			if r.PrimaryContainer != nil {
				path = "PrimaryContainer"
			}
			m.warnLogin(path+".ImageConfig.RepositoryAuthConfig.RepositoryCredentialsProviderArn", c.ImageConfig.RepositoryAuthConfig.RepositoryCredentialsProviderArn, c.Image)
		}
		if c.ModelPackageName != "" { // then it is the only one
			s.containers = m.packaged(c)
			break
		}
		sc := servedContainer{image: image(c.Image, ""), hostname: c.ContainerHostname, env: c.Environment,
			model: ModelSource{URI: resolve(m.o.Dir, c.ModelDataUrl)}}
		if c.ModelDataSource != nil && c.ModelDataSource.S3DataSource != nil {
			sc.model = m.modelSource(*c.ModelDataSource.S3DataSource)
		}
		for _, a := range c.AdditionalModelDataSources {
			x := m.modelSource(*a.S3DataSource)
			x.Channel = a.ChannelName
			sc.more = append(sc.more, x)
		}
		s.containers = append(s.containers, sc)
	}
	return s
}

// packaged are the containers of the model package that a model is made of (VAL-53).
func (m *maker) packaged(c containerDefinition) []servedContainer {
	all := m.packageModel(m.set.pkg.body.(*createModelPackageInput))
	if len(all) == 1 {
		all[0].hostname = "" // as of a PrimaryContainer (INF-43)
		all[0].env = over(all[0].env, c.Environment)
	}
	return all
}

// packageModel is the model of a package: its own containers, or those of its algorithm with its model (VAL-52, ruling 21).
func (m *maker) packageModel(p *createModelPackageInput) []servedContainer {
	if p.SourceAlgorithmSpecification == nil {
		return m.packageContainers(p.InferenceSpecification.Containers)
	}
	s := servedModel{containers: m.packageContainers(m.set.algorithm.body.(*createAlgorithmInput).InferenceSpecification.Containers)}
	if trained := p.SourceAlgorithmSpecification.SourceAlgorithms[0]; trained.ModelDataUrl != "" {
		s.containers[s.untrained()].model = ModelSource{URI: resolve(m.o.Dir, trained.ModelDataUrl), ETag: trained.ModelDataETag}
	}
	return s.containers
}

// packageContainers are those of an InferenceSpecification.
func (m *maker) packageContainers(list []modelPackageContainerDefinition) []servedContainer {
	var all []servedContainer
	for _, c := range list {
		all = append(all, servedContainer{image: image(c.Image, c.ImageDigest), hostname: c.ContainerHostname, env: c.Environment,
			model: ModelSource{URI: resolve(m.o.Dir, c.ModelDataUrl), ETag: c.ModelDataETag}})
	}
	return all
}

// over lays one environment over another.
func over(env, more map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, env)
	maps.Copy(all, more)
	return all
}

func (m *maker) modelSource(s s3ModelDataSource) ModelSource {
	return ModelSource{URI: resolve(m.o.Dir, s.S3Uri), Type: s.S3DataType, Unpacked: s.CompressionType == "None", ETag: s.ETag}
}

// transform makes the part that a job and a profile's definition share.
func (m *maker) transform(p *Plan, t transformView, model servedModel) *Transform {
	tr := &Transform{
		ModelName: model.name,
		Input: TransformInput{
			Source:      Source{Type: t.input.DataSource.S3DataSource.S3DataType, URI: resolve(m.o.Dir, t.input.DataSource.S3DataSource.S3Uri)},
			ContentType: t.input.ContentType, Compression: orNone(t.input.CompressionType), SplitType: orNone(t.input.SplitType),
		},
		Output: TransformOutput{Path: resolve(m.o.Dir, t.output.S3OutputPath), Accept: t.output.Accept,
			AssembleWith: orNone(t.output.AssembleWith), KMSKeyID: t.output.KmsKeyId},
		BatchStrategy:     t.strategy,
		InvocationTimeout: Duration(invocationTimeout), MaxRetries: invocationRetries,
		PingWindow: Duration(cmp.Or(m.o.PingWindow, pingWindow)), Grace: Duration(cmp.Or(m.o.Grace, transformGrace)),
		MaxResponseBytes: m.o.MaxResponse, ModelWritable: m.o.ModelWritable, StrictStatus: m.o.Strict,
		CreationTime: m.h.Now, RecordRequests: m.o.RecordRequests,
	}
	if o := t.dataProcessing(); !o.Idle() {
		tr.Processing = &Processing{InputFilter: o.InputFilter, OutputFilter: o.OutputFilter, Join: o.Join}
	}
	if c := t.capture; c != nil {
		tr.Capture = &Capture{Path: resolve(m.o.Dir, c.DestinationS3Uri), KMSKeyID: c.KmsKeyId, InferenceIDs: c.GenerateInferenceId}
	}
	batch := map[string]string{}
	if !t.served {
		batch["SAGEMAKER_BATCH"] = "true" // BT-10
	}
	if t.maxPayload != nil { // 0 is a value: streaming (BT-15)
		tr.MaxPayloadMB = new(int(*t.maxPayload))
		batch["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = strconv.Itoa(*tr.MaxPayloadMB) // BT-11
	}
	if t.strategy != nil {
		batch["SAGEMAKER_BATCH_STRATEGY"] = map[string]string{"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}[*t.strategy] // BT-12
	}
	if n := value(t.maxConcurrent, 0); n > 0 { // 0 is as if unset (BT-15)
		tr.MaxConcurrent = new(int(n))
		batch["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = strconv.Itoa(*tr.MaxConcurrent) // BT-13
	}
	if c := t.client; c != nil {
		if c.InvocationsTimeoutInSeconds != nil {
			tr.InvocationTimeout = Duration(time.Duration(*c.InvocationsTimeoutInSeconds) * time.Second)
		}
		tr.MaxRetries = int(value(c.InvocationsMaxRetries, invocationRetries))
	}
	size := m.instance("", t.resources.InstanceType, t.at("TransformResources.InstanceType"))
	tr.ShmBytes = m.shm(size)
	tr.Instances = slices.Repeat([]Instance{size}, int(t.resources.InstanceCount)) // BT-37
	m.spread(tr.Instances, size.GPUs, t.at("TransformResources.InstanceCount"))
	for rank := range tr.Instances {
		inst := &tr.Instances[rank]
		inst.Host = "algo-" + strconv.Itoa(rank+1)
		for i, c := range model.containers {
			inst.Containers = append(inst.Containers, m.serving(p, *inst, rank, i, model, t, batch))
			if rank > 0 {
				continue // all instances have the same
			}
			c.model.Container = inst.Containers[i].Name
			tr.Models = append(tr.Models, c.model)
			for _, x := range c.more {
				x.Container = c.model.Container
				tr.More = append(tr.More, x)
			}
		}
	}
	return tr
}

// serving is container i of a model on the instance with that rank.
func (m *maker) serving(p *Plan, inst Instance, rank, i int, model servedModel, t transformView, batch map[string]string) Container {
	c := model.containers[i]
	name, host, port := inst.Host, cmp.Or(c.hostname, dnsName(p.Region, rank)), servingPort
	if len(model.containers) > 1 { // a pipeline: one network, a port for each (INF-51)
		host = cmp.Or(c.hostname, "container-"+strconv.Itoa(i+1)) // INF-43
		name += "-" + host                                        // ST-18
		port = pipelinePort + i*pipelinePorts
		batch = maps.Clone(batch)
		batch["SAGEMAKER_BIND_TO_PORT"] = strconv.Itoa(port)
		batch["SAGEMAKER_SAFE_PORT_RANGE"] = fmt.Sprintf("%d-%d", port+1, port+pipelinePorts-1)
	}
	env := over(c.env, t.environment) // then the service's own (INF-40)
	return Container{
		Name: name, Image: c.image, Args: []string{"serve"}, Hostname: host, Port: port,
		Env: serviceEnv(env, p.Region, inst.GPUs, batch),
	}
}
