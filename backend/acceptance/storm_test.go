package acceptance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

const (
	// stormOutage bounds one kill: a new leader, and the dead node back.
	stormOutage = 30 * time.Second
	// stormPatience is how long a caller waits for an answer.
	stormPatience = 30 * time.Second
	// stormBasket is how many leases a caller holds at most.
	stormBasket = 3
)

// A stormLease is a lease of which a caller of a storm has had the answer.
type stormLease struct {
	id, secret string
	fate       fate
}

// A fate is what a caller knows of a lease.
type fate string

const (
	held     fate = "held"
	returned fate = "returned" // Vault said that it is revoked
	unsure   fate = "unsure"   // a revoke had no answer, or failed
)

// A storm is callers that take, renew and give back leases without a pause, while
// the leader is killed again and again.
type storm struct {
	sv     *server
	client *api.Client
	path   string

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	leases   []*stormLease
	done     map[string]int // requests that succeeded, by what they were
	failed   map[string]int // and those that failed
	calm     time.Time      // when the leader took office; zero while it is being killed
	faults   []error        // failures without an excuse
	outages  []time.Duration
	messages map[string]int
}

func (s *script) cmdStorm(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 && len(args) != 4 || s.server == nil {
		return usage("storm CALLERS PATH KILLS [SEED], after vaultd start")
	}
	callers, err1 := strconv.Atoi(args[0])
	kills, err2 := strconv.Atoi(args[2])
	seed, err3 := rand.Uint64(), error(nil)
	if len(args) == 4 {
		seed, err3 = strconv.ParseUint(args[3], 10, 64)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return usage("storm: " + err.Error())
	}
	client, err := s.server.client.Clone()
	if err != nil {
		return err
	}
	client.SetToken(ts.Getenv("VAULT_TOKEN"))
	client.SetMaxRetries(0)
	st := &storm{
		sv: s.server, client: client, path: args[1],
		random: rand.New(rand.NewPCG(seed, 0)),
		done:   map[string]int{}, failed: map[string]int{}, messages: map[string]int{},
	}
	ts.Logf("seed %d", seed)
	started := time.Now()
	err = st.run(callers, kills)
	st.report(ts, time.Since(started))
	ts.Logf("deletions in vain: %d", s.sims[nameOpenAI].answered(fakeopenai.OpDeleteKey, "404"))
	s.stormed = st.leases
	return err
}

func (st *storm) report(ts *testscript.TestScript, took time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	fates := map[fate]int{}
	for _, l := range st.leases {
		fates[l.fate]++
	}
	ts.Logf("%.0fs; succeeded: %v; failed: %v; leases: %v", took.Seconds(), st.done, st.failed, fates)
	ts.Logf("%d kills; outages: %v", len(st.outages), st.outages)
	for _, message := range slices.Sorted(maps.Keys(st.messages)) {
		ts.Logf("%4d  %s", st.messages[message], message)
	}
}

// run returns all that failed without an excuse.
func (st *storm) run(callers, kills int) error {
	if err := st.settle(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(kills)*stormOutage)
	defer cancel()
	stop := make(chan struct{})
	rounds := make([]int, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { rounds[i] = st.caller(ctx, stop) })
	}
	err := st.chaos(ctx, kills)
	close(stop)
	wg.Wait()
	for i, n := range rounds {
		if n == 0 {
			err = errors.Join(err, fmt.Errorf("storm: caller %d did nothing", i))
		}
	}
	return errors.Join(append(st.faults, err)...)
}

// chaos kills the leader so many times, each while leases come and go, and starts
// it again.
func (st *storm) chaos(ctx context.Context, kills int) error {
	for i := range kills {
		if err := st.awaitWork(ctx); err != nil {
			return err
		}
		if err := st.kill(); err != nil {
			return fmt.Errorf("storm: kill %d: %w", i+1, err)
		}
	}
	return st.awaitWork(ctx)
}

// awaitWork waits until some leases were issued and revoked, and then for a moment
// that nobody can foresee.
func (st *storm) awaitWork(ctx context.Context) error {
	const some = 5
	begun := st.worked()
	for st.worked() < begun+some {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("storm: the callers make no way: %w", ctx.Err())
		}
	}
	time.Sleep(time.Duration(st.intN(1500)) * time.Millisecond)
	return nil
}

func (st *storm) worked() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.done["revoke"]
}

func (st *storm) intN(n int) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.random.IntN(n)
}

