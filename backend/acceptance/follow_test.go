package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file is the applications that share the key of a static role: what they need
// of a rotation is that the key which they hold works until they read again.

const (
	// followHold is how long a caller uses a key before it reads again.
	followHold = 200 * time.Millisecond
	// followPause is between two calls with it.
	followPause = 20 * time.Millisecond
)

// A following is callers of the data plane who follow a static role.
type following struct {
	*churn
	models string // the address that they call

	mu   sync.Mutex // guards keys
	keys map[string]bool
}

func (s *script) cmdFollow(ts *testscript.TestScript, args []string) error {
	const form = "follow CALLERS PATH N WRITE_PATH [FIELD=VALUE]..., after vaultd start"
	if len(args) < 4 {
		return usage(form)
	}
	fields := map[string]any{}
	for _, arg := range args[4:] {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return usage(form)
		}
		fields[name] = value
	}
	c, writes, err := s.newChurn(ts, form, args)
	if err != nil {
		return err
	}
	f := &following{churn: c, models: ts.Getenv("FAKE_URL") + "/models", keys: map[string]bool{}}
	c.round = f.use
	ctx, cancel := context.WithTimeout(context.Background(), churnTime)
	defer cancel()
	started := time.Now()
	err = c.run(ctx, writes, args[3], fields)
	ts.Logf("%d reads of %d keys in %.1fs, with %d writes of %s", c.total(), len(f.keys), time.Since(started).Seconds(), writes, args[3])
	if err == nil && len(f.keys) <= writes {
		return unmetf("follow: the callers have seen %d keys, want %d", len(f.keys), writes+1)
	}
	return err
}

// use reads the key, and calls the data plane with it for a while.
func (f *following) use(ctx context.Context) error {
	answer, err := f.client.Logical().ReadWithContext(ctx, f.path)
	if err != nil {
		return err
	}
	if answer == nil || answer.LeaseID != "" {
		return errors.New("no answer, or one with a lease")
	}
	key, _ := answer.Data["api_key"].(string)
	f.mu.Lock()
	f.keys[key] = true
	f.mu.Unlock()
	for until := time.Now().Add(followHold); time.Now().Before(until); time.Sleep(followPause) {
		if err := f.call(ctx, key); err != nil {
			return fmt.Errorf("key %v: %w", answer.Data["key_id"], err)
		}
	}
	return nil
}

func (f *following) call(ctx context.Context, key string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.models, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = unmetf("the data plane answers %d", resp.StatusCode)
	}
	return errors.Join(err, resp.Body.Close())
}
