package backend

import (
	"cmp"
	"context"
	"fmt"
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
//   - When a write fails, or another node has written, what is stored is not known any
//     more, and all is read again.

// A census is the records of the ledger, as far as the metrics need them. The zero
// census is not taken.
type census struct {
	mu    sync.Mutex
	taken bool
	// moved holds what was moved while the records are read: that is newer than what
	// is read. Nil if they are not.
	moved   map[pointer]bool
	records map[pointer]counted
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
		return cmp.Or(r.OwedSince, r.Due)
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
	c.taken, c.moved, c.records = false, nil, nil
}

// begin reports whether the records are to be read.
func (c *census) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return false
	}
	c.moved, c.records = map[pointer]bool{}, map[pointer]counted{}
	return true
}

// read counts a record that was read, unless it was moved meanwhile.
func (c *census) read(rec record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved != nil && !c.moved[rec.pointer()] {
		c.records[rec.pointer()] = rec.counted()
	}
}

// end reports whether all that was read holds: nothing was forgotten meanwhile.
func (c *census) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = c.moved != nil
	c.moved = nil
	return c.taken
}

// visit calls do with every record.
func (c *census) visit(do func(counted)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rec := range c.records {
		do(rec)
	}
}

// censusTries is how often all records are read before somebody is told that they
// cannot be counted: a write that fails meanwhile spoils the count.
const censusTries = 3

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
	for range censusTries {
		if !b.census.begin() {
			return nil
		}
		if err := b.countRecords(ctx, s); err != nil {
			b.census.forget()
			return fmt.Errorf("count the records: %w", err)
		}
		if b.census.end() {
			return nil
		}
	}
	return fmt.Errorf("count the records: storage has failed %d times meanwhile", censusTries)
}

func (b *backend) countRecords(ctx context.Context, s logical.Storage) error {
	l := b.ledger(s)
	configs, err := list(ctx, s, ledgerPrefix)
	if err != nil {
		return err
	}
	for _, config := range configs {
		if err := l.readRecords(ctx, strings.TrimSuffix(config, "/"), b.census.read); err != nil {
			return err
		}
	}
	return nil
}
