package ctrd

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"debug/elf"
)

// foreign is an ELF header of a machine that no host of ours is.
func foreign() []byte {
	b := make([]byte, 64)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	binary.LittleEndian.PutUint16(b[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_S390))
	binary.LittleEndian.PutUint32(b[20:], 1)
	return b
}

func TestJudgeExecutable(t *testing.T) { // END-4
	if foreignBinaries() {
		t.Skip("this host executes foreign binaries")
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	self, err := os.ReadFile("/proc/self/exe")
	must(err)
	for name, b := range map[string][]byte{
		"self": self, "foreign": foreign(), "text": []byte("echo hello\n"), "empty": nil,
		"script": []byte("#!/bin/self -x\n"), "orphan": []byte("#! /usr/bin/python9\n"), "bare": []byte("#!\n"), "windows": []byte("#!/bin/self\r\necho\r\n"),
	} {
		must(os.WriteFile(filepath.Join(dir, "bin", name), b, 0o755))
	}
	must(os.Symlink("/bin/orphan", filepath.Join(dir, "bin", "link"))) // absolute: within the root
	root, err := os.Open(dir)
	must(err)
	defer root.Close()
	for _, c := range []struct {
		cmd  string
		code int
		msg  string
		help string
	}{
		{"self", 0, "", ""},
		{"script", 0, "", ""},
		{"windows", 127, "exec /bin/windows: no such file or directory", "end in CR LF"},
		{"foreign", 126, "exec /bin/foreign: exec format error", "another machine"},
		{"text", 126, "exec /bin/text: exec format error", "must be #!"},
		{"empty", 126, "exec /bin/empty: exec format error", "must be #!"},
		{"bare", 126, "exec /bin/bare: exec format error", "must be #!"},
		{"/bin/orphan", 127, "exec /bin/orphan: no such file or directory", `interpreter "/usr/bin/python9"`},
		{"bin/orphan", 127, "exec /bin/orphan: no such file or directory", `interpreter "/usr/bin/python9"`},
		{"link", 127, "exec /bin/link: no such file or directory", `interpreter "/usr/bin/python9"`},
	} {
		name, f := lookIn(root, c.cmd, []string{"PATH=/nowhere:/bin"}, "/")
		if f == nil {
			t.Errorf("%s is not found", c.cmd)
			continue
		}
		se := judge(root, name, f)
		f.Close()
		switch {
		case c.cmd == "self" && se != nil && se.Code == 127:
			// a dynamically linked test binary, whose loader is not in the root: rightly missed
		case (se == nil) != (c.code == 0):
			t.Errorf("%s: %v on %s, want code %d", c.cmd, se, runtime.GOARCH, c.code)
		case se != nil && (se.Code != c.code || se.Msg != c.msg || !strings.Contains(se.Help, c.help)):
			t.Errorf("%s: %d %q (%s), want %d %q (%s)", c.cmd, se.Code, se.Msg, se.Help, c.code, c.msg, c.help)
		}
	}
	if _, f := lookIn(root, "nothing", []string{"PATH=/bin"}, "/"); f != nil {
		t.Error("found a command that is not there")
	}
}
