package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/test/awstest"
)

const ecrTestHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// awsEnv gives this process the environment of a test AWS, and no Docker login.
func awsEnv(t *testing.T, s *awstest.Server) {
	t.Helper()
	for _, k := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"} {
		t.Setenv(k, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	for _, kv := range s.Env() {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	dockerConfig(t, "{}")
}

func dockerConfig(t *testing.T, config string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
}

// START-6: who is given a token of ECR, and who Docker's credentials.
func TestRegistryCredentials(t *testing.T) {
	const docker = `{"auths":{"` + ecrTestHost + `":{"username":"d","password":"stale"},"mirror.test":{"username":"m","password":"own"},"r.test":{"username":"u","password":"p"}}}`
	for _, c := range []struct {
		what, registry, host, docker string
		user, secret                 string
		asked                        int
	}{
		{"ECR", ecrTestHost, ecrTestHost, "{}", "AWS", "tok", 1},
		{"ECR before docker login", ecrTestHost, ecrTestHost, docker, "AWS", "tok", 1},
		{"FIPS", "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "{}", "AWS", "tok", 1},
		{"China", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "{}", "AWS", "tok", 1},
		{"a mirror on this machine", ecrTestHost, "127.0.0.1:5000", "{}", "AWS", "tok", 1},
		{"a mirror on this machine, IPv6", ecrTestHost, "[::1]:5000", "{}", "AWS", "tok", 1},
		{"a VPC endpoint", ecrTestHost, "vpce-1-a.dkr.ecr.eu-west-1.vpce.amazonaws.com", "{}", "AWS", "tok", 1},
		{"a mirror elsewhere", ecrTestHost, "mirror.test", "{}", "", "", 0},
		{"a mirror elsewhere with a login", ecrTestHost, "mirror.test", docker, "m", "own", 0},
		{"another host of Amazon's", ecrTestHost, "bucket.s3.amazonaws.com", "{}", "", "", 0},
		{"another registry", "r.test", "r.test", docker, "u", "p", 0},
		{"a name that only looks so", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test", "{}", "", "", 0},
		{"another registry on this machine", "127.0.0.1:5000", "127.0.0.1:5000", "{}", "", "", 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := awstest.New(t, awstest.Options{AccessKeyID: "AKIATEST", Token: "tok"})
			awsEnv(t, s)
			dockerConfig(t, c.docker)
			l := &registryLogin{}
			for range 2 { // the second from memory
				user, secret, err := l.credentials(t.Context(), c.registry, c.host)
				if err != nil || user != c.user || secret != c.secret {
					t.Errorf("%q %q %v", user, secret, err)
				}
			}
			if n := len(s.Requests("GetAuthorizationToken")); n != c.asked {
				t.Errorf("a token was asked for %d times", n)
			}
		})
	}
}

func TestECRHelperOfTheRegistry(t *testing.T) {
	s := awstest.New(t, awstest.Options{AccessKeyID: "AKIATEST", Token: "tok"})
	awsEnv(t, s)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-mine"), []byte("#!/bin/sh\necho '{\"Username\":\"h\",\"Secret\":\"helped\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	dockerConfig(t, `{"credHelpers":{"`+ecrTestHost+`":"mine"}}`)
	user, secret, err := (&registryLogin{}).credentials(t.Context(), ecrTestHost, ecrTestHost)
	if err != nil || user != "h" || secret != "helped" || len(s.Requests("GetAuthorizationToken")) != 0 {
		t.Errorf("%q %q %v", user, secret, err)
	}
}

// A token is used until half an hour before its end; what docker login left helps where AWS does not; errors name the
// region and hold no secret.
func TestECRTokens(t *testing.T) {
	s := awstest.New(t, awstest.Options{AccessKeyID: "AKIATEST", Token: "tok", TokenLife: 20 * time.Minute})
	awsEnv(t, s)
	l := &registryLogin{}
	for range 2 {
		if _, secret, err := l.credentials(t.Context(), ecrTestHost, ecrTestHost); err != nil || secret != "tok" {
			t.Fatal(secret, err)
		}
	}
	if n := len(s.Requests("GetAuthorizationToken")); n != 2 {
		t.Errorf("a token that is about to end was asked for %d times in two pulls", n)
	}
	s.Change(func(o *awstest.Options) { o.AccessKeyID = "AKIAOTHER" })
	_, _, err := (&registryLogin{}).credentials(t.Context(), ecrTestHost, ecrTestHost)
	if err == nil || !strings.Contains(err.Error(), "eu-west-1") || strings.Contains(err.Error(), "secret-of") {
		t.Errorf("%v", err)
	}
	dockerConfig(t, `{"auths":{"`+ecrTestHost+`":{"username":"AWS","password":"logged-in"}}}`)
	if _, secret, err := (&registryLogin{}).credentials(t.Context(), ecrTestHost, ecrTestHost); err != nil || secret != "logged-in" {
		t.Errorf("%q %v", secret, err)
	}
}
