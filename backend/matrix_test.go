package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// The fault matrix: every storage operation and every call of a provider in
// every move of a lease fails in every way, once and for a while. Then the
// provider and the storage work again, sweeps run, and the invariants must hold:
//
//	I1  every live key at the provider is reachable from the ledger
//	I2  no key lives past its lease's end + grace + one sweep
//	I3  a lease that Vault holds works until its end
//	I5  no secret is in a log, an error or a URL (asserted for every mount)

const (
	matrixTTL   = 10 * time.Minute
	matrixGrace = minExpiryGrace
)

// A matrixMove is a move, and what must be before it.
type matrixMove struct {
	name string
	// prepare leaves the mount just before the move; its lease is nil for issue.
	prepare func(m *testMount) *testLease
	request func(m *testMount, l *testLease) *logical.Request
}

var matrixMoves = []matrixMove{
	{
		name:    "first issue",
		prepare: func(*testMount) *testLease { return nil },
		request: issueRequest,
	},
	{
		name:    "issue",
		prepare: func(m *testMount) *testLease { m.lease("creds/bot").revoke(); return nil },
		request: issueRequest,
	},
	{
		name: "renew",
		prepare: func(m *testMount) *testLease {
			l := m.lease("creds/bot")
			m.advance(matrixTTL / 2)
			return l
		},
		request: func(_ *testMount, l *testLease) *logical.Request { return l.request(logical.RenewOperation) },
	},
	{
		name: "revoke",
		prepare: func(m *testMount) *testLease {
			l := m.lease("creds/bot")
			m.advance(matrixTTL / 2)
			return l
		},
		request: func(_ *testMount, l *testLease) *logical.Request { return l.request(logical.RevokeOperation) },
	},
}

func issueRequest(m *testMount, _ *testLease) *logical.Request {
	return m.request(logical.ReadOperation, "creds/bot", nil)
}

// A crashable transport ends with its process.
type crashable struct {
	base http.RoundTripper
	dead *atomic.Bool
}

func (c crashable) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.dead.Load() {
		return nil, errors.New("the process has crashed")
	}
	return c.base.RoundTrip(req)
}

// A matrixCase is one move with one fault, in a bubble of its own.
type matrixCase struct {
	*testMount
	shape   shape
	sim     *sim
	role    pairs // the fields of the role bot
	move    matrixMove
	ctx     context.Context
	cancel  context.CancelFunc
	crashed *atomic.Bool
	pause   time.Duration // that the fault asks for
}

// newShapeCase is a case of a provider: a connection of its name, and the role bot.
func newShapeCase(m *testMount, sh shape, move matrixMove) *matrixCase {
	c := &matrixCase{testMount: m, shape: sh, sim: m.sim(sh), move: move, crashed: &atomic.Bool{}}
	m.engine.baseTransport = crashable{m.transport(), c.crashed}
	m.do("create", "config/"+sh.name, append(pairs{"provider", sh.name, "expiry_grace", int(matrixGrace.Seconds())}, sh.config(c.sim)...)...)
	c.role = append(pairs{"config_name", sh.name, "ttl", int(matrixTTL.Seconds())}, sh.role(c.sim)...)
	m.do("create", "roles/bot", c.role...)
	if sh.ready != nil {
		sh.ready(m, c.sim, "bot")
	}
	c.ctx, c.cancel = context.WithCancel(m.t.Context())
	return c
}

// crash ends the process: nothing that it does from now on has any effect.
func (c *matrixCase) crash() {
	c.storage.kill()
	c.crashed.Store(true)
}

// spoil arms a fault of the storage.
func (c *matrixCase) spoil(op opID, fault storageFault) {
	c.storage.spoil(op, fault, func() {
		switch fault {
		case crashBefore, crashAfter:
			c.crashed.Store(true)
		case cancelBefore:
			c.cancel()
		}
	})
}

// run makes the move under the armed fault, mends everything, and asserts the
// invariants to the end of the key's life.
func (c *matrixCase) run(l *testLease) {
	defer c.cancel()
	resp, err := c.b.HandleRequest(c.ctx, c.move.request(c.testMount, l))
	c.storage.heal()
	c.sim.ClearFaults()
	c.checkError(resp, err)

	lost := c.crashed.Load() || c.ctx.Err() != nil // Vault never saw the answer
	if c.crashed.Load() {
		c.engine = nil
		c.restart()
	}
	c.assertReachable()
	c.liveOn(c.holder(l, resp, err, lost))
}

func (c *matrixCase) checkError(resp *logical.Response, err error) {
	if err != nil {
		c.checkText("error", err.Error())
	} else if resp.IsError() {
		c.checkText("error", resp.Error().Error())
	}
}

// holder returns the lease that Vault holds after the move; nil if none.
func (c *matrixCase) holder(l *testLease, resp *logical.Response, err error, lost bool) *testLease {
	failed := err != nil || resp.IsError()
	switch c.move.name {
	case "revoke":
		if failed || lost {
			return nil // Vault tries again; the sweep must do without
		}
		c.wantLives(l, c.shape.tokens)
		return nil
	case "renew":
		if !failed && !lost {
			l.apply(resp.Secret, 0)
		}
		return l
	}
	if failed || lost {
		return nil
	}
	return c.keep("creds/bot", resp)
}

