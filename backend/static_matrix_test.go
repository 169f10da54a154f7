package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// The fault matrix of static roles, as matrix_test.go is of leases. Whatever fails in
// a write, a rotation, a kill or a deletion of one:
//
//	I1  every live key of ours is in the ledger
//	I2  once it is quiet, only the key that is handed out lives, if any is
//	I3  a key that somebody has read works for as long as it is handed out, and for
//	    the overlap after that, unless it was killed
//	I5  no secret is in a log, an error or a URL (asserted for every mount)
//
// A rotation is made once for one due time. Then all works without anybody's help.

const (
	staticMatrixPeriod  = 24 * time.Hour
	staticMatrixOverlap = 5 * time.Minute
)

// A staticMatrixMove is a move of a static role.
type staticMatrixMove struct {
	matrixMove
	creates bool // the role does not exist before
	deletes bool // nor after
	cuts    bool // it ends the key that is handed out before
	most    int  // so many keys may have been handed out when it is quiet, at most
}

func staticRequest(op logical.Operation, path string, pairs ...any) func(*testMount, *testLease) *logical.Request {
	return func(m *testMount, _ *testLease) *logical.Request {
		data := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			data[pairs[i].(string)] = pairs[i+1]
		}
		return m.request(op, path, data)
	}
}

// matrixStatic writes the static role app.
func (m *testMount) matrixStatic(sh shape) {
	m.do("create", "static-roles/app", m.matrixStaticFields(sh)...)
	m.sweep()
}

func (m *testMount) matrixStaticFields(sh shape) pairs {
	return append(pairs{
		"config_name", sh.name,
		"rotation_period", int(staticMatrixPeriod.Seconds()), "overlap", int(staticMatrixOverlap.Seconds()),
	}, sh.role(m.sim(sh))...)
}

// unbounded leaves the bounds out, which no key can be given that exists.
func unbounded(fields pairs) pairs {
	var left pairs
	for field := range slices.Chunk(fields, 2) {
		if !provider.IsGuardrail(field[0].(string)) {
			left = append(left, field...)
		}
	}
	return left
}

// importFields are those of a role that is given the key that was planted.
func (m *testMount) importFields(sh shape) pairs {
	planted := m.sim(sh).live()[0]
	return append(unbounded(m.matrixStaticFields(sh)), "api_key", planted.secret, "key_id", planted.id)
}

func staticRoleRequest(op logical.Operation, fields func(m *testMount) pairs) func(*testMount, *testLease) *logical.Request {
	return func(m *testMount, l *testLease) *logical.Request {
		return staticRequest(op, "static-roles/app", fields(m)...)(m, l)
	}
}

func nothingBefore(*testMount) *testLease { return nil }

func staticBefore(sh shape) func(*testMount) *testLease {
	return func(m *testMount) *testLease {
		m.matrixStatic(sh)
		m.advance(time.Hour)
		m.sweep()
		return nil
	}
}

func rotatedBefore(sh shape) func(*testMount) *testLease {
	return func(m *testMount) *testLease {
		staticBefore(sh)(m)
		m.do("write", "rotate-role/app")
		m.advance(2 * time.Minute)
		return nil
	}
}

