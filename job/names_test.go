package job

import (
	"strings"
	"testing"
)

// VAL-6 and ruling 2: names of a validation's children stay within 63 characters, differ where the names differ, keep
// their kind and suffix, and have the form of a name.
func TestChildNames(t *testing.T) {
	if got := childName("iris", "default", "training", ""); got != "iris-default-training" {
		t.Errorf("got %s", got)
	}
	if got := childName("iris", "default", "transform", "r7k2"); got != "iris-default-transform-r7k2" {
		t.Errorf("got %s", got)
	}
	a := strings.Repeat("a", 60)
	seen := map[string]bool{}
	for _, alg := range []string{a + "-x", a + "-y", strings.Repeat("b-", 31) + "b", "c"} {
		for _, profile := range []string{a, a + "z", "p"} {
			for _, kind := range []string{"training", "transform", "model"} {
				got := childName(alg, profile, kind, "20261120-abc")
				if len(got) > 63 || !nameForm().MatchString(got) || !strings.HasSuffix(got, "-"+kind+"-20261120-abc") || seen[got] {
					t.Errorf("%s of %s, %s is %q (%d)", kind, alg, profile, got, len(got))
				}
				seen[got] = true
			}
		}
	}
}

func TestECRNames(t *testing.T) {
	for image, want := range map[string]registry{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:1":                                   {"123456789012", "eu-west-1"},
		"123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/a@sha256:" + strings.Repeat("0", 64): {"123456789012", "us-gov-west-1"},
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/a":                                  {"123456789012", "us-east-1"},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a":                                   {"123456789012", "cn-north-1"},
		"123456789012.dkr-ecr.us-east-1.on.aws/a":                                              {"123456789012", "us-east-1"},
		"12345.dkr.ecr.us-east-1.amazonaws.com/a":                                              {},
		"registry.example.com/a/b":                                                             {},
		"iris:1":                                                                               {},
		"123456789012.dkr.ecr.us-east-1.amazonaws.com":                                         {},
	} {
		if got := parseECR(image); got != want {
			t.Errorf("%s: got %v, want %v", image, got, want)
		}
	}
}

// Ruling 6: where region and account come from.
func TestWhere(t *testing.T) {
	const ecr, role = "111111111111.dkr.ecr.eu-west-3.amazonaws.com/a", "arn:aws:iam::222222222222:role/r"
	for _, tc := range []struct {
		o               Options
		h               HostFacts
		role, image     string
		region, account string
	}{
		{Options{}, HostFacts{}, "", "a:1", "us-east-1", "000000000000"},
		{Options{}, HostFacts{}, "", ecr, "eu-west-3", "111111111111"},
		{Options{}, HostFacts{}, role, ecr, "eu-west-3", "222222222222"},
		{Options{}, HostFacts{EnvRegion: "ap-south-1"}, role, ecr, "ap-south-1", "222222222222"},
		{Options{Region: "sa-east-1", Account: "333333333333"}, HostFacts{EnvRegion: "ap-south-1"}, role, ecr, "sa-east-1", "333333333333"},
		{Options{}, HostFacts{}, "not a role", "a", "us-east-1", "000000000000"},
	} {
		if r, a := where(tc.o, tc.h, tc.role, tc.image); r != tc.region || a != tc.account {
			t.Errorf("%+v: got %s, %s", tc, r, a)
		}
	}
	for region, want := range map[string]string{
		"us-east-1":     "arn:aws:sagemaker:us-east-1:1:training-job/n",
		"cn-north-1":    "arn:aws-cn:sagemaker:cn-north-1:1:training-job/n",
		"us-gov-west-1": "arn:aws-us-gov:sagemaker:us-gov-west-1:1:training-job/n",
	} {
		if got := arn(region, "1", "training-job", "n"); got != want {
			t.Errorf("got %s", got)
		}
	}
}

// OUT-1: no double slash.
func TestUnder(t *testing.T) {
	for _, uri := range []string{"s3://b/p", "s3://b/p/", "s3://b/p//"} {
		if got := under(uri, "job", "output/model.tar.gz"); got != "s3://b/p/job/output/model.tar.gz" {
			t.Errorf("%s: got %s", uri, got)
		}
	}
}

// D6: relative paths lie below the document's directory; a slash at the end stays, since prefixes differ by it.
func TestResolve(t *testing.T) {
	for uri, want := range map[string]string{
		"s3://b/x": "s3://b/x", "https://h/x": "https://h/x", "/abs/": "/abs/", "file:///abs": "file:///abs",
		"data": "/d/data", "data/": "/d/data/", "./data": "/d/data", "../x/": "/x/", "file://data/": "file:///d/data/", "": "", "a:b": "a:b",
	} {
		if got := resolve("/d", uri); got != want {
			t.Errorf("%q: got %q, want %q", uri, got, want)
		}
		if got := resolve("", uri); got != uri {
			t.Errorf("%q without a directory: got %q", uri, got)
		}
	}
}

// START-10: never algo-1.
func TestDNSName(t *testing.T) {
	if got := dnsName("us-east-1", 0); got != "ip-10-0-0-1.ec2.internal" {
		t.Error(got)
	}
	if got := dnsName("eu-west-1", 2); got != "ip-10-0-0-3.eu-west-1.compute.internal" {
		t.Error(got)
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"InputDataConfig[0].DataSource.S3DataSource.S3DataType": "inputDataConfig.1.member.dataSource.s3DataSource.s3DataType",
		"TrainingJobName":   "trainingJobName",
		"A[1][20].B":        "a.2.member.21.member.b",
		"Environment.A_KEY": "environment.a_KEY",
	} {
		if got := awsPath(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	root := fixture(t, "training.json").Root
	for path, found := range map[string]bool{"": true, "InputDataConfig[0].ChannelName": true, "InputDataConfig[1]": false, "InputDataConfig[x]": false, "InputDataConfig[0": false, "Nope.X": false, "HyperParameters.eta": true} {
		if n, ok := root.At(path); ok != found || n == nil {
			t.Errorf("%q: %v", path, ok)
		}
	}
	odd, _ := parse([]byte(`{"Environment":{"a.b[0]":"v"}}`))
	if n, ok := odd.At("Environment.a.b[0]"); !ok || n.Text != "v" {
		t.Errorf("a key with dots is not found: %v", ok)
	}
}
