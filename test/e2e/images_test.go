//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/optml/optml/test/awstest"
	"github.com/optml/optml/test/images"
)

const (
	ecrRegistry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	ecrToken    = "TheTokenOfTheRegistry"
)

// distinct is a tiny image with a digest of its own.
func distinct(t *testing.T, o images.Options) v1.Image {
	t.Helper()
	o.Labels = map[string]string{"test": t.Name() + fmt.Sprint(o.Labels)}
	img, err := images.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// hostsTOML makes a --registry-config directory that says of a registry what the text says.
func hostsTOML(t *testing.T, registry, text string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, registry), 0o755))
	must(os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(text), 0o644))
	for i := 0; i+1 < len(more); i += 2 {
		must(os.WriteFile(filepath.Join(dir, registry, more[i]), []byte(more[i+1]), 0o644))
	}
	return dir
}

func mirrored(registry, at string) string {
	return fmt.Sprintf("server = \"https://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", registry, at)
}

// docker is an environment with Docker's configuration.
func docker(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return "DOCKER_CONFIG=" + dir
}

// removeImage takes an image away, at once or at the end of the test when it is still there.
func removeImage(t *testing.T, ref string) {
	t.Helper()
	ok(t, "images", "rm", ref)
}

// runs runs a training of an image, which must end with the exit code.
func runs(t *testing.T, code int, env []string, ref string, args ...string) (name string, r result) {
	t.Helper()
	name = jobName("image")
	d := training(name)
	d["AlgorithmSpecification"].(doc)["TrainingImage"] = ref
	r = begin(t, env, append([]string{"train", "--logs=false", d.file(t)}, args...)...).wait(t)
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r)
	}
	if code == 0 && !strings.Contains(log(t, name), "started_ns") {
		t.Errorf("its image did not run: %s", log(t, name))
	}
	return name, r
}

