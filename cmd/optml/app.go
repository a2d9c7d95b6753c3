package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/harness"
)

// app is what every verb shares: the streams and the global flags.
type app struct {
	stdin  io.Reader
	stdout io.Writer // the result, and nothing else
	stderr io.Writer // for people

	root       string
	runDir     string
	containerd string
	s3Dir      string
	region     string
	endpoint   string
	awsProfile string
	registries string
	anonymous  bool
	pathStyle  bool
	output     format
	verbose    bool
}

const (
	defaultRoot   = "/var/lib/optml"
	defaultRunDir = "/run/optml"
)

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, output: formatText}
}

// jobs is the root of the ledger: jobs lie in <root>/jobs/<kind>/<name>.
func (a *app) jobs() string { return filepath.Join(a.root, "jobs") }

// log goes to stderr, warnings only unless --verbose.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// groups of verbs in the help.
const (
	groupRun  = "run"
	groupLook = "look"
	groupHost = "host"
)

// command is the whole command line.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "optml COMMAND",
		Short:         "Run SageMaker jobs on your own machine",
		Long:          rootLong(),
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,

		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
	}
	cobra.EnableCommandSorting = false // the table's order
	root.SetUsageTemplate(usageTemplate)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{Err: err, Hint: fmt.Sprintf("`%s --help` lists the flags", c.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"}) // --help is enough

	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&a.root, "root", cmp.Or(os.Getenv("OPTML_ROOT"), defaultRoot), "`directory` of jobs and images [OPTML_ROOT]")
	f.StringVar(&a.runDir, "run-dir", cmp.Or(os.Getenv("OPTML_RUN_DIR"), defaultRunDir), "`directory` of sockets and other state of this boot; short [OPTML_RUN_DIR]")
	f.StringVar(&a.containerd, "containerd-address", os.Getenv("CONTAINERD_ADDRESS"), "`socket` of the host's containerd instead of the one inside optml [CONTAINERD_ADDRESS]")
	f.StringVar(&a.s3Dir, "s3-dir", os.Getenv("OPTML_S3_DIR"), "`directory` that stands for S3: s3://bucket/key is DIR/bucket/key [OPTML_S3_DIR]")
	f.StringVar(&a.region, "region", "", "AWS `region` of jobs and stores (default: AWS_REGION, the image's registry, us-east-1)")
	f.StringVar(&a.endpoint, "endpoint-url", "", "`URL` of another S3 than Amazon's (default: AWS_ENDPOINT_URL_S3)")
	f.StringVar(&a.awsProfile, "aws-profile", "", "`name` of the profile in the AWS configuration, whose credentials come before the environment's (default: AWS_PROFILE)")
	f.BoolVar(&a.anonymous, "no-sign-request", false, "ask S3 without credentials, as for public buckets")
	f.BoolVar(&a.pathStyle, "path-style", false, "name buckets in the path of S3's URLs; always so with another S3 than Amazon's")
	f.StringVar(&a.registries, "registry-config", os.Getenv("OPTML_REGISTRY_CONFIG"), "`directory` of <registry>/hosts.toml: mirrors, certificates (default: /etc/optml/certs.d, /etc/containerd/certs.d, /etc/docker/certs.d) [OPTML_REGISTRY_CONFIG]")
	f.Var(&a.output, "output", "`format` of the result on stdout: text or json")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "tell on stderr what is done")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.settle() }

	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupLook, Title: "Look at jobs and end them:"},
		&cobra.Group{ID: groupHost, Title: "Images and the host:"},
	)
	for _, v := range verbs {
		c := v.make(a)
		c.GroupID = v.group
		root.AddCommand(c)
	}
	return root
}

// usageTemplate is cobra's, shorter: examples before flags, and the global flags once, in the help of optml itself.
const usageTemplate = `Usage: {{.UseLine}}{{if .HasExample}}

{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$all := .Commands}}{{range $g := .Groups}}

{{.Title}}{{range $all}}{{if eq .GroupID $g.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if not .Groups}}
{{range $all}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasParent}}

` + "`optml --help`" + ` lists the flags of all commands and the exit codes.{{end}}
`

