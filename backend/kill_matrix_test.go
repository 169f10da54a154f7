package backend

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// The fault matrix of a kill: suspend team/ with revoke=true, over two roles with
// three keys, beside a key that must live on. Whatever fails: a key that is said to
// be revoked is dead; once the kill is stored or has been answered, all die within
// minutes; nothing else does. Of tokens none is said to be revoked: they are marked,
// no call is made, and they end by themselves.

var killMove = matrixMove{
	name:    "kill",
	request: func(m *testMount, _ *testLease) *logical.Request { return killRequest(m) },
}

func killRequest(m *testMount) *logical.Request {
	return m.request(logical.UpdateOperation, "suspend/team", map[string]any{"subtree": true, "revoke": true})
}

// A killCase is one kill with one fault.
type killCase struct {
	*matrixCase
	doomed []*testLease
	other  *testLease
	calls  int // that the provider has had before
	free   int // keys of the pool that were free before
}

func newKillCase(m *testMount, sh shape) *killCase {
	c := &killCase{matrixCase: newShapeCase(m, sh, killMove)}
	for _, role := range []string{"team/a", "team/b"} {
		m.do("create", "roles/"+role, append(pairs{"config_name", sh.name, "ttl", int(matrixTTL.Seconds())}, sh.role(c.sim)...)...)
		if sh.ready != nil {
			sh.ready(m, c.sim, role)
		}
	}
	for _, path := range []string{"creds/team/a", "creds/team/b", "creds/team/b"} {
		c.doomed = append(c.doomed, m.lease(path))
	}
	c.other = m.lease("creds/bot")
	m.advance(2 * time.Minute)
	c.calls, c.free = len(c.sim.requests()), c.freeInPool()
	return c
}

// freeInPool is how many keys of a pool are free.
func (c *killCase) freeInPool() int {
	n := 0
	for _, key := range c.stored(poolPrefix) {
		if c.do("read", key).Data["state"] == string(poolFree) {
			n++
		}
	}
	return n
}

// poolRest is longer than a key of a pool rests.
const poolRest = 11 * time.Minute

func (c *killCase) live() int {
	n := 0
	for _, l := range c.doomed {
		if c.sim.Alive(l.secretOf(c.shape)) {
			n++
		}
	}
	return n
}

// spared is how many keys the kill has not reached: those that live, and of tokens
// those that are not marked.
func (c *killCase) spared() int {
	if !c.shape.tokens {
		return c.live()
	}
	n := 0
	for _, l := range c.doomed {
		if c.sim.Alive(l.secretOf(c.shape)) && c.stateOf(l) != revoking {
			n++
		}
	}
	return n
}

// stateOf is what the ledger says of a lease; empty if it has no record.
func (c *killCase) stateOf(l *testLease) state {
	for _, rec := range c.records() {
		if rec.ID == l.id() {
			return rec.State
		}
	}
	return ""
}

// run kills under the armed fault, mends everything, and asserts what must hold.
func (c *killCase) run() {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, killRequest(c.testMount))
	c.storage.heal()
	c.sim.ClearFaults()
	c.checkError(resp, err)
	answered := err == nil && !resp.IsError() && !c.crashed.Load()
	if answered {
		c.checkAnswer(resp.Data)
	}
	if c.crashed.Load() {
		c.engine = nil
		c.restart()
	}
	c.assertReachable()
	stored := len(c.stored(orderPrefix)) > 0 || c.spared() < len(c.doomed)
	killed := answered || stored
	c.sweepFor(c.pause + 4*time.Minute)
	c.assertReachable()
	if n := c.spared(); n > 0 && (answered || stored) {
		c.t.Fatalf("answered %v, stored %v: %d keys live\n%s", answered, stored, n, c.log)
	}
	if c.pause == 0 {
		c.wantLives(c.other, true)
		if got := c.stateOf(c.other); got != active {
			c.t.Fatalf("the key that must live on is %s\n%s", got, c.log)
		}
		c.other.revoke()
	}
	c.sweepFor(matrixTTL + matrixGrace + 2*time.Minute)
	c.wantNone()
	c.wantRecords(0)
	if left := c.stored(orderPrefix); len(left) > 0 {
		c.t.Errorf("orders left: %v", left)
	}
	c.assertIndexEmpty()
	c.advance(poolRest)
	c.assertPoolAfter(killed)
	if calls := len(c.sim.requests()) - c.calls; c.shape.tokens && calls > 0 {
		c.t.Errorf("%d calls were made about tokens", calls)
	}
}

