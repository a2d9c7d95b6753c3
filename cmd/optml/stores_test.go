package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestS3Flags: what is said of S3 on the command line is kept with the job, reaches S3's requests, and does not matter
// where a directory stands for S3.
func TestS3Flags(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "credentials")
	if err := os.WriteFile(shared, []byte("[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n[env]\naws_access_key_id = AKIAENVPROFILE\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	var requests []http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Header)
		w.Header().Set("Content-Length", "1")
	}))
	defer srv.Close()
	for _, c := range []struct {
		name, profile string // AWS_PROFILE
		keys          bool   // in the environment
		args          []string
		who           string // whose key signs; "" nobody's
		none          bool   // no request at all
	}{
		{"environment", "", true, nil, "AKIAENV/", false},
		{"AWS_PROFILE", "env", false, nil, "AKIAENVPROFILE/", false},
		{"profile before AWS_PROFILE", "env", false, []string{"--aws-profile", "other"}, "AKIAOTHER/", false},
		{"profile before the environment", "", true, []string{"--aws-profile", "other"}, "AKIAOTHER/", false},
		{"unsigned", "", true, []string{"--no-sign-request"}, "", false},
		{"unsigned, without credentials", "", false, []string{"--no-sign-request", "--path-style"}, "", false},
		{"a directory", "", true, []string{"--s3-dir", dir, "--no-sign-request", "--aws-profile", "none"}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range map[string]string{"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": shared, "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": c.profile, "OPTML_S3_DIR": "",
				"AWS_ACCESS_KEY_ID": map[bool]string{true: "AKIAENV"}[c.keys], "AWS_SECRET_ACCESS_KEY": map[bool]string{true: "s"}[c.keys], "AWS_SESSION_TOKEN": ""} {
				t.Setenv(k, v)
			}
			requests = nil
			a := newApp(strings.NewReader(""), io.Discard, io.Discard)
			root := a.command()
			root.SetArgs(append([]string{"version", "--endpoint-url", srv.URL}, c.args...))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			stores, err := a.hostOptions("").stores()
			if err != nil {
				t.Fatal(err)
			}
			s, key, err := stores.Open(t.Context(), "s3://bucket/k")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Stat(t.Context(), key)
			if c.none {
				if len(requests) != 0 || err == nil { // the directory has no such file
					t.Errorf("%d requests, %v", len(requests), err)
				}
				return
			}
			if err != nil || len(requests) != 1 {
				t.Fatalf("%d requests, %v", len(requests), err)
			}
			auth := requests[0].Get("Authorization")
			if signed := auth != ""; signed != (c.who != "") || !strings.Contains(auth, c.who) {
				t.Errorf("signed with %q, want %q", auth, c.who)
			}
		})
	}
}
