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

// The fault matrix of admin keys, as matrix_test.go is of leases. Whatever fails
// in a rotation, a write or a deletion of a connection, afterwards:
//
//	I1  every admin key of ours that works is in the ledger, or in no use for anyone
//	I4  the admin key of the connection works; once it is quiet, no other of ours does
//	I5  no secret is in a log, an error or a URL (asserted for every mount)
//
// An operator's key is deleted only if a rotation has replaced it. Then rotation
// and leases work without anybody's help.

var adminMoves = []matrixMove{
	{
		name:    "first rotation",
		prepare: func(*testMount) *testLease { return nil },
		request: rotateRequest,
	},
	{
		name: "rotation",
		prepare: func(m *testMount) *testLease {
			m.do("write", "rotate-root/openai")
			m.sweepFor(7 * time.Minute)
			return nil
		},
		request: rotateRequest,
	},
	{
		name: "finish a rotation",
		prepare: func(m *testMount) *testLease {
			m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: 90 * time.Second})
			m.refused(502, nil, "write", "rotate-root/openai")
			m.advance(90 * time.Second)
			return nil
		},
		request: sweepRequest,
	},
	{
		name: "delete the replaced key",
		prepare: func(m *testMount) *testLease {
			m.do("write", "rotate-root/openai")
			m.advance(6 * time.Minute)
			return nil
		},
		request: sweepRequest,
	},
	{
		name: "scheduled rotation",
		prepare: func(m *testMount) *testLease {
			m.do("write", "config/openai", "rotation_period", "24h")
			m.sweepFor(time.Minute)
			m.advance(24 * time.Hour)
			return nil
		},
		request: sweepRequest,
	},
	{
		name: "write a new key",
		prepare: func(m *testMount) *testLease {
			m.do("write", "rotate-root/openai")
			m.sweepFor(7 * time.Minute)
			m.fake.PlantAdminKey("operator's second", secondKey)
			return nil
		},
		request: func(m *testMount, _ *testLease) *logical.Request {
			return m.request(logical.UpdateOperation, "config/openai", map[string]any{"admin_key": secondKey})
		},
	},
	{
		name: "write the replaced key",
		prepare: func(m *testMount) *testLease {
			m.do("write", "rotate-root/openai")
			m.sweepFor(7 * time.Minute)
			return nil
		},
		request: func(m *testMount, _ *testLease) *logical.Request {
			return m.request(logical.UpdateOperation, "config/openai", map[string]any{"admin_key": m.fake.AdminKey(), "verify": false})
		},
	},
	{
		name: "delete the connection",
		prepare: func(m *testMount) *testLease {
			m.do("write", "rotate-root/openai")
			m.do("delete", "roles/bot")
			return nil
		},
		request: deleteRequest,
	},
	{
		name: "delete the connection with a candidate",
		prepare: func(m *testMount) *testLease {
			m.fake.SetKnobs(fakeopenai.Knobs{AdminKeyDelay: time.Hour})
			m.refused(502, nil, "write", "rotate-root/openai")
			m.do("delete", "roles/bot")
			return nil
		},
		request: deleteRequest,
	},
}

const secondKey = "sk-admin-operators-second-key-0002"

func rotateRequest(m *testMount, _ *testLease) *logical.Request {
	return m.request(logical.UpdateOperation, "rotate-root/openai", nil)
}

func deleteRequest(m *testMount, _ *testLease) *logical.Request {
	return m.request(logical.DeleteOperation, "config/openai", nil)
}

func sweepRequest(m *testMount, _ *testLease) *logical.Request {
	req := logical.RollbackRequest("")
	req.Storage = m.storage
	return req
}

// runAdmin makes the move under the armed fault, mends everything, and asserts the
// invariants until it is quiet.
func (c *matrixCase) runAdmin(deposed bool) {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, c.move.request(c.testMount, nil))
	c.storage.heal()
	c.fake.ClearFaults()
	c.fake.SetKnobs(fakeopenai.Knobs{})
	c.checkError(resp, err)
	if c.crashed.Load() || deposed {
		c.engine = nil
		c.restart()
	}
	for quiet := c.pause + 25*time.Minute; quiet > 0; quiet -= time.Minute {
		c.assertAdmins()
		c.sweepFor(time.Minute)
	}
	c.assertQuiet()
	c.useAgain()
}