// liveOn lets time pass with sweeps. A lease that is held works until its end;
// then Vault revokes it. After the grace and a sweep nothing is left.
func (c *matrixCase) liveOn(l *testLease) {
	if l != nil {
		c.wantLives(l, true)
		c.sweepUntil(l.end.Add(-time.Second))
		c.wantLives(l, true)
		c.sweepUntil(l.end)
		if err := l.tryRevoke(); err != nil && c.pause == 0 {
			c.t.Fatalf("revoke: %v", err)
		}
	}
	for limit := c.limit(); limit > 0; limit -= time.Minute {
		c.assertReachable()
		c.sweepFor(time.Minute)
	}
	c.wantNone()
	c.sweepFor(max(pendingAge(), matrixTTL+matrixGrace)) // to the minute of every stale hint
	c.wantRecords(0)
	if left := c.stored(duePrefix); len(left) > 0 {
		c.t.Errorf("the time index still holds %v", left)
	}
	c.assertIndexEmpty()
	c.assertPool(poolFree)
}

// assertPool asserts that all keys of a pool are in one of some states: none is lost to
// those who come next.
func (c *matrixCase) assertPool(states ...poolState) {
	c.t.Helper()
	for _, key := range c.stored(poolPrefix) {
		data := c.do("read", key).Data
		if !slices.Contains(states, poolState(data["state"].(string))) {
			c.t.Errorf("the pool has %v", data)
		}
	}
}

// assertIndexEmpty asserts that nothing leads to a role's record any more. A crash
// may leave a few entries.
func (c *matrixCase) assertIndexEmpty() {
	c.t.Helper()
	var left []string
	for _, key := range c.stored(indexPrefix) {
		if !strings.Contains(key, mark+mark) {
			left = append(left, key)
		}
	}
	if len(left) > 3 || len(left) > 0 && !c.crashed.Load() {
		c.t.Errorf("the index still holds %v", left)
	}
}

// limit is how long a key may still live: what is marked for deletion, a few
// minutes; else to the end of its lease and the grace. A pause that the provider
// asked for comes on top.
func (c *matrixCase) limit() time.Duration {
	limit := c.pause + 4*time.Minute
	if c.shape.tokens { // they end by themselves
		return limit + matrixTTL + answerTime
	}
	for _, rec := range c.records() {
		if rec.State != revoking {
			return limit + matrixTTL + matrixGrace
		}
	}
	return limit
}

func (c *matrixCase) sweepUntil(end time.Time) {
	for left := end.Sub(c.clock.now()); left > 0; left = end.Sub(c.clock.now()) {
		c.sweepFor(min(left, time.Minute))
	}
}

// assertReachable asserts I1.
func (c *matrixCase) assertReachable() {
	c.t.Helper()
	known := map[string]bool{}
	for _, rec := range c.records() {
		known[rec.KeyID] = true
		if rec.State == pending {
			known[rec.Name] = true
		}
		if rec.Token {
			known[rec.ID] = true
		}
	}
	for _, key := range c.sim.live() {
		if !known[key.id] && !known[key.name] {
			c.t.Fatalf("I1: key %s (%s) lives and is not in the ledger\n%s", key.id, key.name, c.log)
		}
	}
}

// wantLives asserts whether the key of a lease works.
func (c *matrixCase) wantLives(l *testLease, want bool) {
	c.t.Helper()
	if got := c.sim.Alive(fmt.Sprint(l.data[c.shape.secret])); got != want {
		c.t.Fatalf("key is alive: got %v, want %v\n%s", got, want, c.log)
	}
}

// wantNone asserts that no key lives at the provider.
func (c *matrixCase) wantNone() {
	c.t.Helper()
	if got := c.sim.live(); len(got) > 0 {
		c.t.Fatalf("live keys: got %v, want none\n%s", got, c.log)
	}
}

// traceShape makes a move without a fault and returns what it does.
func traceShape(t *testing.T, sh shape, move matrixMove) (storageOps []opID, calls []fake.Op) {
	return traceCase(t, func(m *testMount) (*matrixCase, *logical.Request) {
		c := newShapeCase(m, sh, move)
		l := move.prepare(m)
		return c, move.request(m, l)
	})
}

// traceCase makes a request without a fault and returns what it does.
func traceCase(t *testing.T, begin func(m *testMount) (*matrixCase, *logical.Request)) (storageOps []opID, calls []fake.Op) {
	bubble(t, func(m *testMount) {
		c, req := begin(m)
		before := len(c.sim.requests())
		m.storage.spoil(noOp, 0, nil)
		if _, err := m.b.HandleRequest(c.ctx, req); err != nil {
			m.t.Fatal(err)
		}
		storageOps = m.storage.heal()
		for _, req := range c.sim.requests()[before:] {
			calls = append(calls, req.op)
		}
		c.cancel()
	})
	return storageOps, calls
}

