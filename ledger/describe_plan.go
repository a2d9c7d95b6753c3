package ledger

import "github.com/optml/optml/job"

// What a plan knows of a request, for a job that has no document of its own.

func planAlgorithm(t *job.Training) Document {
	var d Document
	if len(t.Instances) > 0 && len(t.Instances[0].Containers) > 0 {
		c := t.Instances[0].Containers[0]
		d.set("TrainingImage", c.Image.Ref)
	}
	mode := "File"
	if len(t.Channels) > 0 {
		mode = t.Channels[0].Mode
	}
	d.set("TrainingInputMode", mode)
	var defs []Document
	for _, m := range t.Metrics {
		defs = append(defs, Document{{"Name", m.Name}, {"Regex", m.Regex}})
	}
	d.set("MetricDefinitions", defs)
	return d
}

func planChannels(channels []job.Channel) []Document {
	var out []Document
	for _, c := range channels {
		var d, source Document
		if c.Source.Type == "FileSystem" {
			d.set("ChannelName", c.Name)
			access := "rw"
			if c.Source.ReadOnly {
				access = "ro"
			}
			d.set("DataSource", Document{{"FileSystemDataSource", Document{{"FileSystemAccessMode", access}, {"DirectoryPath", c.Source.Directory}}}})
			d.set("InputMode", c.Mode)
			out = append(out, d)
			continue
		}
		source.set("S3DataType", c.Source.Type)
		source.set("S3Uri", c.Source.URI)
		source.set("S3DataDistributionType", c.Source.Distribution)
		if len(c.Source.AttributeNames) > 0 {
			source.set("AttributeNames", c.Source.AttributeNames)
		}
		d.set("ChannelName", c.Name)
		d.set("DataSource", Document{{"S3DataSource", source}})
		d.set("ContentType", c.ContentType)
		d.set("CompressionType", c.Compression)
		d.set("RecordWrapperType", c.RecordWrapper)
		d.set("InputMode", c.Mode)
		if c.ShuffleSeed != nil {
			d.set("ShuffleConfig", Document{{"Seed", *c.ShuffleSeed}})
		}
		out = append(out, d)
	}
	return out
}
