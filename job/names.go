package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// maxName is the longest name that the service takes for a job, model or algorithm.
const maxName = 63

// nameForm is compiled when it is first used: it is long, and few starts of the program need it.
var nameForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`) })

// childName names what a validation makes (VAL-6): <algorithm>-<profile>-<kind>, with the run's suffix (ruling 2),
// never above 63 characters. What is cut off is stood in for by a hash, so that two long names stay two.
func childName(algorithm, profile, kind, suffix string) string {
	base, tail := algorithm+"-"+profile, "-"+kind
	if suffix != "" {
		tail += "-" + suffix
	}
	return cut(base, maxName-len(tail)) + tail
}

// cut shortens a name to n bytes: its beginning and a hash of the whole.
func cut(name string, n int) string {
	if len(name) <= n {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:max(0, n-len(hash)-1)], "-") + "-" + hash
}

// registry is what an ECR image name tells: 123456789012.dkr.ecr.us-east-1.amazonaws.com/name:tag.
type registry struct{ account, region string }

var ecrName = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)/`)

// parseECR returns the zero registry for any other image name.
func parseECR(image string) registry {
	m := ecrName.FindStringSubmatch(image)
	if m == nil {
		return registry{}
	}
	return registry{m[1], m[2]}
}

var roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/`)

// where decides region and account (ruling 6).
func where(o Options, h HostFacts, role string, images ...string) (region, account string) {
	region, account = o.Region, o.Account
	if region == "" {
		region = h.EnvRegion
	}
	if m := roleARN.FindStringSubmatch(role); account == "" && m != nil {
		account = m[1]
	}
	for _, image := range images {
		r := parseECR(image)
		if region == "" {
			region = r.region
		}
		if account == "" {
			account = r.account
		}
	}
	if region == "" {
		region = "us-east-1"
	}
	if account == "" {
		account = "000000000000"
	}
	return region, account
}

// arn is a resource's name as the service writes it.
func arn(region, account, kind, name string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return fmt.Sprintf("arn:%s:sagemaker:%s:%s:%s/%s", partition, region, account, kind, name)
}

// dnsName is a container's host name: on the service it is the instance's DNS name and never algo-1 (START-10). The
// number is ours; nothing may depend on it.
func dnsName(region string, n int) string {
	if region == "us-east-1" {
		return fmt.Sprintf("ip-10-0-0-%d.ec2.internal", n+1)
	}
	return fmt.Sprintf("ip-10-0-0-%d.%s.compute.internal", n+1, region)
}

// under appends path elements to an address, without a double slash (OUT-1).
func under(uri string, elem ...string) string {
	return strings.TrimRight(uri, "/") + "/" + strings.Join(elem, "/")
}

// resolve makes a document's relative local path absolute (D6); a slash at the end stays, since prefixes differ by it.
func resolve(dir, uri string) string {
	if dir == "" || !isLocalPath(uri) {
		return uri
	}
	scheme := ""
	path := uri
	if rest, ok := strings.CutPrefix(uri, "file://"); ok {
		scheme, path = "file://", rest
	}
	if filepath.IsAbs(path) {
		return uri
	}
	abs := filepath.Join(dir, path)
	if strings.HasSuffix(path, "/") {
		abs += "/"
	}
	return scheme + abs
}
