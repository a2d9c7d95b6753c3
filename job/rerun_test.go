package job

import (
	"strings"
	"testing"
	"time"
)

func TestPlanRerun(t *testing.T) {
	now := time.Now()
	long := strings.Repeat("n", 63)
	for _, c := range []struct{ of, name, want string }{
		{"scores", "", "scores-rerun-000001"},
		{"scores-rerun-abc123", "", "scores-rerun-000001"},
		{"scores", "mine", "mine"},
	} {
		of := &Plan{Format: 1, Kind: KindTransform, Name: c.of, Region: "us-east-1", Account: "1", Transform: &Transform{ModelName: "m"}}
		p, err := PlanRerun(of, c.name, "000001", now)
		if err != nil || p.Name != c.want || p.ARN != "arn:aws:sagemaker:us-east-1:1:transform-job/"+c.want || p.Transform.RerunOf != "transform/"+c.of || p.Transform.ModelName != "m" || !p.Transform.CreationTime.Equal(now) {
			t.Errorf("%q, %q: %+v %v", c.of, c.name, p, err)
		}
		if of.Transform.RerunOf != "" || of.Name != c.of {
			t.Errorf("the first plan is changed: %+v", of)
		}
	}
	p, err := PlanRerun(&Plan{Kind: KindTransform, Name: long, Transform: &Transform{}}, "", "000001", now)
	if err != nil || len(p.Name) != 63 || !nameForm().MatchString(p.Name) || !strings.HasSuffix(p.Name, "-rerun-000001") {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := PlanRerun(&Plan{Kind: KindTraining, Training: &Training{}}, "", "", now); err == nil {
		t.Error("a training is run again for some of its objects")
	}
}
