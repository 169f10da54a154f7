package backend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file counts the records of the ledger for the metrics.
//
//   - The first time that anybody asks, all records are read. From then on each move of
//     a record is counted as it is made: only the node that serves this makes any.
//   - Without anybody asking, nothing is kept.
//   - A record whose write has failed is read again when somebody asks, and all are once
//     an hour: a write may take effect after its error.
//   - A record that cannot be read is counted as such, and hides no other.

// censusAge is how long a census holds.
const censusAge = time.Hour

// A census is the records of the ledger, as far as the metrics need them. The zero
// census is not taken.
type census struct {
	mu      sync.Mutex
	taken   time.Time // zero if it is not
	records map[pointer]counted
	// moved holds what was moved while records are read: that is newer than what is
	// read. Nil if none are.
	moved map[pointer]bool
	// doubtful holds what is to be read again.
	doubtful map[pointer]bool
	// unread is how many records could not be read.
	unread int
}

// A counted record is one of a census.
type counted struct {
	provider, role string
	kind           kind
	state          state
	since          time.Time // from when on it should move on; zero if it need not
}

// overdueSince is from when on a record should move on: a pending one at once, and one
// whose key is to be deleted as soon as nobody may use it any more. Zero for all
// others.
func (r record) overdueSince() time.Time {
	if r.State == pending && !r.Token {
		return r.CreatedAt
	}
	if r.State == revoking { // those of before there was OwedSince have a next try
		return cmp.Or(r.OwedSince, r.Due, r.CreatedAt)
	}
	return time.Time{}
}

func (r record) counted() counted {
	return counted{provider: r.Provider, role: r.Role, kind: r.Kind, state: r.State, since: r.overdueSince()}
}

// noted counts a record as it is stored now.
func (c *census) noted(rec record) {
	c.change(rec.pointer(), func() { c.records[rec.pointer()] = rec.counted() })
}

// dropped counts a record as gone.
func (c *census) dropped(p pointer) {
	c.change(p, func() { delete(c.records, p) })
}

// unknown notes that it is not known how a record is stored.
func (c *census) unknown(p pointer) {
	c.change(p, func() { c.doubtful[p] = true })
}

func (c *census) change(p pointer, how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		return
	}
	if c.moved != nil {
		c.moved[p] = true
	}
	how()
}

// forget makes the next one who asks read all records.
func (c *census) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken, c.records, c.moved, c.doubtful, c.unread = time.Time{}, nil, nil, nil, 0
}

// begin says what is to be read: all records, or only some. One who begins calls end.
func (c *census) begin(now time.Time) (all bool, some []pointer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken.IsZero() || now.Before(c.taken) || now.Sub(c.taken) >= censusAge {
		c.records, c.doubtful, c.unread = map[pointer]counted{}, map[pointer]bool{}, 0
		all = true
	}
	some = slices.Collect(maps.Keys(c.doubtful))
	clear(c.doubtful)
	c.moved = map[pointer]bool{}
	return all, some
}

// read counts a record that was read, nil if it is not stored, unless it was moved
// meanwhile.
func (c *census) read(p pointer, rec *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.moved == nil || c.moved[p]:
	case rec == nil:
		delete(c.records, p)
	default:
		c.records[p] = rec.counted()
	}
}

// notRead counts a record that cannot be read.
func (c *census) notRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unread++
}

// end notes that what was to be read is. It reports false if all was forgotten
// meanwhile.
func (c *census) end(all bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved == nil {
		return false
	}
	c.moved = nil
	if all {
		c.taken = now
	}
	return true
}

// visit calls do with every record, and returns how many could not be read. It reports
// false if the census is not taken.
func (c *census) visit(do func(counted)) (unread int, taken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rec := range c.records {
		do(rec)
	}
	return c.unread, !c.taken.IsZero()
}

// censusBudget bounds the reading of all records, which goes on when the caller has
// gone: or one who waits for less than it takes would never get an answer.
const censusBudget = 10 * time.Minute

// takeCensus sees to it that the records are counted.
func (b *backend) takeCensus(ctx context.Context, s logical.Storage) error {
	release, err := b.slots.acquire(ctx, "census")
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), censusBudget)
	defer cancel()
	started := b.now()
	all, some := b.census.begin(started)
	if all {
		err = b.countAll(ctx, s)
	} else {
		err = b.countSome(ctx, s, some)
	}
	if err != nil {
		b.census.forget()
		return fmt.Errorf("count the records: %w", err)
	}
	if !b.census.end(all, started) {
		return errCensusLost
	}
	return nil
}

var errCensusLost = refuse(503, "another node has written meanwhile; ask again")

func (b *backend) countAll(ctx context.Context, s logical.Storage) error {
	l := b.ledger(s)
	configs, err := list(ctx, s, ledgerPrefix)
	if err != nil {
		return err
	}
	for _, config := range configs {
		err := l.readRecords(ctx, strings.TrimSuffix(config, "/"),
			func(rec record) { b.census.read(rec.pointer(), &rec) },
			func(err error) {
				b.census.notRead()
				b.Logger().Error("bug: a record cannot be read", "error", err)
			})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) countSome(ctx context.Context, s logical.Storage, some []pointer) error {
	for _, p := range some {
		rec, err := b.ledger(s).get(ctx, p)
		if err != nil {
			return err
		}
		b.census.read(p, rec)
	}
	return nil
}
