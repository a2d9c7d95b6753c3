package job

import (
	"fmt"
	"iter"
	"regexp"
	"strings"
)

// origin is where in AWS something of a document lies, as far as its name tells.
type origin struct {
	registry
	path string
	what string // "image", "bucket", "resource", "role"
}

var (
	// s3Host is the region in an https address of S3: s3.<region>, <bucket>.s3.<region>, s3-<region>.
	s3Host  = regexp.MustCompile(`^https://(?:[^/]+\.)?s3[.-](?:dualstack\.)?([a-z]{2,3}(?:-[a-z]+)+-[0-9])\.amazonaws\.com(?:\.cn)?/`)
	homeARN = regexp.MustCompile(`^arn:aws[a-z-]*:sagemaker:([a-z0-9-]+):([0-9]{12}):`)
)

// oneHome: the service takes a job's image, data, model and algorithm from its own region only, and what is sold from the
// seller's own registry (VAL-23, VAL-33). A job of one's own may use an image of another account, such as AWS's.
func oneHome(c *ruling) {
	home := registry{account: c.o.Account, region: c.o.Region}
	of := registry{account: "--account", region: "--region"} // what the home was taken from
	sold := c.doc.Operation == CreateAlgorithm || c.doc.Operation == CreateModelPackage
	for x := range c.origins() {
		other, whose := "", x.what != "resource" && sold
		switch {
		case x.region != "" && home.region != "" && x.region != home.region:
			other = fmt.Sprintf("lies in %s, and %s in %s: the service takes a document's images, buckets and models from one region", x.region, of.region, home.region)
		case whose && x.account != "" && home.account != "" && x.account != home.account:
			other = fmt.Sprintf("is of account %s, and %s of %s: the service wants what is sold in the seller's own registry", x.account, of.account, home.account)
		}
		if home.region == "" && x.region != "" {
			home.region, of.region = x.region, x.path
		}
		if whose && home.account == "" && x.account != "" {
			home.account, of.account = x.account, x.path
		}
		if other == "" {
			continue
		}
		message := ""
		if x.what == "image" {
			message = "Client error: Access denied for registry"
		}
		c.soft(awsOnly, x.path, message, other, "")
	}
}

// origins goes over what a document names in AWS, the images first: they tell most.
func (c *ruling) origins() iter.Seq[origin] {
	var found [3][]origin // images, then roles and resources, then buckets
	c.doc.Root.strings("", func(path, member, v string) {
		switch member {
		case "TrainingImage", "Image":
			if r := parseECR(v); r != (registry{}) {
				found[0] = append(found[0], origin{r, path, "image"})
			}
		case "ValidationRole":
			if m := roleARN.FindStringSubmatch(v); m != nil {
				found[1] = append(found[1], origin{registry{account: m[1]}, path, "role"})
			}
		case "AlgorithmName", "ModelPackageName":
			if m := homeARN.FindStringSubmatch(v); m != nil {
				found[1] = append(found[1], origin{registry{account: m[2], region: m[1]}, path, "resource"})
			}
		case "S3Uri", "S3OutputPath", "ModelDataUrl", "DestinationS3Uri":
			if m := s3Host.FindStringSubmatch(v); m != nil {
				found[2] = append(found[2], origin{registry{region: m[1]}, path, "bucket"})
			}
		}
	})
	return func(yield func(origin) bool) {
		for _, list := range found {
			for _, x := range list {
				if !yield(x) {
					return
				}
			}
		}
	}
}

// strings calls f for each string that is a member of an object, with its path and the member's name.
func (n *Node) strings(path string, f func(path, member, v string)) {
	for _, m := range n.Members {
		if m.Value.Kind == String {
			f(join(path, m.Name), m.Name, m.Value.Text)
			continue
		}
		if strings.HasSuffix(m.Name, "Environment") || strings.HasSuffix(m.Name, "HyperParameters") {
			continue // names of the user's own
		}
		m.Value.strings(join(path, m.Name), f)
	}
	for i, it := range n.Items {
		if it.Kind == Object {
			it.strings(index(path, i), f)
		}
	}
}
