package acceptance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A command is one word of the scripts.
type command struct {
	run func(s *script, ts *testscript.TestScript, args []string) error
	// negatable allows "!", where the opposite has no word of its own and can fail.
	negatable bool
}

// commands are the words, sorted. A new one goes into doc.go too.
func commands() map[string]command {
	return map[string]command{
		"apart":   {run: (*script).cmdApart},
		"await":   {run: (*script).cmdAwait},
		"build":   {run: (*script).cmdBuild},
		"churn":   {run: (*script).cmdChurn},
		"clean":   {run: (*script).cmdClean, negatable: true},
		"crash":   {run: (*script).cmdCrash},
		"fake":    {run: (*script).cmdFake},
		"follow":  {run: (*script).cmdFollow, negatable: true},
		"hangup":  {run: (*script).cmdHangup},
		"http":    {run: (*script).cmdHTTP, negatable: true},
		"issue":   {run: (*script).cmdIssue},
		"json":    {run: (*script).cmdJSON},
		"kept":    {run: (*script).cmdKept, negatable: true},
		"known":   {run: (*script).cmdKnown, negatable: true},
		"plugins": {run: (*script).cmdPlugins},
		"records": {run: (*script).cmdRecords},
		"signing": {run: (*script).cmdSigning},
		"sim":     {run: (*script).cmdSim},
		"storm":   {run: (*script).cmdStorm, negatable: true},
		"vaultd":  {run: (*script).cmdVaultd},
		"within":  {run: (*script).cmdWithin},
	}
}

// A usageError is a mistake of the script, which "!" and await do not forgive.
type usageError string

func usage(text string) error { return usageError(text) }

func (e usageError) Error() string { return string(e) }

func usageUnless(ok bool, text string) error {
	if ok {
		return nil
	}
	return usage(text)
}

// An unmetError says that what a command asserts is not so.
type unmetError string

func unmetf(format string, args ...any) error { return unmetError(fmt.Sprintf(format, args...)) }

func (e unmetError) Error() string { return string(e) }

func unmet(err error) bool {
	_, ok := errors.AsType[unmetError](err)
	return ok
}

func commandTable() map[string]func(*testscript.TestScript, bool, []string) {
	table := map[string]func(*testscript.TestScript, bool, []string){}
	for name, cmd := range commands() {
		table[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s := ts.Value(scriptKey{}).(*script)
			ts.Check(cmd.apply(name, s, ts, neg, args))
		}
	}
	return table
}

// apply runs a command, with or without "!".
func (c command) apply(name string, s *script, ts *testscript.TestScript, neg bool, args []string) error {
	if !neg {
		return c.run(s, ts, args)
	}
	if !c.negatable {
		return usage("! means nothing before " + name)
	}
	err := c.run(s, ts, args)
	switch {
	case unmet(err):
		ts.Logf("as it must be: %v", err)
		return nil
	case err == nil:
		return unmetf("%s %s holds, and must not", name, strings.Join(args, " "))
	}
	return err
}

func first(args []string) (string, []string) {
	if len(args) == 0 {
		return "", nil
	}
	return args[0], args[1:]
}

// wantNumber checks a number against a range: 3, 1..3, 1.. or ..3.
func wantNumber(what string, have int, want string, items []string) error {
	least, most, isRange := strings.Cut(want, "..")
	if !isRange {
		most = least
	}
	low, err := strconv.Atoi(cmp.Or(least, "0"))
	if err != nil || want == "" || want == ".." {
		return usage(fmt.Sprintf("%q is not a range; give 3, 1..3, 1.. or ..3", want))
	}
	high := have
	if most != "" {
		if high, err = strconv.Atoi(most); err != nil {
			return usage(fmt.Sprintf("%q is not a range; give 3, 1..3, 1.. or ..3", want))
		}
	}
	if have >= low && have <= high {
		return nil
	}
	return unmetf("%s: there are %d, want %s\n%s", what, have, want, strings.Join(items, "\n"))
}

func (s *script) cmdApart(_ *testscript.TestScript, args []string) error {
	if len(args) != 4 {
		return usage("apart TIME TIME MIN MAX")
	}
	var at [2]time.Time
	var bounds [2]time.Duration
	for i := range 2 {
		var err1, err2 error
		at[i], err1 = time.Parse(time.RFC3339Nano, args[i])
		bounds[i], err2 = time.ParseDuration(args[i+2])
		if err := errors.Join(err1, err2); err != nil {
			return usage("apart: " + err.Error())
		}
	}
	if d := at[1].Sub(at[0]); d < bounds[0] || d > bounds[1] {
		return unmetf("%s and %s are %s apart", args[0], args[1], d)
	}
	return nil
}

