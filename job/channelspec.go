package job

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optml/optml/human"
)

// channels holds a job's channels against the algorithm's (CH-1, CH-2), in the words of the Python SDK and of the
// container toolkit; the service's own are not published.
func (c *ruling) channels(t trainingView, a *createAlgorithmInput) {
	specs := a.TrainingSpecification.TrainingChannels
	names := make([]string, len(specs))
	given := map[string]bool{}
	for i := range specs {
		names[i] = specs[i].Name
	}
	for i, ch := range t.channels {
		given[ch.ChannelName] = true
		at := slices.Index(names, ch.ChannelName)
		if at < 0 {
			hint := ""
			if !c.out.room(hard) {
			} else if near := human.Nearest(ch.ChannelName, names); near != "" {
				hint = "did you mean " + near + "?"
			} else if len(names) > 0 {
				hint = "known: " + human.Clip(strings.Join(names, ", "), 200)
			}
			c.broken(t.channelPath(i)+".ChannelName", fmt.Sprintf("Unknown input channel: %s is not supported by: %s", ch.ChannelName, a.AlgorithmName),
				fmt.Sprintf("algorithm %s has no channel %q", a.AlgorithmName, ch.ChannelName), hint)
			continue
		}
		c.channel(t, i, specs[at])
	}
	for _, s := range specs {
		if s.IsRequired && !given[s.Name] {
			c.broken(t.at("InputDataConfig"), fmt.Sprintf("Required input channel: %s Was not provided.", s.Name), fmt.Sprintf("channel %q is required and missing", s.Name), "")
		}
	}
}

// channel holds one channel against its specification (CH-2).
func (c *ruling) channel(t trainingView, i int, s channelSpecification) {
	ch, path := t.channels[i], t.channelPath(i)
	unsupported := func(member, have string, list []string) {
		c.broken(path+"."+member, fmt.Sprintf("Channel configuration for '%s' channel is not supported: %s %s", ch.ChannelName, member, have),
			fmt.Sprintf("channel %q supports %s, not %s", ch.ChannelName, human.Clip(strings.Join(list, ", "), 200), have), "")
	}
	if mode := t.channelMode(i); mode != "" && !slices.Contains(s.SupportedInputModes, mode) {
		unsupported("InputMode", mode, s.SupportedInputModes)
	}
	if have := orNone(ch.CompressionType); len(s.SupportedCompressionTypes) > 0 && !slices.Contains(s.SupportedCompressionTypes, have) {
		unsupported("CompressionType", have, s.SupportedCompressionTypes)
	}
	switch {
	case len(s.SupportedContentTypes) == 0:
	case ch.ContentType == "":
		c.warn(path, fmt.Sprintf("channel %q has no ContentType; its specification supports %s", ch.ChannelName, strings.Join(s.SupportedContentTypes, ", ")))
	case !hasMediaType(s.SupportedContentTypes, ch.ContentType):
		unsupported("ContentType", ch.ContentType, s.SupportedContentTypes)
	}
}

// hasMediaType compares type and subtype regardless of case and of parameters (CH-2).
func hasMediaType(list []string, v string) bool {
	bare := func(s string) string {
		s, _, _ = strings.Cut(s, ";")
		return strings.ToLower(strings.TrimSpace(s))
	}
	return slices.ContainsFunc(list, func(s string) bool { return bare(s) == bare(v) })
}
