package job

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// The service's own limits and defaults.
const (
	defaultMaxRuntime  = 24 * time.Hour // STOP-8
	trainingGrace      = 120 * time.Second
	transformGrace     = 30 * time.Second
	pingWindow         = 30 * time.Minute  // INF-64
	invocationTimeout  = 600 * time.Second // BT-104
	invocationRetries  = 3                 // BT-105
	servingPort        = 8080              // INF-50
	trainingInstance   = "algo-1"
	defaultDataSharing = "FullyReplicated" // IDC-2
	checkpointPath     = "/opt/ml/checkpoints/"
	checkpointEvery    = 30 * time.Second // CKP-4
)

// trainingView is a training job as both a CreateTrainingJob and a TrainingJobDefinition describe it. path is where in
// the document its members stand.
type trainingView struct {
	path            string
	mode            string
	modePath        string
	hyperParameters map[string]string
	channels        []channel
	output          outputDataConfig
	resource        *resourceConfig
	stopping        *stoppingCondition
}

func (t trainingView) at(member string) string { return join(t.path, member) }

func (r *createTrainingJobRequest) view() trainingView {
	t := trainingView{hyperParameters: r.HyperParameters, channels: r.InputDataConfig, output: r.OutputDataConfig,
		resource: r.ResourceConfig, stopping: r.StoppingCondition, modePath: "AlgorithmSpecification.TrainingInputMode"}
	if r.AlgorithmSpecification != nil {
		t.mode = r.AlgorithmSpecification.TrainingInputMode
	}
	return t
}

func (d *trainingJobDefinition) view(path string) trainingView {
	return trainingView{path: path, mode: d.TrainingInputMode, modePath: join(path, "TrainingInputMode"), hyperParameters: d.HyperParameters,
		channels: d.InputDataConfig, output: d.OutputDataConfig, resource: &d.ResourceConfig, stopping: &d.StoppingCondition}
}

// trainingJob makes the plan of a CreateTrainingJob.
func (m *maker) trainingJob(r *createTrainingJobRequest) *Plan {
	spec := r.AlgorithmSpecification
	img, metrics := image(spec.TrainingImage, ""), spec.MetricDefinitions
	hp := r.HyperParameters
	if m.set.algorithm != nil {
		a := m.set.algorithm.body.(*createAlgorithmInput).TrainingSpecification
		img, metrics = image(a.TrainingImage, a.TrainingImageDigest), a.MetricDefinitions
		hp = withDefaults(hp, a.SupportedHyperParameters)
	}
	if c := spec.TrainingImageConfig; c != nil && c.TrainingRepositoryAuthConfig != nil {
		m.warnLogin("AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig.TrainingRepositoryCredentialsProviderArn",
			c.TrainingRepositoryAuthConfig.TrainingRepositoryCredentialsProviderArn, img.Ref)
	}
	name := cmp.Or(m.o.Name, r.TrainingJobName)
	p := m.plan(KindTraining, name, "training-job", r.RoleArn, img.Ref)
	p.Training = m.training(p, r.view(), hp, img, metrics)
	p.Training.Isolated = m.isolated(r.EnableNetworkIsolation)
	c := &p.Training.Instances[0].Containers[0]
	if spec.ContainerEntrypoint != nil || spec.ContainerArguments != nil { // START table
		c.Entrypoint, c.Args = spec.ContainerEntrypoint, spec.ContainerArguments
	}
	c.Env = m.trainingEnv(p, r.Environment)
	if k := r.CheckpointConfig; k != nil {
		p.Training.Checkpoint = &Checkpoint{
			URI: resolve(m.o.Dir, k.S3Uri), LocalPath: cmp.Or(k.LocalPath, checkpointPath),
			Every: Duration(cmp.Or(m.o.CheckpointEvery, checkpointEvery)),
		}
	}
	if s := r.RetryStrategy; s != nil {
		p.Training.Retries = int(s.MaximumRetryAttempts)
	}
	return p
}