// nowhere holds that a secret is in no file of the world but what containers printed themselves, and in nothing that
// optml printed.
func nowhere(t *testing.T, secret string, said ...result) {
	t.Helper()
	for _, r := range said {
		if strings.Contains(r.stdout+r.stderr, secret) {
			t.Errorf("it prints a secret: %s", r)
		}
	}
	for _, dir := range []string{filepath.Join(w.root, "jobs"), w.run, w.tmp} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && filepath.Base(filepath.Dir(path)) != "logs" {
				if b, _ := os.ReadFile(path); strings.Contains(string(b), secret) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

const cannotPull = "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect."

// TestImagesECR pulls an image of ECR by tag, by digest and by both from a registry on this machine that takes the
// account's token alone; wrong digests are refused, in the name and in the document (START-6, END-2).
func TestImagesECR(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{User: "AWS", Password: ecrToken})
	img := distinct(t, images.Options{})
	_, by := reg.Push(t, img, "decision-trees:1")
	digest := by[strings.Index(by, "@")+1:]
	aws := awstest.New(t, awstest.Options{AccessKeyID: "AKIAEXAMPLE", Token: ecrToken})
	dir := hostsTOML(t, ecrRegistry, mirrored(ecrRegistry, reg.Host))
	env := aws.Env("OPTML_REGISTRY_CONFIG="+dir, docker(t, "{}"))
	repo := ecrRegistry + "/decision-trees"
	var said []result
	for _, ref := range []string{repo + ":1", repo + "@" + digest, repo + ":1@" + digest} {
		asked := len(aws.Requests("GetAuthorizationToken"))
		name, r := runs(t, 0, env, ref)
		said = append(said, r)
		if got := record(t, name).Images[0].Digest; got != digest {
			t.Errorf("%s: digest %s", ref, got)
		}
		got := aws.Requests("GetAuthorizationToken")[asked:]
		if len(got) != 1 || got[0].Region != "eu-west-1" {
			t.Errorf("%s: asked for a token %+v: once, in the registry's region", ref, got)
		}
		pulled := ref
		if strings.Contains(ref, "@") {
			pulled = repo + "@" + digest
		}
		removeImage(t, pulled)
	}
	for _, q := range reg.Requests() {
		if q.Authorized && !strings.Contains(q.Query, "ns="+ecrRegistry) {
			t.Errorf("a request without its registry: %+v", q)
		}
	}

	// Digests that are not so: in the name, and beside a tag that has another.
	wrong := "sha256:" + strings.Repeat("0", 64)
	name, r := runs(t, 5, env, repo+"@"+wrong)
	said = append(said, r)
	if s := record(t, name); s.FailureReason != cannotPull || s.Status != "Failed" {
		t.Errorf("%s: %s %s", name, s.Status, s.FailureReason)
	}
	for _, c := range []struct {
		what, digest string
		code         int
	}{{"wrong", wrong, 5}, {"right", strings.ToUpper(digest[:7]) + digest[7:], 0}} {
		a := algorithm("ecr-"+c.what, "s3://data/batch/", nil, nil)
		put(t, "data", "train/a.csv", "1\n")
		spec := a["TrainingSpecification"].(doc)
		spec["TrainingImage"], spec["TrainingImageDigest"] = repo+":1", c.digest
		delete(a, "InferenceSpecification")
		profile := a["ValidationSpecification"].(doc)["ValidationProfiles"].([]doc)[0]
		delete(profile, "TransformJobDefinition")
		r := begin(t, env, "validate", "--logs=false", a.file(t)).wait(t)
		said = append(said, r)
		if failed := strings.Contains(r.stderr, "digest mismatch: it has "+digest+", the document wants "+wrong); failed != (c.code != 0) || (r.code == 0) != (c.code == 0) {
			t.Errorf("%s digest in the document: %s", c.what, r)
		}
	}
	removeImage(t, repo+":1")

	// Without credentials, and with others' keys, the registry is not opened, and the hint says what to do.
	for _, env := range [][]string{
		{"OPTML_REGISTRY_CONFIG=" + dir, docker(t, "{}")},
		append(env, "AWS_ACCESS_KEY_ID=AKIASOMEBODY"),
	} {
		_, r := runs(t, 5, env, repo+":1")
		said = append(said, r)
		if !strings.Contains(r.stderr, "access denied") || !strings.Contains(r.stderr, "--aws-profile") {
			t.Errorf("%s", r)
		}
	}
	nowhere(t, ecrToken, said...)
	nowhere(t, base64.StdEncoding.EncodeToString([]byte("AWS:"+ecrToken)), said...)
}

// TestImagesECRDirect pulls from the host that the name says: by HTTPS with a certificate that hosts.toml trusts,
// through a proxy, with the token of a profile.
func TestImagesECRDirect(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{User: "AWS", Password: ecrToken})
	reg.Push(t, distinct(t, images.Options{}), "trees:2")
	at, cert := reg.ServeTLS(t, ecrRegistry)
	proxy, asked := images.Proxy(t, at)
	aws := awstest.New(t, awstest.Options{AccessKeyID: "AKIAPROFILE", Token: ecrToken})
	profiles := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(profiles, []byte("[ml]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := hostsTOML(t, ecrRegistry, "server = \"https://"+ecrRegistry+"\"\nca = \"ca.crt\"\n", "ca.crt", string(cert))
	// The token is asked for past the proxy, since loopback needs none.
	env := append(aws.Env(docker(t, "{}"), "HTTPS_PROXY="+proxy), "AWS_SHARED_CREDENTIALS_FILE="+profiles, "AWS_ACCESS_KEY_ID=AKIAOTHER")
	ref := ecrRegistry + "/trees:2"
	runs(t, 0, env, ref, "--registry-config", dir, "--aws-profile", "ml")
	if hosts := asked(); len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return h != ecrRegistry+":443" }) {
		t.Errorf("the proxy was asked for %q", hosts)
	}
	removeImage(t, ref)
	if _, r := runs(t, 5, env, ref, "--aws-profile", "ml"); !strings.Contains(r.stderr, "certificate") {
		t.Errorf("without the certificate: %s", r)
	}
}

// TestImagesMirror takes a token of ECR to a mirror on this machine and to none elsewhere, and plain HTTP and a
// certificate of its own as hosts.toml says (START-6).
func TestImagesMirror(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{})
	reg.Push(t, distinct(t, images.Options{}), "mirrored:1")
	const registry = "registry.optml.test"
	ref := registry + "/mirrored:1"
	at, cert := reg.ServeTLS(t, "127.0.0.1")
	_, port, _ := strings.Cut(at, ":")
	for what, dir := range map[string]string{
		"this server alone":     hostsTOML(t, registry, fmt.Sprintf("server = \"http://%s\"\n", reg.Host)),
		"plain HTTP":            hostsTOML(t, registry, mirrored(registry, reg.Host)),
		"its own certificate":   hostsTOML(t, registry, fmt.Sprintf("[host.\"https://127.0.0.1:%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"ca.crt\"\n", port), "ca.crt", string(cert)),
		"unverified, by choice": hostsTOML(t, registry, fmt.Sprintf("[host.\"https://127.0.0.1:%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  skip_verify = true\n", port)),
	} {
		if r := begin(t, []string{docker(t, "{}")}, "images", "pull", ref, "--registry-config", dir).wait(t); r.code != 0 || !strings.Contains(r.stdout, registry) {
			t.Errorf("%s: %s", what, r)
			continue
		}
		removeImage(t, ref)
	}
	r := expect(t, 2, "images", "pull", ref, "--registry-config", filepath.Join(t.TempDir(), "none"))
	if !strings.Contains(r.stderr, "--registry-config: stat") {
		t.Errorf("%s", r)
	}
}