func TestFaultMatrixStorage(t *testing.T) {
	faults := []storageFault{failBefore, failAfter, crashBefore, crashAfter, cancelBefore}
	eachMove(t, func(t *testing.T, sh shape, move matrixMove) {
		ops, _ := traceShape(t, sh, move)
		if len(ops) == 0 {
			t.Fatal("it does nothing with the storage")
		}
		for _, op := range ops {
			for _, fault := range faults {
				t.Run(fmt.Sprintf("%s/%s", op, fault), func(t *testing.T) {
					bubble(t, func(m *testMount) {
						c := newShapeCase(m, sh, move)
						l := move.prepare(m)
						c.spoil(op, fault)
						c.run(l)
					})
				})
			}
		}
	})
}

// eachMove runs a test for each move at each provider.
func eachMove(t *testing.T, test func(t *testing.T, sh shape, move matrixMove)) {
	for _, sh := range shapes {
		for _, move := range matrixMoves {
			if !sh.tokens || move.name != "renew" {
				t.Run(sh.name+"/"+move.name, func(t *testing.T) { test(t, sh, move) })
			}
		}
	}
}

// A callFault spoils the nth call of a move.
type callFault struct {
	name  string
	fault func(c *matrixCase) fakeopenai.Fault
}

func fixed(name string, fault fakeopenai.Fault) callFault {
	return callFault{name, func(*matrixCase) fakeopenai.Fault { return fault }}
}

func callFaults() []callFault {
	faults := []callFault{
		fixed("refused", fakeopenai.Fault{Refuse: true}),
		fixed("dropped before", fakeopenai.Fault{Drop: true}),
		fixed("dropped after", fakeopenai.Fault{Drop: true, AfterEffect: true}),
		fixed("hangs before", fakeopenai.Fault{Hang: fakeopenai.HangBefore}),
		fixed("hangs after", fakeopenai.Fault{Hang: fakeopenai.HangAfter}),
		fixed("hangs in the body", fakeopenai.Fault{Hang: fakeopenai.HangMidBody}),
		fixed("answers late", fakeopenai.Fault{LatencyAfter: 33 * time.Second}),
		fixed("redirected", fakeopenai.Fault{Redirect: true}),
		fixed("429 for a second", fakeopenai.Fault{Status: 429, RetryAfter: time.Second}),
		fixed("429 for ten minutes", fakeopenai.Fault{Status: 429, RetryAfter: 10 * time.Minute}),
		fixed("429 without a time", fakeopenai.Fault{Status: 429}),
		{"caller gone before", func(c *matrixCase) fakeopenai.Fault { return fakeopenai.Fault{Before: c.cancel} }},
		{"caller gone after", func(c *matrixCase) fakeopenai.Fault { return fakeopenai.Fault{After: c.cancel} }},
		{"crash before", func(c *matrixCase) fakeopenai.Fault { return fakeopenai.Fault{Before: c.crash, Status: 500} }},
		{"crash after", func(c *matrixCase) fakeopenai.Fault {
			return fakeopenai.Fault{After: c.crash, Drop: true, AfterEffect: true}
		}},
	}
	for _, status := range []int{400, 401, 403, 404, 408, 409, 500, 502, 503} {
		faults = append(faults, fixed(fmt.Sprintf("%d before", status), fakeopenai.Fault{Status: status}))
		if status >= 500 || status == 408 {
			faults = append(faults, fixed(fmt.Sprintf("%d after", status), fakeopenai.Fault{Status: status, AfterEffect: true}))
		}
	}
	for _, how := range fakeopenai.Corruptions() {
		faults = append(faults, fixed("answer: "+string(how), fakeopenai.Fault{Corrupt: how}))
	}
	return faults
}

// fewFaults are those that calls meet where all faults would say nothing new: one for
// each thing that may come of a call. The conformance suite of providers has them all.
var fewFaults = append([]string{"dropped after", "crash after"}, trialFaults...)

// fewStorageFaults are those that the storage meets where the engine does the same as
// elsewhere, which meets them all.
var fewStorageFaults = []storageFault{failAfter, crashBefore, crashAfter}

func TestFaultMatrixProvider(t *testing.T) {
	eachMove(t, func(t *testing.T, sh shape, move matrixMove) {
		_, calls := traceShape(t, sh, move)
		if len(calls) == 0 && !sh.silent(move) {
			t.Fatal("it calls no provider")
		}
		for at, op := range calls {
			for _, fault := range callFaults() {
				for _, times := range []int{1, 0} { // once, and for as long as the move lasts
					name := fmt.Sprintf("%d %s/%s", at, op, fault.name)
					if times == 0 {
						name += ", and on"
					}
					t.Run(name, func(t *testing.T) {
						bubble(t, func(m *testMount) {
							c := newShapeCase(m, sh, move)
							l := move.prepare(m)
							f := fault.fault(c)
							f.Skip, f.Times = at, times
							c.pause = f.RetryAfter
							c.sim.Inject(f)
							c.run(l)
						})
					})
				}
			}
		}
	})
}