// config is the stored connection; nil if it is gone.
func (c *matrixCase) config() *configEntry {
	c.t.Helper()
	e, err := loadConfig(c.t.Context(), c.storage.Storage, "openai")
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

// ours are the admin keys that rotations made and that exist.
func (c *matrixCase) ours() []fakeopenai.AdminKey {
	var live []fakeopenai.AdminKey
	for _, a := range c.fake.AdminKeys() {
		if !a.Deleted && strings.HasPrefix(a.Name, namePrefix) {
			live = append(live, a)
		}
	}
	return live
}

// assertAdmins asserts I1 and I4.
func (c *matrixCase) assertAdmins() {
	c.t.Helper()
	known := map[string]bool{}
	for _, rec := range c.adminRecords() {
		known[rec.KeyID] = true
		if rec.State == pending {
			known[rec.Name] = true
		}
	}
	for _, a := range c.ours() {
		if !known[a.ID] && !known[a.Name] {
			c.t.Fatalf("I1: admin key %s (%s) lives and is not in the ledger\n%s", a.ID, a.Name, c.log)
		}
	}
	if e := c.config(); e != nil && !c.fake.AdminAlive(e.AdminKey) {
		c.t.Fatalf("I4: the admin key in use is dead\n%s", c.log)
	}
}

// assertQuiet asserts what holds when nothing is left to be done.
func (c *matrixCase) assertQuiet() {
	c.t.Helper()
	e := c.config()
	if e == nil {
		for range 40 { // until an admin key that is refused counts as gone
			c.advance(time.Hour)
			c.sweep()
		}
	}
	ours := c.ours()
	want := 0
	if e != nil && e.AdminMinted {
		want = 1
	}
	if len(ours) != want {
		c.t.Fatalf("admin keys of ours: %v, want %d\n%s", ours, want, c.log)
	}
	if e == nil {
		if left := c.adminRecords(); len(left) > 0 {
			c.t.Errorf("records of admin keys without a connection: %+v\n%s", left, c.log)
		}
		return
	}
	if e.Candidate != nil {
		c.t.Errorf("a candidate is left\n%s", c.log)
	}
	if recs := c.adminRecords(); len(recs) != 1 || recs[0].ID != e.AdminRecord || recs[0].KeyID != e.AdminKeyID || recs[0].State != active {
		c.t.Errorf("records of admin keys: %+v, want only that of %s\n%s", recs, e.AdminKeyID, c.log)
	}
	replaced := e.AdminMinted || len(e.Retired) > 0
	if c.operatorAlive() == replaced {
		c.t.Errorf("the operator's key is alive: %v, replaced by a rotation: %v\n%s", c.operatorAlive(), replaced, c.log)
	}
	if second := c.fake.AdminKeys(); len(second) > 2 && second[2].Secret == secondKey && second[2].Deleted {
		c.t.Error("the operator's second key was deleted")
	}
}

// useAgain rotates and issues as if nothing had been.
func (c *matrixCase) useAgain() {
	c.t.Helper()
	if c.config() == nil {
		return
	}
	c.do("create", "roles/bot", "config_name", "openai", "project_id", "proj_demo")
	c.do("write", "rotate-root/openai")
	c.wantAdminWorks()
	c.sweepFor(15 * time.Minute)
	if got := c.ours(); len(got) != 1 {
		c.t.Fatalf("after one more rotation, admin keys of ours: %v\n%s", got, c.log)
	}
	c.assertAdmins()
	c.do("write", "config/openai", "rotation_period", 0)
	c.advance(25 * time.Hour) // past the minute of every stale hint
	c.sweep()
	for _, key := range c.stored(duePrefix) {
		if strings.Contains(key, mark+mark) {
			c.t.Errorf("the time index still holds %s", key)
		}
	}
}

// trialFaults are those that the calls of a trial meet here, one for each thing that
// may come of it: all of them are in the conformance suite of providers.
var trialFaults = []string{
	"dropped before", "hangs after", "429 for ten minutes", "caller gone after", "crash before",
	"401 before", "403 before", "404 before", "500 before", "answer: " + string(fakeopenai.Corruptions()[0]),
}

// trialFrom is where in a move's calls the trial of a new admin key begins.
func trialFrom(move matrixMove, calls []fakeopenai.Op) int {
	made := slices.Index(calls, fakeopenai.OpCreateAdminKey)
	switch {
	case move.name == "finish a rotation":
		return 0
	case made < 0:
		return len(calls)
	}
	return made + 1
}

func newAdminCase(m *testMount, move matrixMove) *matrixCase {
	c := newMatrixCase(m, move)
	move.prepare(m)
	return c
}

func TestFaultMatrixOfAdminKeysStorage(t *testing.T) {
	faults := []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore, deposedBefore}
	for _, move := range adminMoves {
		ops, _ := traceMove(t, move)
		if len(ops) == 0 {
			t.Fatalf("%s does nothing with the storage", move.name)
		}
		for _, op := range ops {
			for _, fault := range faults {
				t.Run(fmt.Sprintf("%s/%s/%s", move.name, op, fault), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newAdminCase(m, move)
						c.spoil(op, fault)
						c.runAdmin(fault == deposedBefore)
					})
				})
			}
		}
	}
}

func TestFaultMatrixOfAdminKeysProvider(t *testing.T) {
	for _, move := range adminMoves {
		_, calls := traceMove(t, move)
		if len(calls) == 0 && move.name != "write the replaced key" {
			t.Fatalf("%s calls no provider", move.name)
		}
		trial := trialFrom(move, calls)
		for at, op := range calls {
			for _, fault := range callFaults() {
				if at >= trial && !slices.Contains(trialFaults, fault.name) {
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
							c := newAdminCase(m, move)
							f := fault.fault(c)
							f.Skip, f.Times = at, times
							c.pause = f.RetryAfter
							m.fake.Inject(f)
							c.runAdmin(false)
						})
					})
				}
			}
		}
	}
}
