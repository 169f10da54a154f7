package acceptance

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A simulator is the provider of one script, on a loopback port of its own.
type simulator struct {
	*fakeopenai.Server
	http      *httptest.Server
	deletions deletions
}

func newSimulator() *simulator {
	f := fakeopenai.New()
	sim := &simulator{Server: f}
	sim.http = httptest.NewUnstartedServer(sim.deletions.watched(f))
	sim.http.Config.ErrorLog = log.New(io.Discard, "", 0) // dropped connections
	sim.http.Start()
	return sim
}

func (f *simulator) url() string     { return f.http.URL + "/v1" }
func (f *simulator) project() string { return fakeopenai.DefaultProject }

// close ends it with all requests that hang.
func (f *simulator) close() {
	f.http.CloseClientConnections()
	f.http.Close()
}

// A stranger is a host that is none of the provider's. It counts who connects.
type stranger struct {
	http        *httptest.Server
	connections atomic.Int64
}

func newStranger() *stranger {
	o := &stranger{}
	o.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	o.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	o.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			o.connections.Add(1)
		}
	}
	o.http.Start()
	return o
}

// cmdFake asks or changes the world. The table in doc.go tells the words.
func (s *script) cmdFake(ts *testscript.TestScript, args []string) error {
	word, args := first(args)
	switch word {
	case "accounts":
		return s.fakeAccounts(args)
	case "admin":
		return s.fakeAdmin(ts, args)
	case "admins":
		return s.fakeAdmins(args)
	case "age":
		return s.fakeAge(args)
	case "alive", "dead":
		return s.fakeAlive(word == "alive", args)
	case "archive":
		return s.fakeArchive(args)
	case "clear":
		s.fake.ClearFaults()
		return usageUnless(len(args) == 0, "fake clear")
	case "count":
		return s.fakeCount(ts, args)
	case "delete":
		return s.fakeDelete(args)
	case "inject":
		return s.fakeInject(args)
	case "knobs":
		return s.fakeKnobs(args)
	case "live", "minted":
		return s.fakeKeys(word, args)
	case "orphan":
		return s.fakeOrphan(ts, args)
	case "other":
		return s.fakeOther(args)
	case "plant":
		return s.fakePlant(ts, args)
	case "project":
		return s.fakeProject(args)
	case "rate":
		return s.fakeRate(args)
	case "reset":
		s.fake.ResetRequests()
		return usageUnless(len(args) == 0, "fake reset")
	case "revoke":
		return s.fakeRevoke(args)
	}
	return usage("fake WORD; see doc.go for the words")
}

func (s *script) fakeAccounts(args []string) error {
	if len(args) != 2 {
		return usage("fake accounts PROJECT N")
	}
	accounts := s.fake.ServiceAccounts(args[0])
	var names []string
	for _, a := range accounts {
		names = append(names, a.Name)
	}
	return wantNumber("service accounts in "+args[0], len(accounts), args[1], names)
}

// fakeAdmin wants the admin key that the script was given to work, or not to, or
// makes another one.
func (s *script) fakeAdmin(ts *testscript.TestScript, args []string) error {
	word, rest := first(args)
	if word == "new" && len(rest) == 1 {
		_, secret := s.fake.AddAdminKey()
		ts.Setenv(rest[0], secret)
		return nil
	}
	if word != "alive" && word != "dead" || len(rest) != 0 {
		return usage("fake admin alive|dead|new; see doc.go")
	}
	switch alive := s.fake.AdminAlive(s.fake.AdminKey()); {
	case alive && word == "dead":
		return unmetf("the operator's admin key is alive")
	case !alive && word == "alive":
		return unmetf("the operator's admin key is dead")
	}
	return nil
}

func (s *script) fakeAdmins(args []string) error {
	if len(args) != 1 {
		return usage("fake admins N")
	}
	var names []string
	for _, a := range s.fake.AdminKeys() {
		if s.fake.AdminAlive(a.Secret) {
			names = append(names, a.Name)
		}
	}
	return wantNumber("admin keys", len(names), args[0], names)
}

// fakeAlive wants each secret to work, or not to. A secret that never was would
// be dead too, so that is a mistake of the script.
func (s *script) fakeAlive(want bool, secrets []string) error {
	if len(secrets) == 0 {
		return usage("fake alive|dead SECRET...")
	}
	names := map[string]string{}
	for _, k := range s.fake.Keys() {
		names[k.Secret] = k.Name
	}
	for _, secret := range secrets {
		name, minted := names[secret]
		switch {
		case !minted:
			return usage("fake alive|dead: the simulator never made the key " + strconv.Quote(secret))
		case s.fake.Alive(secret) && !want:
			return unmetf("key %s is alive", name)
		case !s.fake.Alive(secret) && want:
			return unmetf("key %s is dead", name)
		}
	}
	return nil
}

func (s *script) fakeArchive(args []string) error {
	if len(args) != 1 {
		return usage("fake archive PROJECT")
	}
	s.fake.ArchiveProject(args[0])
	return nil
}

