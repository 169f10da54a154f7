package acceptance

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// This file is what the simulators of all providers have in common: how they are
// started, the words by which scripts ask and change them, and what the checks at
// the end of every script look at.
//
// To add a provider, write sim_NAME_test.go with a type that embeds the simulator
// and has the rest of the methods of simulation, as sim_openrouter_test.go does,
// and enter it in simulations. Nothing else here knows any provider. Then add its
// variables to doc.go, a key that no ledger leads to to harness.txtar, and its lines
// to providers_together.txtar and names_env.txtar.

// simulations are the providers of a script's world, by the name that a connection
// has for them.
var simulations = map[string]func() simulation{
	nameAnthropic:  func() simulation { return newAnthropic() },
	nameLiteLLM:    func() simulation { return newLiteLLM() },
	nameOpenAI:     func() simulation { return newOpenAI() },
	nameOpenRouter: func() simulation { return newOpenRouter() },
}

// A simulation is the simulator of a provider: one account of it.
type simulation interface {
	http.Handler

	// Inject adds a fault, ClearFaults removes all.
	Inject(fault fake.Fault)
	ClearFaults()
	// Alive reports whether the provider would take a secret now, be it that of a key
	// or of an admin key.
	Alive(secret string) bool
	// Secrets are all that ever were, the first admin key's included. Where there are
	// many, each begins with one of secretPrefixes.
	Secrets() []string
	// DeleteKey deletes a key as a person does in the provider's console. It reports
	// whether there was one.
	DeleteKey(id string) bool

	// variables are those of the scripts, which tell how the account is reached at a
	// URL without a path.
	variables(url string) map[string]string
	// ops are the operations that a fault or a count may name.
	ops() []fake.Op
	// keys are all that ever were.
	keys() []simKey
	// arrived are all requests that ever came.
	arrived() []simRequest
	// deletes names the key that a request is to delete, or to make useless; empty if
	// it is to do neither. It leaves the request as it was, its body too.
	deletes(r *http.Request) string
	// knobs sets all knobs, given as FIELD=VALUE.
	knobs(fields []string) error
	// plant makes a key of somebody else's, where the provider's roles would have
	// theirs: in a project, a workspace.
	plant(scope, name string) simKey
	// words are those which no other provider has.
	words() map[string]word
}

// A simKey is what scripts look at of a key, a token, or a key that manages others,
// which may be a public one, without a secret.
// One that the engine made has the name of its record; a token, which has no name,
// the id of its record.
type simKey struct {
	id, name, secret string
	live             bool // it exists, is not switched off, and has not expired
	admin            bool
	token            bool
}

// A simRequest is what scripts look at of a request.
type simRequest struct {
	op          fake.Op
	path, query string
	status      int
}

// A simulator is a simulation on a loopback port of its own.
type simulator struct {
	simulation
	http      *httptest.Server
	deletions deletions
	counted   int // how many requests had come at the last reset
}

func newSimulator(of simulation) *simulator {
	sim := &simulator{simulation: of}
	sim.http = httptest.NewUnstartedServer(sim.deletions.watched(of))
	sim.http.Config.ErrorLog = log.New(io.Discard, "", 0) // dropped connections
	sim.http.Start()
	return sim
}

// close ends it with all requests that hang.
func (sim *simulator) close() {
	sim.http.CloseClientConnections()
	sim.http.Close()
}

// startSimulators starts one of each provider.
func (s *script) startSimulators(env *testscript.Env) {
	s.sims = map[string]*simulator{}
	for name, simulate := range simulations {
		sim := newSimulator(simulate())
		s.sims[name] = sim
		for variable, value := range sim.variables(sim.http.URL) {
			env.Setenv(variable, value)
		}
	}
}

func (s *script) closeSimulators() {
	for _, sim := range s.sims {
		sim.close()
	}
}

// deletedApart reports deletions that began while one of the same thing was under
// way, at any provider.
func (s *script) deletedApart() error {
	var failures []error
	for _, sim := range s.sims {
		failures = append(failures, sim.deletions.apart())
	}
	return errors.Join(failures...)
}

// secrets are those of all providers, and those of which no provider knows.
func (s *script) secrets() []string {
	all := slices.Clone(s.signing)
	for _, sim := range s.sims {
		all = append(all, sim.Secrets()...)
	}
	return all
}

// alive reports whether any provider would take a secret now.
func (s *script) alive(secret string) bool {
	for _, sim := range s.sims {
		if sim.Alive(secret) {
			return true
		}
	}
	return false
}

// A word is what follows the provider's name.
type word func(ts *testscript.TestScript, args []string) error

// common are the words that every provider has. The table in doc.go tells them.
func (sim *simulator) common() map[string]word {
	return map[string]word{
		"alive":  sim.wantAlive,
		"clear":  sim.clear,
		"count":  sim.wantCount,
		"dead":   sim.wantDead,
		"delete": sim.deleteKey,
		"inject": sim.inject,
		"knobs":  sim.setKnobs,
		"live":   sim.wantLive,
		"minted": sim.wantMinted,
		"plant":  sim.plantKey,
		"reset":  sim.reset,
	}
}

