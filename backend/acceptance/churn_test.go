package acceptance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// churnTime bounds a churn.
const churnTime = 4 * time.Minute

// A churn is callers that do the same again and again without a pause: take a lease
// and give it back, unless round is another.
type churn struct {
	word   string // of the script
	client *api.Client
	path   string
	round  func(context.Context) error
	rounds []atomic.Int64 // of each caller
}

func (s *script) cmdChurn(ts *testscript.TestScript, args []string) error {
	const form = "churn CALLERS PATH N WRITE_PATH, after vaultd start"
	if len(args) != 4 {
		return usage(form)
	}
	c, writes, err := s.newChurn(ts, form, args)
	if err != nil {
		return err
	}
	c.round = c.lease
	ctx, cancel := context.WithTimeout(context.Background(), churnTime)
	defer cancel()
	started := time.Now()
	err = c.run(ctx, writes, args[3], nil)
	ts.Logf("%d leases in %.1fs, with %d writes of %s", c.total(), time.Since(started).Seconds(), writes, args[3])
	return err
}

// newChurn makes a churn without its round, of the arguments CALLERS PATH N.
func (s *script) newChurn(ts *testscript.TestScript, form string, args []string) (c *churn, writes int, err error) {
	if s.server == nil {
		return nil, 0, usage(form)
	}
	callers, err1 := strconv.Atoi(args[0])
	writes, err2 := strconv.Atoi(args[2])
	if errors.Join(err1, err2) != nil {
		return nil, 0, usage(form)
	}
	client, err := s.server.client.Clone()
	if err != nil {
		return nil, 0, err
	}
	client.SetToken(ts.Getenv("VAULT_TOKEN"))
	client.SetMaxRetries(0) // a failure that a retry hides is a failure
	word, _, _ := strings.Cut(form, " ")
	return &churn{word: word, client: client, path: args[1], rounds: make([]atomic.Int64, callers)}, writes, nil
}

func (c *churn) total() int64 {
	var n int64
	for i := range c.rounds {
		n += c.rounds[i].Load()
	}
	return n
}

// run returns all that failed.
func (c *churn) run(ctx context.Context, writes int, write string, fields map[string]any) error {
	stop := make(chan struct{})
	failures := make([]error, len(c.rounds))
	var wg sync.WaitGroup
	for i := range c.rounds {
		wg.Go(func() { failures[i] = c.caller(ctx, i, stop) })
	}
	err := c.write(ctx, writes, write, fields)
	close(stop)
	wg.Wait()
	for i := range c.rounds {
		if c.rounds[i].Load() == 0 {
			failures[i] = errors.Join(failures[i], errors.New(c.word+": a caller did nothing"))
		}
	}
	return errors.Join(append(failures, err)...)
}

// write writes a path so many times, each while the callers are at work. After each
// at least one round is begun and done before the next.
func (c *churn) write(ctx context.Context, times int, path string, fields map[string]any) error {
	for i := range times {
		if err := c.awaitRounds(ctx); err != nil {
			return err
		}
		if _, err := c.client.Logical().WriteWithContext(ctx, path, fields); err != nil {
			return fmt.Errorf("%s: write %d: %w", c.word, i+1, err)
		}
	}
	return c.awaitRounds(ctx)
}

// awaitRounds waits for one round more than can be under way.
func (c *churn) awaitRounds(ctx context.Context) error {
	for total := c.total() + int64(len(c.rounds)) + 1; c.total() < total; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: the callers make no way: %w", c.word, ctx.Err())
		}
	}
	return nil
}

// caller goes on after a failure, so that one does not hide another.
func (c *churn) caller(ctx context.Context, i int, stop <-chan struct{}) error {
	const most = 5
	var failures []error
	for len(failures) < most {
		select {
		case <-stop:
			return errors.Join(failures...)
		default:
		}
		if err := c.round(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: caller %d: %w", c.word, i, err))
			continue
		}
		c.rounds[i].Add(1)
	}
	return errors.Join(failures...)
}

func (c *churn) lease(ctx context.Context) error {
	lease, err := c.client.Logical().ReadWithContext(ctx, c.path)
	switch {
	case err != nil:
		return err
	case lease == nil || lease.LeaseID == "":
		return errors.New("an answer without a lease")
	}
	return c.client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: lease.LeaseID, Sync: true})
}