func (s *script) fakeCount(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return usage("fake count OP RANGE [STATUS]")
	}
	op, err := operation(args[0])
	if err != nil {
		return err
	}
	status, _ := first(args[2:])
	what := strings.Join(append([]string{"requests", args[0]}, args[2:]...), " ")
	n := s.fake.answered(op, status)
	ts.Logf("%d %s", n, what)
	return wantNumber(what, n, args[1], nil)
}

// answered counts requests of an operation; of all, or those with a status.
func (f *simulator) answered(op fakeopenai.Op, status string) int {
	n := 0
	for _, r := range f.Requests() {
		if (op == fakeopenai.OpAny || r.Op == op) && (status == "" || strconv.Itoa(r.Status) == status) {
			n++
		}
	}
	return n
}

func (s *script) fakeDelete(args []string) error {
	if len(args) != 1 {
		return usage("fake delete KEY_ID")
	}
	if !s.fake.DeleteKey(args[0]) {
		return usage("fake delete: there is no key " + args[0])
	}
	return nil
}

func (s *script) fakeInject(args []string) error {
	if len(args) < 2 {
		return usage("fake inject OP FIELD=VALUE...")
	}
	op, err := operation(args[0])
	if err != nil {
		return err
	}
	fault := fakeopenai.Fault{Op: op}
	if err := setFields(&fault, args[1:]); err != nil {
		return err
	}
	s.fake.Inject(fault)
	return nil
}

func (s *script) fakeKnobs(args []string) error {
	var knobs fakeopenai.Knobs
	if err := setFields(&knobs, args); err != nil {
		return err
	}
	s.fake.SetKnobs(knobs)
	return nil
}

func (s *script) fakeKeys(word string, args []string) error {
	if len(args) != 1 {
		return usage("fake live|minted N")
	}
	keys := s.fake.LiveKeys()
	if word == "minted" {
		keys = s.fake.Keys()
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return wantNumber(word+" keys", len(keys), args[0], names)
}

func (s *script) fakeOther(args []string) error {
	if len(args) != 1 {
		return usage("fake other N")
	}
	return wantNumber("connections to $OTHER_URL", int(s.other.connections.Load()), args[0], nil)
}

func (s *script) fakePlant(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 && len(args) != 4 {
		return usage("fake plant PROJECT NAME VAR [SECRET_VAR]")
	}
	planted := s.fake.PlantKey(args[0], args[1])
	ts.Setenv(args[2], planted.ID)
	if len(args) == 4 {
		ts.Setenv(args[3], planted.Secret)
	}
	return nil
}

func (s *script) fakeProject(args []string) error {
	if len(args) != 1 {
		return usage("fake project PROJECT")
	}
	s.fake.AddProject(args[0])
	return nil
}

func (s *script) fakeRate(args []string) error {
	if len(args) != 2 {
		return usage("fake rate PER_SECOND BURST")
	}
	perSecond, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return usage("fake rate: " + err.Error())
	}
	burst, err := strconv.Atoi(args[1])
	if err != nil {
		return usage("fake rate: " + err.Error())
	}
	s.fake.SetRate(perSecond, burst)
	return nil
}

// fakeRevoke revokes the admin key that the script was given.
func (s *script) fakeRevoke(args []string) error {
	if len(args) != 1 || args[0] != "admin" {
		return usage("fake revoke admin")
	}
	return usageUnless(s.fake.RevokeAdminKey(s.fake.AdminKeys()[0].ID), "fake revoke: it is revoked already")
}

// operation checks the name of an operation; "any" is all of them.
func operation(name string) (fakeopenai.Op, error) {
	if name == "any" {
		return fakeopenai.OpAny, nil
	}
	for _, op := range fakeopenai.Ops() {
		if string(op) == name {
			return op, nil
		}
	}
	return "", usage(fmt.Sprintf("%q is not an operation; give any, or one of %v", name, fakeopenai.Ops()))
}

// setFields sets exported fields of a struct by name: Latency=2s Times=1.
func setFields(into any, args []string) error {
	v := reflect.ValueOf(into).Elem()
	for _, arg := range args {
		name, text, _ := strings.Cut(arg, "=")
		field := v.FieldByName(name)
		if !field.IsValid() {
			return usage(fmt.Sprintf("%s has no field %q", v.Type(), name))
		}
		if err := setField(field, text); err != nil {
			return usage(fmt.Sprintf("%s of %s: %v", name, v.Type(), err))
		}
	}
	return nil
}

func setField(field reflect.Value, text string) error {
	if field.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		field.SetInt(int64(d))
		return err
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
		return nil
	case reflect.Bool:
		is, err := strconv.ParseBool(text)
		field.SetBool(is)
		return err
	case reflect.Int:
		n, err := strconv.Atoi(text)
		field.SetInt(int64(n))
		return err
	}
	return fmt.Errorf("a %s cannot be given in a script", field.Type())
}
