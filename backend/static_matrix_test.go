package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

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

func (m *testMount) matrixStatic() {
	m.do("create", "static-roles/app", matrixStaticFields()...)
	m.sweep()
}

func matrixStaticFields() []any {
	return []any{
		"config_name", "openai", "project_id", "proj_demo",
		"rotation_period", int(staticMatrixPeriod.Seconds()), "overlap", int(staticMatrixOverlap.Seconds()),
	}
}

func nothingBefore(*testMount) *testLease { return nil }

func staticBefore(m *testMount) *testLease {
	m.matrixStatic()
	m.advance(time.Hour)
	m.sweep()
	return nil
}

func rotatedBefore(m *testMount) *testLease {
	staticBefore(m)
	m.do("write", "rotate-role/app")
	m.advance(2 * time.Minute)
	return nil
}

var staticMoves = []staticMatrixMove{
	{
		matrixMove: matrixMove{
			name: "create", prepare: nothingBefore,
			request: staticRequest(logical.CreateOperation, "static-roles/app", matrixStaticFields()...),
		},
		creates: true, most: 1,
	},
	{
		matrixMove: matrixMove{
			name:    "import",
			prepare: func(m *testMount) *testLease { m.fake.PlantKey("proj_demo", "operator's"); return nil },
			request: func(m *testMount, l *testLease) *logical.Request {
				planted := m.fake.Keys()[0]
				return staticRequest(logical.CreateOperation, "static-roles/app", append(matrixStaticFields(), "api_key", planted.Secret, "key_id", planted.ID)...)(m, l)
			},
		},
		creates: true, most: 1,
	},
	{
		matrixMove: matrixMove{
			name: "write", prepare: staticBefore,
			request: staticRequest(logical.UpdateOperation, "static-roles/app", "project_id", "proj_other", "rotation_period", "48h"),
		},
		most: 1,
	},
	{
		matrixMove: matrixMove{name: "rotate", prepare: staticBefore, request: staticRequest(logical.UpdateOperation, "rotate-role/app")},
		most:       2,
	},
	{
		matrixMove: matrixMove{
			name: "rotate an imported key",
			prepare: func(m *testMount) *testLease {
				planted := m.fake.PlantKey("proj_demo", "operator's")
				m.do("create", "static-roles/app", append(matrixStaticFields(), "api_key", planted.Secret, "key_id", planted.ID)...)
				m.advance(2 * time.Minute)
				return nil
			},
			request: staticRequest(logical.UpdateOperation, "rotate-role/app"),
		},
		most: 2,
	},
	{
		matrixMove: matrixMove{
			name: "emergency", prepare: rotatedBefore,
			request: staticRequest(logical.UpdateOperation, "rotate-role/app", "overlap", 0),
		},
		cuts: true, most: 2,
	},
	{
		matrixMove: matrixMove{
			name: "scheduled",
			prepare: func(m *testMount) *testLease {
				m.matrixStatic()
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
				staticBefore(m)
				m.fake.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 90 * time.Second})
				m.refused(502, []string{"the new key does not work yet"}, "write", "rotate-role/app")
				m.advance(90 * time.Second)
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
				rotatedBefore(m)
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
				staticBefore(m)
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
				m.matrixStatic()
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
		matrixMove: matrixMove{name: "kill", prepare: staticBefore, request: staticRequest(logical.UpdateOperation, "revoke", "role", "app")},
		cuts:       true, most: 2,
	},
	{
		matrixMove: matrixMove{name: "delete", prepare: rotatedBefore, request: staticRequest(logical.DeleteOperation, "static-roles/app")},
		deletes:    true, most: 1,
	},
	{
		matrixMove: matrixMove{name: "delete at once", prepare: rotatedBefore, request: staticRequest(logical.DeleteOperation, "static-roles/app", "overlap", 0)},
		deletes:    true, cuts: true, most: 1,
	},
}

// A staticCase is one move with one fault, and a client that reads the key each
// minute.
type staticCase struct {
	*matrixCase
	static staticMatrixMove
	read   map[string]time.Time // keys that were read, and when last
	last   string
}

