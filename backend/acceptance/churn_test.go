package acceptance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// churnTime bounds a churn.
const churnTime = 4 * time.Minute

// A churn is callers that take and give back leases without a pause.
type churn struct {
	client *api.Client
	path   string
	rounds []atomic.Int64 // of each caller
}

func (s *script) cmdChurn(ts *testscript.TestScript, args []string) error {
	if len(args) != 4 || s.server == nil {
		return usage("churn CALLERS PATH N WRITE_PATH, after vaultd start")
	}
	callers, err1 := strconv.Atoi(args[0])
	writes, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return usage("churn: " + err.Error())
	}
	client, err := s.server.client.Clone()
	if err != nil {
		return err
	}
	client.SetToken(ts.Getenv("VAULT_TOKEN"))
	client.SetMaxRetries(0) // a failure that a retry hides is a failure
	c := &churn{client: client, path: args[1], rounds: make([]atomic.Int64, callers)}
	ctx, cancel := context.WithTimeout(context.Background(), churnTime)
	defer cancel()
	started := time.Now()
	err = c.run(ctx, writes, args[3])
	ts.Logf("%d leases in %.1fs, with %d writes of %s", c.total(), time.Since(started).Seconds(), writes, args[3])
	return err
}

func (c *churn) total() int64 {
	var n int64
	for i := range c.rounds {
		n += c.rounds[i].Load()
	}
	return n
}

// run returns all that failed.
func (c *churn) run(ctx context.Context, writes int, write string) error {
	stop := make(chan struct{})
	failures := make([]error, len(c.rounds))
	var wg sync.WaitGroup
	for i := range c.rounds {
		wg.Go(func() { failures[i] = c.caller(ctx, i, stop) })
	}
	err := c.write(ctx, writes, write)
	close(stop)
	wg.Wait()
	for i := range c.rounds {
		if c.rounds[i].Load() == 0 {
			failures[i] = errors.Join(failures[i], errors.New("churn: a caller did nothing"))
		}
	}
	return errors.Join(append(failures, err)...)
}

// write writes a path so many times, each while leases come and go.
func (c *churn) write(ctx context.Context, times int, path string) error {
	for i := range times {
		if err := c.awaitRounds(ctx, c.total()+int64(len(c.rounds))); err != nil {
			return err
		}
		if _, err := c.client.Logical().WriteWithContext(ctx, path, nil); err != nil {
			return fmt.Errorf("churn: write %d: %w", i+1, err)
		}
	}
	return c.awaitRounds(ctx, c.total()+int64(len(c.rounds)))
}

func (c *churn) awaitRounds(ctx context.Context, total int64) error {
	for c.total() < total {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("churn: the callers make no way: %w", ctx.Err())
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
			failures = append(failures, fmt.Errorf("churn: caller %d: %w", i, err))
			continue
		}
		c.rounds[i].Add(1)
	}
	return errors.Join(failures...)
}

func (c *churn) round(ctx context.Context) error {
	lease, err := c.client.Logical().ReadWithContext(ctx, c.path)
	switch {
	case err != nil:
		return err
	case lease == nil || lease.LeaseID == "":
		return errors.New("an answer without a lease")
	}
	return c.client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: lease.LeaseID, Sync: true})
}
