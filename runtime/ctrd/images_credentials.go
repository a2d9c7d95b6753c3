package ctrd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// errCredentials marks a failure to get credentials: the registry was not even asked.
var errCredentials = errors.New("credentials")

const (
	dockerConfigLimit = 1 << 20
	helperTime        = 30 * time.Second // a helper may have to ask a cloud, never a person
	helperOutputLimit = 1 << 20
	dockerHubKey      = "https://index.docker.io/v1/" // under which Docker files its own registry
)

type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredsStore  string                `json:"credsStore"`
	CredHelpers map[string]string     `json:"credHelpers"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

// DockerHelper says whether Docker's configuration has a credential helper for this registry alone, which is a choice
// that somebody made; a store of all credentials is not.
func DockerHelper(host string) bool {
	c, err := loadDockerConfig()
	if err != nil {
		return false // whoever asks for the credentials is told
	}
	for name := range c.CredHelpers {
		if hostOf(name) == host {
			return true
		}
	}
	return false
}

// loadDockerConfig reads Docker's configuration; a process without HOME has none.
func loadDockerConfig() (dockerConfig, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return dockerConfig{}, nil
		}
		dir = filepath.Join(home, ".docker")
	}
	return readDockerConfig(filepath.Join(dir, "config.json"))
}

// DockerCredentials returns what `docker login` stored for a registry: from $DOCKER_CONFIG/config.json or
// ~/.docker/config.json, by a credential helper for the registry, the store of all, or the file itself. Without any it
// returns empty strings. A helper that does not answer in 30 s is an error.
func DockerCredentials(ctx context.Context, host string) (user, secret string, err error) {
	c, err := loadDockerConfig()
	if err != nil {
		return "", "", err
	}
	return c.lookup(ctx, host)
}

func readDockerConfig(path string) (dockerConfig, error) {
	var c dockerConfig
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, dockerConfigLimit+1))
	if err != nil {
		return c, fmt.Errorf("read %s: %w", path, err)
	}
	if len(raw) > dockerConfigLimit {
		return c, fmt.Errorf("%s is larger than %d bytes", path, dockerConfigLimit)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		// The text of a JSON error may quote a secret: say where, not what.
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			return c, fmt.Errorf("%s is not JSON (at byte %d)", path, at.Offset)
		}
		return c, fmt.Errorf("%s is not Docker's configuration", path)
	}
	return c, nil
}

func (c dockerConfig) lookup(ctx context.Context, host string) (user, secret string, err error) {
	key := host
	if host == "docker.io" || host == "registry-1.docker.io" || host == "index.docker.io" {
		key = dockerHubKey
	}
	if helper := c.helper(key, host); helper != "" {
		user, secret, found, err := askHelper(ctx, helper, key)
		if err != nil || found {
			return user, secret, err
		}
	}
	for name, a := range c.Auths {
		if name == key || hostOf(name) == host {
			return a.credentials(name)
		}
	}
	return "", "", nil
}

// helper of this registry, else the store of all.
func (c dockerConfig) helper(key, host string) string {
	for name, helper := range c.CredHelpers {
		if name == key || hostOf(name) == host {
			return helper
		}
	}
	return c.CredsStore
}

func (a dockerAuth) credentials(name string) (user, secret string, err error) {
	if a.IdentityToken != "" {
		return "", a.IdentityToken, nil
	}
	if a.Auth == "" {
		return a.Username, a.Password, nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return "", "", fmt.Errorf("auth of %s in Docker's configuration is not base64", name)
	}
	user, secret, ok := strings.Cut(string(raw), ":")
	if !ok {
		return "", "", fmt.Errorf("auth of %s in Docker's configuration is not user:password", name)
	}
	return user, strings.TrimRight(secret, "\x00"), nil
}

// hostOf is the host of a key, which may be a URL: https://host/v1/ -> host.
func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	return host
}

// askHelper runs docker-credential-<name> get. found is false when the helper knows nothing of the registry.
func askHelper(ctx context.Context, name, key string) (user, secret string, found bool, err error) {
	if strings.ContainsAny(name, "/\\") {
		return "", "", false, fmt.Errorf("credential helper %q: not a plain name", name)
	}
	program := "docker-credential-" + name
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(key)
	cmd.WaitDelay = time.Second // a child of it may keep the pipe
	var out limitedBuffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		// The protocol gives the reason on stdout; this one is not an error.
		if strings.Contains(out.kept.String(), "credentials not found") {
			return "", "", false, nil
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", "", false, fmt.Errorf("%s: no answer in %s", program, helperTime)
		}
		if ctx.Err() != nil {
			return "", "", false, context.Cause(ctx)
		}
		return "", "", false, fmt.Errorf("%s: %w", program, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.kept.Bytes(), &answer); err != nil {
		return "", "", false, fmt.Errorf("%s: its answer is not JSON", program)
	}
	if answer.Username == "<token>" { // an identity token, by the protocol of the helpers
		answer.Username = ""
	}
	return answer.Username, answer.Secret, answer.Username != "" || answer.Secret != "", nil
}

// limitedBuffer keeps an output up to a limit and refuses more. It does not embed the buffer, whose ReadFrom would go
// past the limit.
type limitedBuffer struct{ kept bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > helperOutputLimit {
		return 0, fmt.Errorf("more than %d bytes of output", helperOutputLimit)
	}
	return b.kept.Write(p)
}