func (s *script) cmdAwait(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return usage("await DURATION [!] COMMAND...")
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return usage("await: " + err.Error())
	}
	neg := args[1] == "!"
	words := args[1:]
	if neg {
		words = args[2:]
	}
	name, rest := first(words)
	try, pause := func() error { return tryExec(ts, neg, rest) }, time.Second
	if cmd, ok := commands()[name]; ok {
		pause = 200 * time.Millisecond
		try = func() error { return cmd.apply(name, s, ts, neg, rest) }
	} else if name != "exec" {
		return usage("await: unknown command " + strconv.Quote(name))
	}
	started := time.Now()
	for {
		err := try()
		if !unmet(err) {
			if err == nil {
				ts.Logf("after %.1fs", time.Since(started).Seconds())
			}
			return err
		}
		if time.Since(started) > limit {
			return fmt.Errorf("not within %s: %w", limit, err)
		}
		time.Sleep(pause)
	}
}

// tryExec runs a program that must, or with neg must not, succeed.
func tryExec(ts *testscript.TestScript, neg bool, args []string) error {
	name, rest := first(args)
	if name == "" {
		return usage("await DURATION [!] exec PROGRAM...")
	}
	err := ts.Exec(name, rest...)
	switch {
	case err == nil && neg:
		return unmetf("%s succeeds", name)
	case err != nil && !neg:
		return unmetf("%s: %v", name, err)
	}
	return nil
}

func (s *script) cmdCrash(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 || args[0] != "plugin" && args[0] != "node" || s.server == nil {
		return usage("crash plugin|node, after vaultd start")
	}
	if args[0] == "node" {
		n, err := s.server.active()
		if err != nil {
			return err
		}
		return n.crash()
	}
	pids, err := s.server.plugins()
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return errors.New("crash: no plugin runs")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("crash: %w", err)
		}
	}
	return nil
}

func (s *script) cmdPlugins(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 || s.server == nil {
		return usage("plugins RANGE, after vaultd start")
	}
	pids, err := s.server.plugins()
	if err != nil {
		return err
	}
	return wantNumber("processes of the plugin", len(pids), args[0], nil)
}

// get is a read of a path by whom the script is.
func get(ctx context.Context, ts *testscript.TestScript, path string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.Getenv("VAULT_ADDR")+"/v1/"+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Token", ts.Getenv("VAULT_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func (s *script) cmdHangup(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("hangup DURATION PATH")
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return usage("hangup: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	status, err := get(ctx, ts, args[1])
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("hangup: the answer, status %d, was there before the caller hung up", status)
}

// issuersAtOnce is how many callers cmdIssue stands for.
const issuersAtOnce = 8

func (s *script) cmdIssue(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("issue N PATH")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return usage("issue: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	failures := make(chan error, n)
	var wg sync.WaitGroup
	for range issuersAtOnce {
		wg.Go(func() {
			for range turns {
				if status, err := get(ctx, ts, args[1]); err != nil || status != http.StatusOK {
					failures <- fmt.Errorf("issue: status %d, %w", status, err)
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	return <-failures
}

func (s *script) cmdJSON(ts *testscript.TestScript, args []string) error {
	if len(args) < 3 || len(args)%2 == 0 {
		return usage("json FILE PATH VAR [PATH VAR]...")
	}
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("json %s: %w", args[0], err)
	}
	for i := 1; i < len(args); i += 2 {
		value, err := member(document, args[i])
		if err != nil {
			return err
		}
		ts.Setenv(args[i+1], value)
	}
	return nil
}

// member returns what a path such as .data.keys.0 leads to: a string as it is,
// anything else as JSON.
func member(document any, path string) (string, error) {
	names, ok := strings.CutPrefix(path, ".")
	if !ok {
		return "", usage("json: a path begins with a dot")
	}
	at := document
	for name := range strings.SplitSeq(names, ".") {
		switch in := at.(type) {
		case map[string]any:
			at = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return "", fmt.Errorf("json: %s: there is no %s", path, name)
			}
			at = in[i]
		default:
			at = nil
		}
	}
	switch value := at.(type) {
	case nil:
		return "", fmt.Errorf("json: %s is missing or null", path)
	case string:
		return value, nil
	}
	text, err := json.Marshal(at)
	return string(text), err
}

func (s *script) cmdWithin(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("within NUMBER RANGE")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return usage("within: " + err.Error())
	}
	return wantNumber("the number", n, args[1], nil)
}
