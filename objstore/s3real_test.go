package objstore_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/storetest"
)

// TestRealS3 is the suite against a real server, which checks signatures: OPTML_TEST_S3 is its endpoint, the usual AWS
// variables are its credentials. It makes buckets and leaves them.
//
//	versitygw --access test --secret testtest --port 127.0.0.1:7070 posix /some/empty/dir
//	OPTML_TEST_S3=http://127.0.0.1:7070 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest go test -run RealS3 ./objstore
func TestRealS3(t *testing.T) {
	endpoint := os.Getenv("OPTML_TEST_S3")
	if endpoint == "" {
		t.Skip("OPTML_TEST_S3 is not set")
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableCompression = true
	t.Cleanup(tr.CloseIdleConnections)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = &endpoint, true, &http.Client{Transport: tr}
	})
	op, err := objstore.NewOpener(objstore.Options{S3: objstore.S3Options{Endpoint: endpoint, Transport: tr, PartSize: part, Retry: objstore.Retry{Stall: 20 * time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(t *testing.T) objstore.Store {
		name := "optml-" + strings.ToLower(rand.Text())
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
			t.Fatal(err)
		}
		return open(t, op, "s3://"+name)
	}
	// versitygw 1.8 does not encode keys in listings, and XML cannot hold these.
	storetest.Run(t, fresh, "ControlCharacters")
	t.Run("Multipart", func(t *testing.T) {
		s := fresh(t)
		data := storetest.Bytes(2*part + 12345)
		if err := write(s, "dir/big", data, objstore.CreateOptions{ContentType: "application/gzip"}); err != nil {
			t.Fatal(err)
		}
		if got := storetest.Get(t, s, "dir/big"); !bytes.Equal(got, data) {
			t.Errorf("read %d bytes that differ from the %d written", len(got), len(data))
		}
		w, err := s.Create(t.Context(), "dir/left", objstore.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Sweep(t.Context(), "dir/left", time.Hour); n != 0 || err != nil {
			t.Errorf("Sweep of a young upload: %d, %v", n, err)
		}
		if n, err := s.Sweep(t.Context(), "dir/left", 0); n != 1 || err != nil {
			t.Errorf("Sweep: %d, %v", n, err)
		}
	})
}
