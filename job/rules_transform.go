package job

import "fmt"

func onTransformJob(f func(c *ruling, r *createTransformJobRequest)) func(*ruling) {
	return func(c *ruling) {
		if b, ok := c.doc.body.(*createTransformJobRequest); ok {
			f(c, b)
		}
	}
}

var transformRules = []rule{
	{"VAL-53", onTransformJob(func(c *ruling, r *createTransformJobRequest) {
		switch {
		case c.set.model == nil && c.o.ModelImage == "":
			c.broken("ModelName", "", fmt.Sprintf("model %q is not known here", r.ModelName), "give its CreateModel request beside this one, or an image and a model.tar.gz (--image, --model)")
		case c.set.model != nil && c.set.model.body.(*createModelInput).ModelName != r.ModelName:
			c.broken("ModelName", fmt.Sprintf("Could not find model %q.", r.ModelName),
				fmt.Sprintf("names model %q, and the CreateModel request given makes %q", r.ModelName, c.set.model.body.(*createModelInput).ModelName), "")
		}
	})},
}
