package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider/fake"
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

// adminMoves are the moves of a provider's admin keys.
func adminMoves(sh shape) []matrixMove {
	moves := []matrixMove{
		{
			name:    "first rotation",
			prepare: func(*testMount) *testLease { return nil },
			request: rotateRequest(sh),
		},
		{
			name:    "rotation",
			prepare: rotatedRoot(sh, func(m *testMount) { m.sweepFor(7 * time.Minute) }),
			request: rotateRequest(sh),
		},
		{
			name:    "delete the replaced key",
			prepare: rotatedRoot(sh, func(m *testMount) { m.advance(6 * time.Minute) }),
			request: sweepRequest,
		},
		{
			name: "scheduled rotation",
			prepare: func(m *testMount) *testLease {
				m.do("write", "config/"+sh.name, "rotation_period", "24h")
				m.sweepFor(time.Minute)
				m.advance(24 * time.Hour)
				return nil
			},
			request: sweepRequest,
		},
		{
			name:    "delete the connection",
			prepare: rotatedRoot(sh, func(m *testMount) { m.do("delete", "roles/bot") }),
			request: deleteRequest(sh),
		},
		{
			name:    "finish a rotation",
			prepare: delayedRoot(sh, 90*time.Second, func(m *testMount) { m.advance(90 * time.Second) }),
			request: sweepRequest,
		},
		{
			name:    "delete the connection with a candidate",
			prepare: delayedRoot(sh, time.Hour, func(m *testMount) { m.do("delete", "roles/bot") }),
			request: deleteRequest(sh),
		},
	}
	if sh.name == openAIShape.name {
		moves = append(moves, openAIAdminMoves...)
	}
	return moves
}

// openAIAdminMoves are those of admin keys that operators write, which the engine
// treats alike everywhere.
var openAIAdminMoves = []matrixMove{
	{
		name: "write a new key",
		prepare: rotatedRoot(openAIShape, func(m *testMount) {
			m.sweepFor(7 * time.Minute)
			m.fake.PlantAdminKey("operator's second", secondKey)
		}),
		request: func(m *testMount, _ *testLease) *logical.Request {
			return m.request(logical.UpdateOperation, "config/openai", map[string]any{"admin_key": secondKey})
		},
	},
	{
		name:    "write the replaced key",
		prepare: rotatedRoot(openAIShape, func(m *testMount) { m.sweepFor(7 * time.Minute) }),
		request: func(m *testMount, _ *testLease) *logical.Request {
			return m.request(logical.UpdateOperation, "config/openai", map[string]any{"admin_key": m.fake.AdminKey(), "verify": false})
		},
	},
}

const secondKey = "sk-admin-operators-second-key-0002"

// rotatedRoot rotates, and then does the rest.
func rotatedRoot(sh shape, then func(m *testMount)) func(*testMount) *testLease {
	return func(m *testMount) *testLease {
		m.do("write", "rotate-root/"+sh.name)
		then(m)
		return nil
	}
}

// delayedRoot rotates to a key that is not known everywhere for so long, and then does
// the rest.
func delayedRoot(sh shape, delay time.Duration, then func(m *testMount)) func(*testMount) *testLease {
	return func(m *testMount) *testLease {
		sh.rotates.delay(m.sim(sh), delay)
		m.refused(502, []string{"the new admin key does not work yet"}, "write", "rotate-root/"+sh.name)
		then(m)
		m.sim(sh).ClearFaults()
		return nil
	}
}

func rotateRequest(sh shape) func(*testMount, *testLease) *logical.Request {
	return func(m *testMount, _ *testLease) *logical.Request {
		return m.request(logical.UpdateOperation, "rotate-root/"+sh.name, nil)
	}
}

func deleteRequest(sh shape) func(*testMount, *testLease) *logical.Request {
	return func(m *testMount, _ *testLease) *logical.Request {
		return m.request(logical.DeleteOperation, "config/"+sh.name, nil)
	}
}

func sweepRequest(m *testMount, _ *testLease) *logical.Request {
	req := logical.RollbackRequest("")
	req.Storage = m.storage
	return req
}

// An adminCase is one move with one fault.
type adminCase struct {
	*matrixCase
	first string // the admin key of the operator, as it was stored
}

func newAdminCase(m *testMount, sh shape, move matrixMove) *adminCase {
	c := &adminCase{matrixCase: newShapeCase(m, sh, move)}
	if sh.rotates.ready != nil {
		sh.rotates.ready(m)
	}
	if rule := m.do("read", "roles/bot").Data["federation_rule_id"]; rule != nil { // what ready has added
		c.role = append(c.role, "federation_rule_id", rule)
	}
	c.first = c.config().AdminKey
	move.prepare(m)
	return c
}

// run makes the move under the armed fault, mends everything, and asserts the
// invariants until it is quiet.
func (c *adminCase) run(deposed bool) {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, c.move.request(c.testMount, nil))
	c.storage.heal()
	c.sim.ClearFaults()
	c.fake.SetKnobs(fakeopenai.Knobs{})
	c.checkError(resp, err)
	if c.crashed.Load() || deposed {
		c.engine = nil
		c.restart()
	}
	mended := c.clock.now()
	for quiet := c.pause + 25*time.Minute; quiet > 0; quiet -= time.Minute {
		c.assertAdmins()
		if c.clock.now().Sub(mended) >= c.pause {
			c.assertMints()
		}
		c.sweepFor(time.Minute)
	}
	c.assertQuiet()
	c.useAgain()
}