// training makes the part that a job and a profile's definition share. Its environment and isolation are the
// caller's.
func (m *maker) training(p *Plan, t trainingView, hp map[string]string, img Image, metrics []metricDefinition) *Training {
	out := resolve(m.o.Dir, t.output.S3OutputPath)
	hosts, rank := m.place(t)
	host := hosts[rank]
	in := m.instance(host, t.resource.InstanceType, t.at("ResourceConfig.InstanceType"))
	in.Containers = []Container{{Name: host, Image: img, Args: []string{"train"}, Hostname: dnsName(p.Region, rank)}}
	tr := &Training{
		Instances: []Instance{in}, Hosts: hosts, InstanceType: m.o.told(t.resource.InstanceType), HyperParameters: maps.Clone(hp), OutputPath: out,
		ModelURI: under(out, p.Name, "output/model.tar.gz"), OutputURI: under(out, p.Name, "output/output.tar.gz"),
		KMSKeyID: t.output.KmsKeyId, MaxRuntime: Duration(defaultMaxRuntime), Grace: Duration(cmp.Or(m.o.Grace, trainingGrace)),
		ShmBytes: m.shm(in), VolumeBytes: m.volume(t.resource), EnforceVolume: m.o.EnforceVolume, Init: m.o.Init, UserWritable: m.o.UserWritable,
		InterruptAfter: Duration(m.o.InterruptAfter), CreationTime: m.h.Now,
	}
	if tr.EnforceVolume && tr.VolumeBytes == 0 {
		m.warn("ruling 13", t.at("ResourceConfig.VolumeSizeInGB"), "--enforce-volume-size has nothing to enforce: the request gives no size")
	}
	if t.output.CompressionType == "NONE" {
		tr.Unpacked, tr.ModelURI, tr.OutputURI = true, under(out, p.Name, "output/model"), under(out, p.Name, "output/data")
	}
	if tr.HyperParameters == nil {
		tr.HyperParameters = map[string]string{}
	}
	if s := t.stopping; s != nil && s.MaxRuntimeInSeconds != nil {
		tr.MaxRuntime = Duration(time.Duration(*s.MaxRuntimeInSeconds) * time.Second)
	}
	for _, d := range metrics {
		tr.Metrics = append(tr.Metrics, MetricDefinition(d))
	}
	for i, c := range t.channels {
		ch := m.channel(c, t.mode)
		if s := c.DataSource.FileSystemDataSource; s != nil {
			ch.Source = m.fileSystem(s, t.channelPath(i)+".DataSource.FileSystemDataSource")
		}
		tr.Channels = append(tr.Channels, ch)
	}
	m.spread(tr.Instances, in.GPUs, t.at("ResourceConfig.InstanceCount"))
	return tr
}

// place is what the container is told of the job's hosts (ruling 5), and the place of its own among them.
func (m *maker) place(t trainingView) (hosts []string, rank int) {
	hosts, rank = m.o.hosts()
	path := t.at("ResourceConfig.InstanceCount")
	if n := value(t.resource.InstanceCount, 1); n != int64(len(hosts)) { // more than one without --hosts is refused by the table
		m.cannot = append(m.cannot, RefusedMember{File: m.set.main.Name, Path: path, Value: strconv.FormatInt(n, 10), Rule: "ruling 5",
			Text: fmt.Sprintf("--hosts names %d: give as many as the job has instances", len(hosts))})
	}
	if len(hosts) > 1 {
		m.warn("ruling 5", path, "%s of %d hosts runs alone: the hosts do not reach each other yet, and each uploads its own artifacts; "+
			"give each its own --name, or they replace each other's", hosts[rank], len(hosts))
	}
	return hosts, rank
}

// trainingEnv is the environment of 1.3: the request's, then the service's own (ENV-4); no SM_* (ENV-1).
func (m *maker) trainingEnv(p *Plan, request map[string]string) map[string]string {
	return serviceEnv(request, p.Region, p.Training.Instances[0].GPUs, map[string]string{
		"TRAINING_JOB_NAME": p.Name, "TRAINING_JOB_ARN": p.ARN,
	})
}

func (m *maker) channel(c channel, mode string) Channel {
	out := Channel{Name: c.ChannelName, Mode: cmp.Or(c.InputMode, mode), ContentType: c.ContentType,
		Compression: orNone(c.CompressionType), RecordWrapper: orNone(c.RecordWrapperType)}
	if s := c.DataSource.S3DataSource; s != nil {
		out.Source = Source{Type: s.S3DataType, URI: resolve(m.o.Dir, s.S3Uri),
			Distribution: cmp.Or(s.S3DataDistributionType, defaultDataSharing), AttributeNames: s.AttributeNames}
	}
	if c.ShuffleConfig != nil && out.Mode != "File" { // in File mode the order cannot be seen (FILE-11)
		out.ShuffleSeed = &c.ShuffleConfig.Seed
	}
	return out
}

// fileSystem is a channel's file system: the local directory that stands for it (FILE-13).
func (m *maker) fileSystem(s *fileSystemDataSource, path string) Source {
	dir, ok := m.o.FileSystems[s.FileSystemId]
	if !ok {
		m.cannot = append(m.cannot, RefusedMember{File: m.set.main.Name, Path: path + ".FileSystemId", Value: s.FileSystemId, Rule: "FILE-13",
			Text: fmt.Sprintf("no directory of this machine stands for this file system: name one with --fs %s=DIR", s.FileSystemId)})
	}
	return Source{Type: "FileSystem", URI: dir, Directory: s.DirectoryPath, ReadOnly: s.FileSystemAccessMode == "ro", Distribution: defaultDataSharing}
}

// volume is what the job may write: an NVMe type's own disk whatever the request says, else VolumeSizeInGB
// (ruling 13); 0 is no bound.
func (m *maker) volume(r *resourceConfig) int64 {
	if i := instances()[m.o.told(r.InstanceType)]; i.LocalNvmeGB > 0 {
		return int64(i.LocalNvmeGB * 1e9)
	}
	return value(r.VolumeSizeInGB, 0) << 30
}