// TestImagesPrivateRegistry pulls with Docker's login and with a credential helper. A Lambda function that a document
// names for it is not asked: that is told, and refused under --strict (START-6, ruling 3).
func TestImagesPrivateRegistry(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{User: "me", Password: "ThePasswordOfTheRegistry", Token: true})
	ref, _ := reg.Push(t, distinct(t, images.Options{}), "private/tiny:1")
	auth := base64.StdEncoding.EncodeToString([]byte("me:ThePasswordOfTheRegistry"))
	login := docker(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, reg.Host, auth))
	helper := docker(t, fmt.Sprintf(`{"credHelpers":{%q:"optmltest"}}`, reg.Host))
	script := "#!/bin/sh\necho '{\"Username\":\"me\",\"Secret\":\"ThePasswordOfTheRegistry\"}'\n"
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-optmltest"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const function = "arn:aws:lambda:us-east-1:123456789012:function:registry-login"
	document := func(name string) string {
		d := training(name)
		a := d["AlgorithmSpecification"].(doc)
		a["TrainingImage"] = ref
		a["TrainingImageConfig"] = doc{"TrainingRepositoryAccessMode": "Vpc",
			"TrainingRepositoryAuthConfig": doc{"TrainingRepositoryCredentialsProviderArn": function}}
		return d.file(t)
	}
	for _, env := range [][]string{{login}, {helper, "PATH=" + w.path + ":" + bin}} {
		name := jobName("private")
		r := begin(t, env, "train", "--logs=false", document(name)).wait(t)
		if r.code != 0 || !strings.Contains(r.stderr, "warning: "+function+" is not asked") {
			t.Errorf("%s", r)
		}
		nowhere(t, "ThePasswordOfTheRegistry", r)
		removeImage(t, ref)
	}
	r := begin(t, []string{login}, "train", "--strict", document("strict")).wait(t)
	if r.code == 0 || !strings.Contains(r.stderr, "TrainingRepositoryCredentialsProviderArn") || !strings.Contains(r.stderr, "is refused: the Lambda function is not asked") {
		t.Errorf("%s", r)
	}
	if _, r := runs(t, 5, []string{docker(t, "{}")}, ref); !strings.Contains(r.stderr, "access denied") || !strings.Contains(r.stderr, "docker login") {
		t.Errorf("without a login: %s", r)
	}
}