// config is the stored connection; nil if it is gone.
func (c *adminCase) config() *configEntry {
	c.t.Helper()
	e, err := loadConfig(c.t.Context(), c.storage.Storage, c.shape.name)
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

// ours are the admin keys that rotations made and that exist.
func (c *adminCase) ours() []simKey { return c.shape.rotates.ours(c.sim) }

// assertAdmins asserts I1 and I4.
func (c *adminCase) assertAdmins() {
	c.t.Helper()
	known := map[string]bool{}
	for _, rec := range c.adminRecords() {
		known[rec.KeyID] = true
		if rec.State == pending {
			known[rec.Name] = true
		}
	}
	for _, a := range c.ours() {
		if !known[a.id] && !known[a.name] {
			c.t.Fatalf("I1: admin key %s (%s) lives and is not in the ledger\n%s", a.id, a.name, c.log)
		}
	}
	if e := c.config(); e != nil && !c.shape.rotates.alive(c.sim, e.AdminKey) {
		c.t.Fatalf("I4: the admin key in use is dead\n%s", c.log)
	}
}

// assertMints asserts that what the admin key signs is accepted, which for tokens is
// all that it is for.
func (c *adminCase) assertMints() {
	c.t.Helper()
	if !c.shape.tokens || c.config() == nil {
		return
	}
	if role, err := c.try("read", "roles/bot"); err != nil || role == nil {
		return
	}
	l := c.lease("creds/bot")
	c.wantLives(l, true)
	l.revoke()
}

// assertQuiet asserts what holds when nothing is left to be done.
func (c *adminCase) assertQuiet() {
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
	if alive := c.shape.rotates.alive(c.sim, c.first); alive == replaced {
		c.t.Errorf("the operator's key is alive: %v, replaced by a rotation: %v\n%s", alive, replaced, c.log)
	}
	if second := c.fake.AdminKeys(); len(second) > 2 && second[2].Secret == secondKey && second[2].Deleted {
		c.t.Error("the operator's second key was deleted")
	}
}

// useAgain rotates and issues as if nothing had been.
func (c *adminCase) useAgain() {
	c.t.Helper()
	if c.config() == nil {
		return
	}
	c.do("create", "roles/bot", c.role...)
	c.do("write", "rotate-root/"+c.shape.name)
	c.assertAdmins()
	l := c.lease("creds/bot")
	c.wantLives(l, true)
	l.revoke()
	c.sweepFor(15 * time.Minute)
	if got := c.ours(); len(got) != 1 {
		c.t.Fatalf("after one more rotation, admin keys of ours: %v\n%s", got, c.log)
	}
	c.assertAdmins()
	c.do("write", "config/"+c.shape.name, "rotation_period", 0)
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
func trialFrom(sh shape, move matrixMove, calls []fake.Op) int {
	made := slices.Index(calls, sh.rotates.creates)
	switch {
	case move.name == "finish a rotation":
		return 0
	case made < 0:
		return len(calls)
	}
	return made + 1
}

// eachAdminMove calls test for each move at each provider that can replace its admin
// keys. All faults are for OpenAI: few says that it is another.
func eachAdminMove(test func(sh shape, move matrixMove, few bool)) {
	for _, sh := range shapes {
		if sh.rotates == nil {
			continue
		}
		for _, move := range adminMoves(sh) {
			test(sh, move, sh.name != openAIShape.name)
		}
	}
}

func traceAdmin(t *testing.T, sh shape, move matrixMove) (storageOps []opID, calls []fake.Op) {
	return traceCase(t, func(m *testMount) (*matrixCase, *logical.Request) {
		return newAdminCase(m, sh, move).matrixCase, move.request(m, nil)
	})
}

func TestFaultMatrixOfAdminKeysStorage(t *testing.T) {
	eachAdminMove(func(sh shape, move matrixMove, few bool) {
		faults := []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore, deposedBefore}
		if few {
			faults = append(fewStorageFaults, deposedBefore)
		}
		ops, _ := traceAdmin(t, sh, move)
		if len(ops) == 0 {
			t.Fatalf("%s: %s does nothing with the storage", sh.name, move.name)
		}
		for _, op := range ops {
			for _, fault := range faults {
				if few && reads(op) && (fault == failAfter || fault == crashAfter) {
					continue // a read has no effect
				}
				t.Run(fmt.Sprintf("%s/%s/%s/%s", sh.name, move.name, op, fault), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newAdminCase(m, sh, move)
						c.spoil(op, fault)
						c.run(fault == deposedBefore)
					})
				})
			}
		}
	})
}

func TestFaultMatrixOfAdminKeysProvider(t *testing.T) {
	eachAdminMove(func(sh shape, move matrixMove, few bool) {
		_, calls := traceAdmin(t, sh, move)
		if len(calls) == 0 && move.name != "write the replaced key" {
			t.Fatalf("%s: %s calls no provider", sh.name, move.name)
		}
		trial := trialFrom(sh, move, calls)
		for at, op := range calls {
			for _, fault := range callFaults() {
				if at >= trial && !slices.Contains(trialFaults, fault.name) || few && !slices.Contains(fewFaults, fault.name) {
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
							c := newAdminCase(m, sh, move)
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