// staticMoves are the moves of a static role at a provider.
func staticMoves(sh shape) []staticMatrixMove {
	moves := []staticMatrixMove{
		{
			matrixMove: matrixMove{
				name: "create", prepare: nothingBefore,
				request: staticRoleRequest(logical.CreateOperation, func(m *testMount) pairs { return m.matrixStaticFields(sh) }),
			},
			creates: true, most: 1,
		},
		{
			matrixMove: matrixMove{name: "rotate", prepare: staticBefore(sh), request: staticRequest(logical.UpdateOperation, "rotate-role/app")},
			most:       2,
		},
		{
			matrixMove: matrixMove{
				name: "emergency", prepare: rotatedBefore(sh),
				request: staticRequest(logical.UpdateOperation, "rotate-role/app", "overlap", 0),
			},
			cuts: true, most: 2,
		},
		{
			matrixMove: matrixMove{
				name: "scheduled",
				prepare: func(m *testMount) *testLease {
					m.matrixStatic(sh)
					m.advance(staticMatrixPeriod)
					return nil
				},
				request: sweepRequest,
			},
			most: 2,
		},
		{
			matrixMove: matrixMove{
				name: "finish a rotation",
				prepare: func(m *testMount) *testLease {
					staticBefore(sh)(m)
					sh.static.delay(m.sim(sh))
					m.refused(502, []string{"the new key does not work yet"}, "write", "rotate-role/app")
					m.advance(90 * time.Second)
					m.sim(sh).ClearFaults()
					return nil
				},
				request: sweepRequest,
			},
			most: 2,
		},
		{
			matrixMove: matrixMove{
				name: "delete the replaced key",
				prepare: func(m *testMount) *testLease {
					rotatedBefore(sh)(m)
					m.advance(staticMatrixOverlap)
					return nil
				},
				request: sweepRequest,
			},
			most: 1,
		},
		{
			matrixMove: matrixMove{
				name: "mint after a kill",
				prepare: func(m *testMount) *testLease {
					staticBefore(sh)(m)
					m.do("write", "revoke", "role", "app")
					return nil
				},
				request: sweepRequest,
			},
			most: 1, creates: true,
		},
		{
			matrixMove: matrixMove{
				name: "rotate after a suspension",
				prepare: func(m *testMount) *testLease {
					m.matrixStatic(sh)
					m.do("write", "suspend/app")
					m.sweepFor(2 * time.Minute)
					m.advance(staticMatrixPeriod)
					m.sweepFor(2 * time.Minute)
					m.do("write", "resume/app")
					return nil
				},
				request: sweepRequest,
			},
			most: 2,
		},
		{
			matrixMove: matrixMove{name: "kill", prepare: staticBefore(sh), request: staticRequest(logical.UpdateOperation, "revoke", "role", "app")},
			cuts:       true, most: 2,
		},
		{
			matrixMove: matrixMove{name: "delete", prepare: rotatedBefore(sh), request: staticRequest(logical.DeleteOperation, "static-roles/app")},
			deletes:    true, most: 1,
		},
		{
			matrixMove: matrixMove{name: "delete at once", prepare: rotatedBefore(sh), request: staticRequest(logical.DeleteOperation, "static-roles/app", "overlap", 0)},
			deletes:    true, cuts: true, most: 1,
		},
	}
	if sh.static.moved != nil {
		moves = append(moves, staticMatrixMove{
			matrixMove: matrixMove{
				name: "write", prepare: staticBefore(sh),
				request: staticRoleRequest(logical.UpdateOperation, func(m *testMount) pairs {
					return append(sh.static.moved(m.sim(sh)), "rotation_period", "48h")
				}),
			},
			most: 1,
		})
	}
	if sh.static.plant != nil {
		moves = append(moves, importMoves(sh)...)
	}
	return moves
}

// importMoves are those of a key that an operator made.
func importMoves(sh shape) []staticMatrixMove {
	return []staticMatrixMove{
		{
			matrixMove: matrixMove{
				name:    "import",
				prepare: func(m *testMount) *testLease { sh.static.plant(m.sim(sh), "operator's"); return nil },
				request: staticRoleRequest(logical.CreateOperation, func(m *testMount) pairs { return m.importFields(sh) }),
			},
			creates: true, most: 1,
		},
		{
			matrixMove: matrixMove{
				name: "rotate an imported key",
				prepare: func(m *testMount) *testLease {
					sh.static.plant(m.sim(sh), "operator's")
					m.do("create", "static-roles/app", m.importFields(sh)...)
					m.advance(2 * time.Minute)
					return nil
				},
				request: staticRequest(logical.UpdateOperation, "rotate-role/app"),
			},
			most: 2,
		},
	}
}

// A staticCase is one move with one fault, and a client that reads the key each
// minute.
type staticCase struct {
	*matrixCase
	static staticMatrixMove
	read   map[string]time.Time // keys that were read, and when last
	last   string
}

func newStaticCase(m *testMount, sh shape, move staticMatrixMove) *staticCase {
	c := &staticCase{matrixCase: newShapeCase(m, sh, move.matrixMove), static: move, read: map[string]time.Time{}}
	if sh.static.ready != nil {
		sh.static.ready(m, c.sim)
	}
	move.prepare(m)
	if !move.creates {
		c.readKey()
	}
	return c
}

// readKey reads the key as a client does. It reports whether there is one.
func (c *staticCase) readKey() bool {
	c.t.Helper()
	resp, err := c.try("read", "static-creds/app")
	if err != nil || resp == nil {
		return false
	}
	if ttl, ok := resp.Data["ttl"].(int64); !ok || ttl < 1 {
		c.t.Fatalf("ttl: %#v", resp.Data["ttl"])
	}
	c.last = fmt.Sprint(resp.Data["api_key"])
	c.read[c.last] = c.clock.now()
	return true
}

