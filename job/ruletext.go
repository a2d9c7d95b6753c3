package job

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed rules.txt
var rulesTXT string

// ruleTexts are the lines of rules.txt by id; ruleOrder their order.
var ruleTexts = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(rulesTXT) {
		if id, text, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(line, "#") {
			m[id] = text
		}
	}
	return m
})

// RuleText says in one sentence what a contract rule or ruling says, such as "BT-52" or "ruling 8"; "" for an id that
// is not known. Warnings, problems and verdicts carry such ids.
func RuleText(id string) string { return ruleTexts()[id] }