// verbs is the table of what the command line can do, in the order of the help.
var verbs = []struct {
	group string
	make  func(*app) *cobra.Command
}{
	{groupRun, (*app).cmdValidate},
	{groupRun, (*app).cmdTrain},
	{groupRun, (*app).cmdTransform},
	{groupRun, (*app).cmdBench},
	{groupRun, (*app).cmdPlan},
	{groupRun, (*app).cmdInit},
	{groupLook, (*app).cmdLs},
	{groupLook, (*app).cmdDescribe},
	{groupLook, (*app).cmdLogs},
	{groupLook, (*app).cmdReport},
	{groupLook, (*app).cmdEnds},
	{groupLook, (*app).cmdStop},
	{groupLook, (*app).cmdUpload},
	{groupLook, (*app).cmdRm},
	{groupLook, (*app).cmdPrune},
	{groupHost, (*app).cmdImages},
	{groupHost, (*app).cmdGpus},
	{groupHost, (*app).cmdDoctor},
	{groupHost, (*app).cmdVersion},
}

func rootLong() string {
	var b strings.Builder
	b.WriteString(`optml runs SageMaker training jobs, batch transforms and algorithm validations on
this machine, in real containers, from the same JSON documents that the service
takes, and tells how they end in the service's words.

Exit codes:
`)
	for _, x := range harness.ExitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", x.Code, x.Meaning)
	}
	fmt.Fprintf(&b, "  %3d  interrupted before the job's end\n", exitInterrupted)
	return b.String()
}

const rootExample = `  optml init --image registry/name:tag --data .   a first algorithm.json
  optml validate algorithm.json                   does the algorithm pass?
  optml train job.json --s3-dir ./data            a training job, offline
  optml transform job.json --model model.tar.gz --image registry/name:tag
  optml ls && optml report JOB                    what ran, and how it went
  docker save IMAGE | optml images import -       bring an image in
  optml doctor                                    what this host lacks`

// settle checks the global flags.
func (a *app) settle() error {
	for _, d := range []struct {
		flag string
		path *string
	}{{"root", &a.root}, {"run-dir", &a.runDir}, {"s3-dir", &a.s3Dir}, {"registry-config", &a.registries}} {
		if *d.path == "" {
			if d.flag == "s3-dir" || d.flag == "registry-config" {
				continue
			}
			return &usageError{Err: fmt.Errorf("--%s is empty", d.flag)}
		}
		abs, err := filepath.Abs(*d.path)
		if err != nil {
			return fmt.Errorf("--%s %s: %w", d.flag, *d.path, err)
		}
		*d.path = abs
	}
	if a.s3Dir != "" {
		switch fi, err := os.Stat(a.s3Dir); {
		case err != nil:
			return &usageError{Err: fmt.Errorf("--s3-dir: %w", err), Hint: "create the directory; each of its subdirectories is a bucket"}
		case !fi.IsDir():
			return &usageError{Err: fmt.Errorf("--s3-dir: %s is not a directory", a.s3Dir)}
		}
	}
	if a.registries != "" {
		switch fi, err := os.Stat(a.registries); {
		case err != nil:
			return &usageError{Err: fmt.Errorf("--registry-config: %w", err)}
		case !fi.IsDir():
			return &usageError{Err: fmt.Errorf("--registry-config: %s is not a directory", a.registries),
				Hint: "it is the directory above those of the registries: DIR/<registry>/hosts.toml"}
		}
	}
	// A Unix socket's path has 108 bytes at most, and containerd's shims add their own below it.
	if len(a.runDir) > maxRunDir {
		return &usageError{Err: fmt.Errorf("--run-dir %s: %d characters, and sockets below it allow %d", a.runDir, len(a.runDir), maxRunDir),
			Hint: "take a shorter one, such as /run/optml"}
	}
	return nil
}

// maxRunDir: containerd allows 42 characters for the directory of the shims' sockets, which is <run-dir>/s.
const maxRunDir = 40

// usageError is a command line that cannot be carried out.
type usageError struct {
	Err  error
	Hint string
}

func (e *usageError) Error() string { return e.Err.Error() }
func (e *usageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error { return &usageError{Err: fmt.Errorf(format, args...)} }

func unknownCommand(c *cobra.Command, name string) error {
	e := &usageError{Err: fmt.Errorf("unknown command %q", name), Hint: fmt.Sprintf("`%s --help` lists the commands", c.CommandPath())}
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(name); len(s) > 0 {
		e.Hint = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return e
}

// nargs checks the number of arguments; want is how the usage line names them.
func nargs(least, most int, want string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		var what error
		switch {
		case len(args) < least:
			what = fmt.Errorf("%s is missing", want)
		case most >= 0 && len(args) > most:
			what = fmt.Errorf("unexpected argument %q", args[most])
		default:
			return nil
		}
		return &usageError{Err: what, Hint: "usage: " + c.UseLine()}
	}
}

// format is how a result is printed.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }
func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON:
		*f = format(s)
		return nil
	}
	return errors.New("it is text or json")
}
