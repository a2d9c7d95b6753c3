package job

import "maps"

// withDefaults puts an algorithm's default values into a job's hyperparameters where they are missing (VAL-14).
func withDefaults(hp map[string]string, specs []hyperParameterSpecification) map[string]string {
	out := maps.Clone(hp)
	if out == nil {
		out = map[string]string{}
	}
	for _, s := range specs {
		if _, given := out[s.Name]; !given && s.DefaultValue != nil {
			out[s.Name] = *s.DefaultValue
		}
	}
	return out
}