// wantWorks asserts whether a key is alive.
func (c *staticCase) wantWorks(key string, want bool) {
	c.t.Helper()
	if got := c.sim.Alive(key); got != want {
		c.t.Fatalf("key is alive: got %v, want %v\n%s", got, want, c.log)
	}
}

// assertHolders asserts I1 and I3.
func (c *staticCase) assertHolders() {
	c.t.Helper()
	known := map[string]bool{}
	for _, rec := range append(c.staticRecords(), c.records()...) {
		known[rec.KeyID] = true
		if rec.State == pending {
			known[rec.Name] = true
		}
	}
	for _, key := range c.sim.live() {
		if !known[key.id] && !known[key.name] && key.name != "operator's" {
			c.t.Fatalf("I1: key %s (%s) lives and is not in the ledger\n%s", key.id, key.name, c.log)
		}
	}
	there := c.readKey()
	if there {
		c.wantWorks(c.last, true)
	}
	if c.static.cuts {
		return
	}
	if c.last != "" && !there && !c.static.deletes {
		c.t.Fatalf("I3: there is no key any more\n%s", c.log)
	}
	for key, at := range c.read {
		if c.clock.now().Sub(at) < staticMatrixOverlap-time.Minute && !c.sim.Alive(key) {
			c.t.Fatalf("I3: a key that was read %s ago is dead\n%s", c.clock.now().Sub(at), c.log)
		}
	}
}

func (c *staticCase) run(deposed bool) {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, c.move.request(c.testMount, nil))
	c.storage.heal()
	c.sim.ClearFaults()
	c.fake.SetKnobs(fakeopenai.Knobs{})
	c.checkError(resp, err)
	failed := err != nil || resp.IsError()
	if c.crashed.Load() || deposed {
		c.crashed.Store(true)
		c.engine = nil
		c.restart()
	}
	if !failed && c.ctx.Err() == nil && !c.crashed.Load() && !deposed {
		c.assertAnswer(resp)
	}
	for quiet := c.pause + 30*time.Minute; quiet > 0; quiet -= time.Minute {
		c.assertHolders()
		c.sweepFor(time.Minute)
	}
	c.assertQuiet(failed)
	c.useAgain()
}

// assertAnswer asserts what a success means at once.
func (c *staticCase) assertAnswer(resp *logical.Response) {
	c.t.Helper()
	switch c.move.name {
	case "create", "import", "rotate", "rotate an imported key", "emergency":
		if !c.readKey() {
			c.t.Fatalf("there is no key after a success\n%s", c.log)
		}
	}
	if c.static.cuts && c.move.name != "kill" && (resp == nil || len(resp.Warnings) == 0) {
		for key := range c.read {
			if key != c.last || c.static.deletes {
				c.wantWorks(key, false)
			}
		}
	}
}

// assertQuiet asserts what holds when nothing is left to be done.
func (c *staticCase) assertQuiet(failed bool) {
	c.t.Helper()
	there := c.readKey()
	switch {
	case c.static.deletes && !failed && there:
		c.t.Fatalf("the role is still there\n%s", c.log)
	case !c.static.deletes && !there && !(c.static.creates && failed):
		c.t.Fatalf("there is no key\n%s", c.log)
	case len(c.read) > c.static.most && !c.static.deletes:
		c.t.Errorf("%d keys were handed out, want %d at most\n%s", len(c.read), c.static.most, c.log)
	}
	var live []string
	for _, key := range c.sim.live() {
		if key.secret != c.last || !there {
			live = append(live, key.name)
		}
	}
	if kept := c.move.name == "import" && !there; len(live) > 0 && !(kept && len(live) == 1 && live[0] == "operator's") {
		c.t.Fatalf("I2: keys live that nobody is given: %v\n%s", live, c.log)
	}
	want := 0
	if there {
		want = 1
	}
	if recs := c.staticRecords(); len(recs) != want || want == 1 && (recs[0].State != active || !recs[0].Due.IsZero()) {
		c.t.Errorf("records: %+v, want %d\n%s", recs, want, c.log)
	}
	if e, err := loadAnyStatic(c.t.Context(), c.storage.Storage, "app"); err != nil || e != nil && (e.Candidate != nil || e.leaving()) || (e != nil) != there {
		c.t.Errorf("stored: %+v, %v\n%s", e, err, c.log)
	}
}