// TestImagesPlatform takes the host's part of an image for several platforms, or that of --platform, and says what there
// is when it is not among them.
func TestImagesPlatform(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{})
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	env := []string{docker(t, "{}")}
	own := distinct(t, images.Options{})
	both, index := reg.PushIndex(t, "both:1", own, distinct(t, images.Options{ConfigArch: other}))
	none, _ := reg.PushIndex(t, "none:1", distinct(t, images.Options{ConfigArch: other}), distinct(t, images.Options{ConfigArch: "s390x"}))
	name, _ := runs(t, 0, env, both)
	if i := record(t, name).Images[0]; i.Digest != index || i.Platform != "linux/"+runtime.GOARCH {
		t.Errorf("ran %+v", i)
	}
	// A document's digest may be that of the manifest in the index.
	manifest, err := own.Digest()
	if err != nil {
		t.Fatal(err)
	}
	put(t, "data", "train/a.csv", "1\n")
	a := algorithm("in-index", "s3://data/batch/", nil, nil)
	spec := a["TrainingSpecification"].(doc)
	spec["TrainingImage"], spec["TrainingImageDigest"] = both, manifest.String()
	delete(a, "InferenceSpecification")
	delete(a["ValidationSpecification"].(doc)["ValidationProfiles"].([]doc)[0], "TransformJobDefinition")
	if r := begin(t, env, "validate", "--quiet", a.file(t)).wait(t); r.code != 0 {
		t.Errorf("the digest of the manifest: %s", r)
	}
	// The other platform's part is fetched beside it, and listed as what it is when it is alone.
	pull := func(code int, args ...string) result {
		t.Helper()
		r := begin(t, env, append([]string{"images", "pull"}, args...)...).wait(t)
		if r.code != code {
			t.Errorf("exit code %d, want %d: %s", r.code, code, r)
		}
		return r
	}
	removeImage(t, both)
	if r := pull(0, both, "--platform", "linux/"+other); !strings.Contains(r.stdout, "linux/"+other) {
		t.Errorf("%s", r)
	}
	if r := ok(t, "images", "ls"); !strings.Contains(r.stdout, "linux/"+other) {
		t.Errorf("%s", r)
	}
	runs(t, 0, env, both) // its own part is not here: it is fetched
	removeImage(t, both)
	if r := pull(5, none); !strings.Contains(r.stderr, "the image is for linux/"+other) || !strings.Contains(r.stderr, "linux/s390x, this machine is linux/"+runtime.GOARCH) {
		t.Errorf("%s", r)
	}
	if r := pull(5, both, "--platform", "linux/s390x"); !strings.Contains(r.stderr, "linux/s390x was asked for") {
		t.Errorf("%s", r)
	}
	if r := pull(2, both, "--platform", "solaris/sparc"); !strings.Contains(r.stderr, "--platform") {
		t.Errorf("%s", r)
	}
	if entries, _ := os.ReadDir("/proc/sys/fs/binfmt_misc"); len(entries) <= 2 {
		if _, r := runs(t, 2, env, both, "--platform", "linux/"+other); !strings.Contains(r.stderr, "knows no emulator") {
			t.Errorf("%s", r)
		}
	}
}

// TestImagesPullPolicy asks a registry always, when the image is missing, or never.
func TestImagesPullPolicy(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{})
	env := []string{docker(t, "{}")}
	push := func(which string) (ref, digest string) {
		ref, by := reg.Push(t, distinct(t, images.Options{Labels: map[string]string{"which": which}}), "moving:1")
		return ref, by[strings.Index(by, "@")+1:]
	}
	ref, first := push("first")
	if _, r := runs(t, 5, env, ref, "--pull", "never"); !strings.Contains(r.stderr, "pulling is off") {
		t.Errorf("%s", r)
	}
	digest := func(policy string) string {
		t.Helper()
		name, _ := runs(t, 0, env, ref, "--pull", policy)
		return record(t, name).Images[0].Digest
	}
	if got := digest("missing"); got != first {
		t.Errorf("pulled %s", got)
	}
	_, second := push("second")
	for _, c := range []struct{ policy, want string }{{"missing", first}, {"never", first}, {"always", second}} {
		asked := len(reg.Requests())
		if got := digest(c.policy); got != c.want {
			t.Errorf("%s: ran %s, want %s", c.policy, got, c.want)
		}
		if n := len(reg.Requests()) - asked; (n > 0) != (c.policy == "always") {
			t.Errorf("%s: %d requests", c.policy, n)
		}
	}
	removeImage(t, ref)
}

// TestImagesPullProgress tells how far a pull is: plain lines where there is no terminal, JSON lines on request.
func TestImagesPullProgress(t *testing.T) {
	sameHost(t)
	reg := images.Registry(t, images.RegistryOptions{})
	ref, _ := reg.Push(t, distinct(t, images.Options{PadMB: 4}), "big:1")
	env := []string{docker(t, "{}")}
	r := begin(t, env, "images", "pull", "--progress", "json", ref).wait(t)
	if r.code != 0 {
		t.Fatalf("%s", r)
	}
	var last struct {
		Pull        string
		Bytes       int64
		TotalBytes  int64
		Layers      int64
		TotalLayers int64
		Done        bool
	}
	for line := range strings.Lines(r.stderr) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	if last.Pull != ref || !last.Done || last.Bytes != last.TotalBytes || last.Bytes < 4e6 || last.Layers != 2 || last.TotalLayers != 2 {
		t.Errorf("the last line is %+v", last)
	}
	removeImage(t, ref)
	if r := begin(t, env, "images", "pull", "--progress", "plain", ref).wait(t); r.code != 0 || !strings.Contains(r.stderr, "pull "+ref+": ") {
		t.Errorf("%s", r)
	}
	removeImage(t, ref)
	if r := begin(t, env, "images", "pull", "--progress", "none", ref).wait(t); r.code != 0 || r.stderr != "" {
		t.Errorf("%s", r)
	}
	removeImage(t, ref)
}