// kill kills the leader, more often than not with its plugin, and starts it again.
func (st *storm) kill() error {
	n, err := st.sv.active()
	if err != nil {
		return err
	}
	st.mu.Lock()
	st.calm = time.Time{}
	st.mu.Unlock()
	end := n.crash
	if st.intN(3) == 0 {
		end = n.kill
	}
	began := time.Now()
	if err := end(); err != nil {
		return err
	}
	back := make(chan error, 1)
	go func() { back <- n.again(st.sv.unsealKey, st.sv.alone()) }()
	_, err = st.sv.leader()
	st.mu.Lock()
	st.outages = append(st.outages, time.Since(began).Truncate(100*time.Millisecond))
	st.mu.Unlock()
	if err := errors.Join(<-back, err); err != nil {
		return err
	}
	return st.settle()
}

// settle notes who leads: from now on no request may fail, unless the leader
// changes.
func (st *storm) settle() error {
	return retried("the leader can be asked", func() error {
		leader, err := st.sv.client.Sys().Leader()
		if err != nil {
			return err
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		st.calm = leader.ActiveTime
		return nil
	})
}

func (st *storm) calmSince() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.calm
}

// caller returns how many rounds it has done.
func (st *storm) caller(ctx context.Context, stop <-chan struct{}) int {
	var basket []*stormLease
	for rounds := 0; ; rounds++ {
		select {
		case <-stop:
			return rounds
		case <-ctx.Done():
			return rounds
		default:
		}
		if l := st.issue(ctx); l != nil {
			basket = append(basket, l)
		}
		if len(basket) > 0 && st.intN(3) == 0 {
			st.renew(ctx, basket[st.intN(len(basket))])
		}
		if len(basket) > stormBasket {
			i := st.intN(len(basket))
			st.revoke(ctx, basket[i])
			basket = slices.Delete(basket, i, i+1)
		}
	}
}

// request does one request, and notes how it went. Nobody who calls while no node
// leads can expect an answer, or anyone to whom a leader's end is news.
func (st *storm) request(ctx context.Context, what string, do func(context.Context) error) error {
	before := st.calmSince()
	ctx, cancel := context.WithTimeout(ctx, stormPatience)
	defer cancel()
	err := do(ctx)
	if err == nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.done[what]++
		return nil
	}
	excused := before.IsZero() || before != st.calmSince() || st.leaderSince() != before
	st.mu.Lock()
	st.failed[what]++
	st.messages[brief(err)]++
	if !excused {
		st.faults = append(st.faults, unmetf("storm: %s, while one leader was in office all the time: %v", what, err))
	}
	st.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	return err
}

// leaderSince returns since when there is the present leader; zero if nobody can
// tell.
func (st *storm) leaderSince() time.Time {
	leader, err := st.sv.client.Sys().Leader()
	if err != nil {
		return time.Time{}
	}
	return leader.ActiveTime
}

// brief is the last line of an error, which tells its kind.
func brief(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	line := lines[len(lines)-1]
	return line[max(0, len(line)-160):]
}

func (st *storm) issue(ctx context.Context) *stormLease {
	var made *stormLease
	_ = st.request(ctx, "issue", func(ctx context.Context) error {
		answer, err := st.client.Logical().ReadWithContext(ctx, st.path)
		if err != nil {
			return err
		}
		if answer == nil || answer.LeaseID == "" {
			return errors.New("an answer without a lease")
		}
		secret, _ := answer.Data["api_key"].(string)
		made = &stormLease{id: answer.LeaseID, secret: secret, fate: held}
		return nil
	})
	if made != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.leases = append(st.leases, made)
	}
	return made
}

func (st *storm) renew(ctx context.Context, l *stormLease) {
	_ = st.request(ctx, "renew", func(ctx context.Context) error {
		_, err := st.client.Sys().RenewWithContext(ctx, l.id, 0)
		return err
	})
}

func (st *storm) revoke(ctx context.Context, l *stormLease) {
	l.fate = unsure
	err := st.request(ctx, "revoke", func(ctx context.Context) error {
		return st.client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: l.id, Sync: true})
	})
	if err == nil {
		l.fate = returned
	}
}

// kept reports a lease that its caller holds and that does not work, or that was
// given back and whose key does.
func (s *script) kept() error {
	for _, l := range s.stormed {
		alive := s.alive(l.secret)
		switch {
		case l.fate == held && !alive:
			return unmetf("the key of lease %s, which a caller holds, is dead", l.id)
		case l.fate == returned && alive:
			return unmetf("the key of lease %s, which was given back, is alive", l.id)
		case l.fate != held:
			continue
		}
		if _, err := s.server.client.Sys().Renew(l.id, 0); err != nil {
			return unmetf("lease %s, which a caller holds: %v", l.id, err)
		}
	}
	return nil
}

func (s *script) cmdKept(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 || len(s.stormed) == 0 {
		return usage("kept, after a storm that issued leases")
	}
	return s.kept()
}