// cmdSim asks or changes the world at a provider.
func (s *script) cmdSim(ts *testscript.TestScript, args []string) error {
	name, args := first(args)
	sim, ok := s.sims[name]
	if !ok {
		return usage(fmt.Sprintf("sim PROVIDER WORD...; %q is not one of %v", name, slices.Sorted(maps.Keys(s.sims))))
	}
	named, args := first(args)
	do, ok := sim.common()[named]
	if !ok {
		do, ok = sim.words()[named]
	}
	if !ok {
		return usage(fmt.Sprintf("%q is not a word of %s; see doc.go for the words", named, name))
	}
	return do(ts, args)
}

// cmdFake is cmdSim of the provider that most scripts are about. A host that is
// nobody's has a word here, too.
func (s *script) cmdFake(ts *testscript.TestScript, args []string) error {
	if word, rest := first(args); word == "other" {
		return s.fakeOther(rest)
	}
	return s.cmdSim(ts, append([]string{nameOpenAI}, args...))
}

func (sim *simulator) wantAlive(_ *testscript.TestScript, secrets []string) error {
	return sim.wantTaken(true, secrets)
}

func (sim *simulator) wantDead(_ *testscript.TestScript, secrets []string) error {
	return sim.wantTaken(false, secrets)
}

// wantTaken wants each secret to work, or not to. A secret that never was would be
// dead too, so that is a mistake of the script.
func (sim *simulator) wantTaken(want bool, secrets []string) error {
	if len(secrets) == 0 {
		return usage("alive|dead SECRET...")
	}
	names := map[string]string{}
	for _, k := range sim.keys() {
		if k.secret != "" {
			names[k.secret] = k.name
		}
	}
	for _, secret := range secrets {
		name, minted := names[secret]
		switch {
		case !minted:
			return usage("alive|dead: the simulator never made the key " + strconv.Quote(secret))
		case sim.Alive(secret) && !want:
			return unmetf("key %s is alive", name)
		case !sim.Alive(secret) && want:
			return unmetf("key %s is dead", name)
		}
	}
	return nil
}

func (sim *simulator) clear(_ *testscript.TestScript, args []string) error {
	sim.ClearFaults()
	return usageUnless(len(args) == 0, "clear")
}

func (sim *simulator) reset(_ *testscript.TestScript, args []string) error {
	sim.counted = len(sim.arrived())
	return usageUnless(len(args) == 0, "reset")
}

func (sim *simulator) wantCount(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return usage("count OP RANGE [STATUS]")
	}
	op, err := sim.operation(args[0])
	if err != nil {
		return err
	}
	status, _ := first(args[2:])
	what := strings.Join(append([]string{"requests", args[0]}, args[2:]...), " ")
	n := sim.answered(op, status)
	ts.Logf("%d %s", n, what)
	return wantNumber(what, n, args[1], nil)
}

// answered counts requests of an operation since the last reset; of all, or those
// with a status.
func (sim *simulator) answered(op fake.Op, status string) int {
	n := 0
	for _, r := range sim.arrived()[sim.counted:] {
		if (op == fake.OpAny || r.op == op) && (status == "" || strconv.Itoa(r.status) == status) {
			n++
		}
	}
	return n
}

// operation checks the name of an operation; "any" is all of them.
func (sim *simulator) operation(name string) (fake.Op, error) {
	if name == "any" {
		return fake.OpAny, nil
	}
	if op := fake.Op(name); slices.Contains(sim.ops(), op) {
		return op, nil
	}
	return "", usage(fmt.Sprintf("%q is not an operation; give any, or one of %v", name, sim.ops()))
}

func (sim *simulator) deleteKey(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("delete KEY_ID")
	}
	return usageUnless(sim.DeleteKey(args[0]), "delete: there is no key "+args[0])
}

func (sim *simulator) inject(_ *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return usage("inject OP FIELD=VALUE...")
	}
	op, err := sim.operation(args[0])
	if err != nil {
		return err
	}
	fault := fake.Fault{Op: op}
	if err := setFields(&fault, args[1:]); err != nil {
		return err
	}
	sim.Inject(fault)
	return nil
}

func (sim *simulator) setKnobs(_ *testscript.TestScript, args []string) error {
	return sim.knobs(args)
}

func (sim *simulator) wantLive(_ *testscript.TestScript, args []string) error {
	return sim.wantKeys("live", func(k simKey) bool { return k.live }, args)
}

func (sim *simulator) wantMinted(_ *testscript.TestScript, args []string) error {
	return sim.wantKeys("minted", func(simKey) bool { return true }, args)
}

func (sim *simulator) wantKeys(which string, counts func(simKey) bool, args []string) error {
	if len(args) != 1 {
		return usage(which + " RANGE")
	}
	var names []string
	for _, k := range sim.keys() {
		if !k.admin && !k.token && counts(k) {
			names = append(names, k.name)
		}
	}
	return wantNumber(which+" keys", len(names), args[0], names)
}

func (sim *simulator) plantKey(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 && len(args) != 4 {
		return usage("plant SCOPE NAME VAR [SECRET_VAR]")
	}
	planted := sim.plant(args[0], args[1])
	ts.Setenv(args[2], planted.id)
	if len(args) == 4 {
		ts.Setenv(args[3], planted.secret)
	}
	return nil
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
