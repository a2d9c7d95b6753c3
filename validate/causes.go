package validate

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

// What a process printed last says why it ended more often than its exit code does.
const (
	lastLines = 40  // of a log that are looked at
	lineBytes = 400 // of each
	lineShown = 300 // characters of the one that is quoted
)

// exception is how languages begin the line that says what went wrong; what follows it is often of the server above.
var exception = regexp.MustCompile(`^\s*(?:[\w.]+\.)?\w*(?:Error|Exception)\b|^(?:Error|fatal|panic)\b`)

// lastWords finds the line of a container's log that says best how it ended; "" is that it printed nothing.
func lastWords(base string) string {
	lines, err := logfile.LastLines(base, lastLines, lineBytes)
	if err != nil {
		return ""
	}
	said := ""
	for _, line := range lines {
		if strings.TrimSpace(line) != "" && (exception.MatchString(line) || !exception.MatchString(said)) {
			said = line
		}
	}
	said = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said, "?")))
	if r := []rune(said); len(r) > lineShown {
		said = string(r[:lineShown]) + "…"
	}
	return said
}

// causes are what images fail at on the service and nowhere else, told by what they print, with what to change.
var causes = []struct {
	says   *regexp.Regexp
	remedy string
}{
	{regexp.MustCompile(`(?i)read-only file system.*/opt/ml/model`),
		"an inference container cannot write to /opt/ml/model: write to /tmp, or make the file in the training (INF-22). If it is the training that began here, the image takes no notice of its argument \"serve\": let its ENTRYPOINT look at it (INF-1)"},
	{regexp.MustCompile(`(?i)name resolution|name or service not known|nodename nor servname|no such host|could(?:n't| not) resolve|network is unreachable|max retries exceeded|failed to establish a new connection`),
		"there is no network in the jobs of a marketplace product: put what it fetches into the image, or into the model (CH-5, INF-44)"},
	{regexp.MustCompile(`No module named|ModuleNotFoundError|cannot open shared object file|there is no package called|ClassNotFoundException|NoClassDefFoundError`),
		"install in the image what it does not find"},
	{regexp.MustCompile(`(?i)/opt/ml/input.*no such file|no such file.*/opt/ml/input/data`),
		"the directory of a channel is there only if the job has this channel, and never in inference: look first, and put what serving needs into /opt/ml/model (INF-20)"},
	{regexp.MustCompile(`(?i)permission denied.*/opt/ml`),
		"/opt/ml belongs to root: remove USER from the image (START-8)"},
	{regexp.MustCompile(`(?i)address already in use`),
		"start one server on the port: two were started"},
}

// remedyFor is what to do about a container's last words.
func remedyFor(words, otherwise string) string {
	for _, c := range causes {
		if c.says.MatchString(words) {
			return c.remedy
		}
	}
	return otherwise
}

// quoted is a container's last words after a sentence.
func quoted(sentence, words string) string {
	if words == "" {
		return sentence + "; it printed nothing"
	}
	return fmt.Sprintf("%s; its log ends with: %s", sentence, words)
}

// endedContainer is the container of a job that ended by itself, or else its first.
func endedContainer(s *ledger.State) string {
	if x := endedByItself(s); x != nil {
		return x.Container
	}
	if len(s.Containers) > 0 {
		return s.Containers[0].Name
	}
	return ""
}