// useAgain rotates and deletes as if nothing had been.
func (c *staticCase) useAgain() {
	c.t.Helper()
	if !c.readKey() {
		c.do("create", "static-roles/app", c.matrixStaticFields(c.shape)...)
	}
	before := c.staticKey()
	c.advance(48 * time.Hour)
	c.sweepFor(3 * time.Minute)
	if c.staticKey() == before {
		c.t.Errorf("the key was not rotated by itself\n%s", c.log)
	}
	c.do("delete", "static-roles/app", "overlap", 0)
	c.sweepFor(20 * time.Minute)
	c.advance(50 * time.Hour) // past the minute of every stale hint
	c.sweep()
	for _, key := range c.sim.live() {
		if key.name != "operator's" {
			c.t.Errorf("key %s lives on\n%s", key.name, c.log)
		}
	}
	if left := c.staticRecords(); len(left) > 0 {
		c.t.Errorf("records: %+v", left)
	}
	if left := c.stored(duePrefix); len(left) > 0 {
		c.t.Errorf("the time index still holds %v", left)
	}
	c.assertIndexEmpty()
	c.assertPool(poolFree, poolRetired) // some of the moves kill
}

// eachStaticMove calls test for each move at each provider that has static roles. All
// faults are for OpenAI: few says that it is another.
func eachStaticMove(test func(sh shape, move staticMatrixMove, few bool)) {
	for _, sh := range shapes {
		if sh.static == nil {
			continue
		}
		for _, move := range staticMoves(sh) {
			test(sh, move, sh.name != openAIShape.name)
		}
	}
}

func TestFaultMatrixOfStaticRolesStorage(t *testing.T) {
	eachStaticMove(func(sh shape, move staticMatrixMove, few bool) {
		faults := []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore, deposedBefore}
		if few {
			faults = fewStorageFaults
		}
		ops, _ := traceStatic(t, sh, move)
		if len(ops) == 0 {
			t.Fatalf("%s: %s does nothing with the storage", sh.name, move.name)
		}
		for _, op := range ops {
			for _, fault := range faults {
				if reads(op) && (fault == failAfter || fault == crashAfter) {
					continue // a read has no effect
				}
				t.Run(fmt.Sprintf("%s/%s/%s/%s", sh.name, move.name, op, fault), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newStaticCase(m, sh, move)
						c.spoil(op, fault)
						c.run(fault == deposedBefore)
					})
				})
			}
		}
	})
}

func TestFaultMatrixOfStaticRolesProvider(t *testing.T) {
	eachStaticMove(func(sh shape, move staticMatrixMove, few bool) {
		_, calls := traceStatic(t, sh, move)
		if len(calls) == 0 && !sh.silentStatic(move) {
			t.Fatalf("%s: %s calls no provider", sh.name, move.name)
		}
		for at, op := range calls {
			for _, fault := range callFaults() {
				if prepares(op) && !slices.Contains(trialFaults, fault.name) || few && !slices.Contains(fewFaults, fault.name) {
					continue
				}
				for _, times := range []int{1, 0} {
					name := fmt.Sprintf("%s/%s/%d %s/%s", sh.name, move.name, at, op, fault.name)
					if times == 0 {
						name += ", and on"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						bubble(t, func(m *testMount) {
							c := newStaticCase(m, sh, move)
							f := fault.fault(c.matrixCase)
							f.Skip, f.Times = at, times
							c.pause = f.RetryAfter
							c.sim.Inject(f)
							c.run(false)
						})
					})
				}
			}
		}
	})
}

// silentStatic reports whether a move of a static role makes no call of the provider.
func (sh shape) silentStatic(move staticMatrixMove) bool { return move.name == "delete" }

func reads(op opID) bool {
	return strings.HasPrefix(op.what, "get ") || strings.HasPrefix(op.what, "list ")
}

// prepares reports whether a call makes a service account ready, which the matrix of
// leases spoils in every way.
func prepares(op fake.Op) bool {
	return slices.Contains([]fake.Op{fakeopenai.OpGetProject, fakeopenai.OpListServiceAccounts, fakeopenai.OpCreateServiceAccount, fakeopenai.OpUpdateServiceAccount, fakeopenai.OpGetServiceAccount}, op)
}

// traceStatic is traceShape.
func traceStatic(t *testing.T, sh shape, move staticMatrixMove) (storageOps []opID, calls []fake.Op) {
	return traceCase(t, func(m *testMount) (*matrixCase, *logical.Request) {
		return newStaticCase(m, sh, move).matrixCase, move.request(m, nil)
	})
}