func newStaticCase(m *testMount, move staticMatrixMove) *staticCase {
	c := &staticCase{matrixCase: newMatrixCase(m, move.matrixMove), static: move, read: map[string]time.Time{}}
	m.fake.AddProject("proj_other")
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
	for _, key := range c.fake.LiveKeys() {
		if !known[key.ID] && !known[key.Name] && key.ServiceAccountID != "" {
			c.t.Fatalf("I1: key %s (%s) lives and is not in the ledger\n%s", key.ID, key.Name, c.log)
		}
	}
	there := c.readKey()
	if there {
		c.wantAlive(c.last, true)
	}
	if c.static.cuts {
		return
	}
	if c.last != "" && !there && !c.static.deletes {
		c.t.Fatalf("I3: there is no key any more\n%s", c.log)
	}
	for key, at := range c.read {
		if c.clock.now().Sub(at) < staticMatrixOverlap-time.Minute && !c.fake.Alive(key) {
			c.t.Fatalf("I3: a key that was read %s ago is dead\n%s", c.clock.now().Sub(at), c.log)
		}
	}
}

func (c *staticCase) run(deposed bool) {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, c.move.request(c.testMount, nil))
	c.storage.heal()
	c.fake.ClearFaults()
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
				c.wantAlive(key, false)
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
	for _, key := range c.fake.LiveKeys() {
		if key.Secret != c.last || !there {
			live = append(live, key.Name)
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
		c.do("create", "static-roles/app", matrixStaticFields()...)
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
	for _, key := range c.fake.LiveKeys() {
		if key.Name != "operator's" {
			c.t.Errorf("key %s lives on\n%s", key.Name, c.log)
		}
	}
	if left := c.staticRecords(); len(left) > 0 {
		c.t.Errorf("records: %+v", left)
	}
	if left := c.stored(duePrefix); len(left) > 0 {
		c.t.Errorf("the time index still holds %v", left)
	}
	c.assertIndexEmpty()
}

func TestFaultMatrixOfStaticRolesStorage(t *testing.T) {
	faults := []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore, deposedBefore}
	for _, move := range staticMoves {
		ops, _ := traceStatic(t, move)
		if len(ops) == 0 {
			t.Fatalf("%s does nothing with the storage", move.name)
		}
		for _, op := range ops {
			for _, fault := range faults {
				if reads(op) && (fault == failAfter || fault == crashAfter) {
					continue // a read has no effect
				}
				t.Run(fmt.Sprintf("%s/%s/%s", move.name, op, fault), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newStaticCase(m, move)
						c.spoil(op, fault)
						c.run(fault == deposedBefore)
					})
				})
			}
		}
	}
}

func TestFaultMatrixOfStaticRolesProvider(t *testing.T) {
	for _, move := range staticMoves {
		_, calls := traceStatic(t, move)
		if len(calls) == 0 && move.name != "delete" {
			t.Fatalf("%s calls no provider", move.name)
		}
		for at, op := range calls {
			for _, fault := range callFaults() {
				if prepares(op) && !slices.Contains(trialFaults, fault.name) {
					continue
				}
				for _, times := range []int{1, 0} {
					name := fmt.Sprintf("%s/%d %s/%s", move.name, at, op, fault.name)
					if times == 0 {
						name += ", and on"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						bubble(t, func(m *testMount) {
							c := newStaticCase(m, move)
							f := fault.fault(c.matrixCase)
							f.Skip, f.Times = at, times
							c.pause = f.RetryAfter
							m.fake.Inject(f)
							c.run(false)
						})
					})
				}
			}
		}
	}
}

func reads(op opID) bool {
	return strings.HasPrefix(op.what, "get ") || strings.HasPrefix(op.what, "list ")
}

// prepares reports whether a call makes a service account ready, which the matrix of
// leases spoils in every way.
func prepares(op fakeopenai.Op) bool {
	return slices.Contains([]fakeopenai.Op{fakeopenai.OpGetProject, fakeopenai.OpListServiceAccounts, fakeopenai.OpCreateServiceAccount, fakeopenai.OpUpdateServiceAccount, fakeopenai.OpGetServiceAccount}, op)
}

// traceStatic is traceMove.
func traceStatic(t *testing.T, move staticMatrixMove) (storageOps []opID, calls []fakeopenai.Op) {
	return traceCase(t, func(m *testMount) (*matrixCase, *logical.Request) {
		return newStaticCase(m, move).matrixCase, move.request(m, nil)
	})
}
