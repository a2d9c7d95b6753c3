package ctrd

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func dockerHome(t *testing.T, config string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// helperProgram puts a docker-credential-<name> on the PATH, a shell script.
func helperProgram(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestDockerCredentials(t *testing.T) {
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct{ what, config, host, user, secret string }{
		{"no file", "", "r.test", "", ""},
		{"empty file", "{}", "r.test", "", ""},
		{"auth", `{"auths":{"r.test":{"auth":"` + auth("u:p:with:colons") + `"}}}`, "r.test", "u", "p:with:colons"},
		{"other host", `{"auths":{"r.test":{"auth":"` + auth("u:p") + `"}}}`, "r.test:5000", "", ""},
		{"host with port", `{"auths":{"r.test:5000":{"auth":"` + auth("u:p") + `"}}}`, "r.test:5000", "u", "p"},
		{"URL as key", `{"auths":{"https://r.test/v1/":{"auth":"` + auth("u:p") + `"}}}`, "r.test", "u", "p"},
		{"Docker Hub", `{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth("u:p") + `"}}}`, "registry-1.docker.io", "u", "p"},
		{"plain fields", `{"auths":{"r.test":{"username":"u","password":"p"}}}`, "r.test", "u", "p"},
		{"identity token", `{"auths":{"r.test":{"auth":"` + auth("u:") + `","identitytoken":"tok"}}}`, "r.test", "", "tok"},
		{"helper", `{"credHelpers":{"r.test":"t"},"auths":{"r.test":{}}}`, "r.test", "helped", "r.test"},
		{"store", `{"credsStore":"t"}`, "other.test", "helped", "other.test"},
		{"helper before store", `{"credsStore":"none","credHelpers":{"r.test":"t"}}`, "r.test", "helped", "r.test"},
		{"store knows nothing, file does", `{"credsStore":"empty","auths":{"r.test":{"auth":"` + auth("u:p") + `"}}}`, "r.test", "u", "p"},
		{"helper for Docker Hub", `{"credsStore":"t"}`, "registry-1.docker.io", "helped", "https://index.docker.io/v1/"},
		{"helper with a token", `{"credsStore":"tok"}`, "r.test", "", "s3cret"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dockerHome(t, c.config)
			helperProgram(t, "t", `[ "$1" = get ] && read -r host; printf '{"ServerURL":"%s","Username":"helped","Secret":"%s"}' "$host" "$host"`)
			helperProgram(t, "empty", `echo "credentials not found in native keychain"; exit 1`)
			helperProgram(t, "tok", `echo '{"Username":"<token>","Secret":"s3cret"}'`)
			user, secret, err := DockerCredentials(t.Context(), c.host)
			if err != nil || user != c.user || secret != c.secret {
				t.Errorf("%q %q %v, wanted %q %q", user, secret, err, c.user, c.secret)
			}
		})
	}
}

// Errors say where the fault is and never what the file holds.
func TestDockerCredentialsErrors(t *testing.T) {
	for _, c := range []struct{ what, config, text string }{
		{"not JSON", `{"auths":{"r.test":{"auth":"hunter2"`, "not JSON"},
		{"wrong type", `{"auths":"hunter2"}`, "not Docker's configuration"},
		{"not base64", `{"auths":{"r.test":{"auth":"hunter2!"}}}`, "not base64"},
		{"no colon", `{"auths":{"r.test":{"auth":"aHVudGVyMg=="}}}`, "not user:password"},
		{"no helper", `{"credsStore":"absent"}`, "docker-credential-absent"},
		{"helper is a path", `{"credsStore":"../../bin/sh"}`, "not a plain name"},
		{"helper fails", `{"credsStore":"fails"}`, "docker-credential-fails: exit status 3"},
		{"helper says nonsense", `{"credsStore":"nonsense"}`, "not JSON"},
		{"helper says too much", `{"credsStore":"endless"}`, "docker-credential-endless"},
		{"too large", `{"x":"` + strings.Repeat("a", dockerConfigLimit) + `"}`, "larger than"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dockerHome(t, c.config)
			helperProgram(t, "fails", `echo hunter2; exit 3`)
			helperProgram(t, "nonsense", `echo hunter2`)
			helperProgram(t, "endless", `yes hunter2`)
			_, _, err := DockerCredentials(t.Context(), "r.test")
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%v, wanted %q", err, c.text)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestCredentialHelperIsBounded(t *testing.T) {
	dockerHome(t, `{"credsStore":"hangs"}`)
	helperProgram(t, "hangs", `sleep 60 & sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := DockerCredentials(ctx, "r.test"); err == nil {
		t.Error("no error from a helper that was cut off")
	}
}
