package backend

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// The fault matrix of a kill: suspend team/ with revoke=true, over two roles with
// three keys, beside a key that must live on. Whatever fails: a key that is said to
// be revoked is dead; once the kill is stored or has been answered, all die within
// minutes; nothing else does.

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
}

func newKillCase(m *testMount) *killCase {
	c := &killCase{matrixCase: newMatrixCase(m, killMove)}
	for _, role := range []string{"team/a", "team/b"} {
		m.do("create", "roles/"+role, "config_name", "openai", "project_id", "proj_demo", "ttl", int(matrixTTL.Seconds()))
	}
	for _, path := range []string{"creds/team/a", "creds/team/b", "creds/team/b"} {
		c.doomed = append(c.doomed, m.lease(path))
	}
	c.other = m.lease("creds/bot")
	m.advance(2 * time.Minute)
	return c
}

func (c *killCase) live() int {
	n := 0
	for _, l := range c.doomed {
		if c.fake.Alive(l.key()) {
			n++
		}
	}
	return n
}

// run kills under the armed fault, mends everything, and asserts what must hold.
func (c *killCase) run() {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, killRequest(c.testMount))
	c.storage.heal()
	c.fake.ClearFaults()
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
	stored := len(c.stored(orderPrefix)) > 0 || c.live() < len(c.doomed)
	c.sweepFor(c.pause + 4*time.Minute)
	if n := c.live(); n > 0 && (answered || stored) {
		c.t.Fatalf("answered %v, stored %v: %d keys live\n%s", answered, stored, n, c.log)
	}
	if c.pause == 0 {
		c.wantAlive(c.other.key(), true)
		c.other.revoke()
	}
	c.sweepFor(matrixTTL + matrixGrace + 2*time.Minute)
	c.wantLive(0)
	c.wantRecords(0)
	if left := c.stored(orderPrefix); len(left) > 0 {
		c.t.Errorf("orders left: %v", left)
	}
	c.assertIndexEmpty()
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
}

// traceKill returns what a kill without a fault does.
func traceKill(t *testing.T) (ops []opID, calls []fakeopenai.Op) {
	bubble(t, func(m *testMount) {
		c := newKillCase(m)
		m.fake.ResetRequests()
		m.storage.spoil(noOp, 0, nil)
		if _, err := m.b.HandleRequest(c.ctx, killRequest(m)); err != nil {
			m.t.Fatal(err)
		}
		ops = m.storage.heal()
		for _, req := range m.fake.Requests() {
			calls = append(calls, req.Op)
		}
		c.cancel()
		if len(calls) != len(c.doomed) {
			m.t.Fatalf("calls: %v, want one for each key", calls)
		}
	})
	return ops, calls
}

func TestFaultMatrixOfAKillStorage(t *testing.T) {
	ops, _ := traceKill(t)
	for _, op := range ops {
		for _, fault := range []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore} {
			t.Run(fmt.Sprintf("%s/%s", op, fault), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(m *testMount) {
					c := newKillCase(m)
					m.storage.spoil(op, fault, func() {
						switch fault {
						case crashBefore, crashAfter:
							c.crashed.Store(true)
						case cancelBefore:
							c.cancel()
						}
					})
					c.run()
				})
			})
		}
	}
}

func TestFaultMatrixOfAKillProvider(t *testing.T) {
	_, calls := traceKill(t)
	for at, op := range calls {
		for _, fault := range callFaults() {
			for _, times := range []int{1, 0} {
				name := fmt.Sprintf("%d %s/%s", at, op, fault.name)
				if times == 0 {
					name += ", and on"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					bubble(t, func(m *testMount) {
						c := newKillCase(m)
						f := fault.fault(c.matrixCase)
						f.Skip, f.Times = at, times
						c.pause = f.RetryAfter
						m.fake.Inject(f)
						c.run()
					})
				})
			}
		}
	}
}