// assertPoolAfter asserts that no key of a killed lease is ever handed out again, and
// that the other is. Of a kill that was cut short nothing may have been stored.
func (c *killCase) assertPoolAfter(killed bool) {
	c.t.Helper()
	doomed := map[string]bool{}
	for _, l := range c.doomed {
		doomed[fmt.Sprint(l.data["key_id"])] = true
	}
	for _, key := range c.stored(poolPrefix) {
		data := c.do("read", key).Data
		want := poolFree
		if doomed[fmt.Sprint(data["key_id"])] {
			want = poolRetired
			if !killed && data["state"] == string(poolFree) {
				continue
			}
		}
		if data["state"] != string(want) {
			c.t.Errorf("the pool has %v, want it %s", data, want)
		}
	}
}

// checkAnswer asserts that the numbers of an answer add up and are true.
func (c *killCase) checkAnswer(data map[string]any) {
	revoked, queued := data["revoked"].(int), data["queued"].(int)
	failed := len(data["failed"].([]map[string]any))
	if revoked+queued+failed != len(c.doomed) {
		c.t.Errorf("the numbers do not add up: %v", data)
	}
	if alive := c.live(); alive > queued+failed {
		c.t.Errorf("%d keys are alive: %v", alive, data)
	}
	if free := c.freeInPool(); free != c.free {
		c.t.Errorf("%d keys of the pool are free right after, want %d as before: %v", free, c.free, data)
	}
	if c.shape.tokens && revoked > 0 {
		c.t.Errorf("tokens are said to be revoked: %v", data)
	}
	if n := c.spared(); c.shape.tokens && failed == 0 && queued == len(c.doomed) && n > 0 && len(c.stored(orderPrefix)) == 0 {
		c.t.Errorf("%d tokens are not marked, and no order is left: %v", n, data)
	}
}

// traceKill returns what a kill without a fault does.
func traceKill(t *testing.T, sh shape) (ops []opID, calls []fake.Op) {
	want := 0
	ops, calls = traceCase(t, func(m *testMount) (*matrixCase, *logical.Request) {
		c := newKillCase(m, sh)
		if !sh.tokens {
			want = len(c.doomed) * max(1, sh.deletion)
		}
		return c.matrixCase, killRequest(m)
	})
	if len(calls) != want {
		t.Fatalf("calls: %v, want %d: those of a deletion for each key, and none for tokens", calls, want)
	}
	return ops, calls
}

func TestFaultMatrixOfAKillStorage(t *testing.T) {
	for _, sh := range shapes {
		ops, _ := traceKill(t, sh)
		for _, op := range ops {
			for _, fault := range []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore} {
				t.Run(fmt.Sprintf("%s/%s/%s", sh.name, op, fault), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newKillCase(m, sh)
						c.spoil(op, fault)
						c.run()
					})
				})
			}
		}
	}
}

func TestFaultMatrixOfAKillProvider(t *testing.T) {
	for _, sh := range shapes {
		_, calls := traceKill(t, sh)
		for at, op := range calls {
			for _, fault := range callFaults() {
				for _, times := range []int{1, 0} {
					name := fmt.Sprintf("%s/%d %s/%s", sh.name, at, op, fault.name)
					if times == 0 {
						name += ", and on"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						bubble(t, func(m *testMount) {
							c := newKillCase(m, sh)
							f := fault.fault(c.matrixCase)
							f.Skip, f.Times = at, times
							c.pause = f.RetryAfter
							c.sim.Inject(f)
							c.run()
						})
					})
				}
			}
		}
	}
}
