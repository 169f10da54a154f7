package backend

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file reads the time index.
//
//   - An entry is filed under the minute in which it is due. A sweep lists the
//     minutes since the last one, so its cost does not grow with the keys that
//     are not due.
//   - What is remembered between sweeps is only where to go on. After a start, a
//     failover or a clock that went back, and once an hour to be sure, the index
//     is listed as a whole: that reads names, not records.

const (
	// indexOverlap is how far back a sweep looks again, for entries that were
	// written while an earlier one ran.
	indexOverlap = 10 * time.Minute
	// indexFull is how often the index is listed as a whole.
	indexFull = time.Hour
)

// sweepState is what one sweep leaves for the next. Losing it costs one listing.
type sweepState struct {
	mu       sync.Mutex
	from     time.Time // no entry is filed under an earlier minute
	lastFull time.Time // zero: list the index as a whole
	full     bool      // the sweep under way does

	// Only the sweep uses these.
	indexed  string // the last record that reindex has done
	scanning bool   // the static roles are being looked at
	scanned  string // the last one that was
}

// begin returns the minute from which the index is to be read; zero for all.
func (s *sweepState) begin(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = s.lastFull.IsZero() || now.Before(s.lastFull) || now.Sub(s.lastFull) >= indexFull || now.Sub(s.from) >= indexFull
	if s.full {
		return time.Time{}
	}
	return s.from
}

// whole reports whether the sweep under way lists the index as a whole.
func (s *sweepState) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// finished notes a sweep that began at started and left entries no older than
// oldest; zero if it left none.
func (s *sweepState) finished(started, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		s.lastFull = started
	}
	s.from = started.Add(-indexOverlap)
	if !oldest.IsZero() && oldest.Before(s.from) {
		s.from = oldest
	}
	s.from = s.from.Truncate(time.Minute)
}

// reset makes the next sweep list the index as a whole.
func (s *sweepState) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastFull = time.Time{}
}

// collectDue returns the entries of all minutes up to now.
func (r *sweepRun) collectDue(ctx context.Context, now time.Time) ([]task, error) {
	minutes, err := r.minutesDue(ctx, now)
	if err != nil {
		return nil, err
	}
	var tasks []task
	for _, minute := range minutes {
		names, err := list(ctx, r.storage, minutePrefix(minute))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			p, err := parsePointer(name)
			if err != nil {
				r.Logger().Error("bug: the time index holds what cannot be read", "error", err)
				continue
			}
			tasks = append(tasks, task{pointer: p, hint: minutePrefix(minute) + name, minute: minute})
		}
	}
	holders, err := r.connectionsDue(ctx)
	return append(tasks, holders...), err
}

// connectionsDue returns a task for every connection if the index is listed as a
// whole: after a start, hourly, and when the clock went back, for a rotation may be
// filed under a time that was never meant. Static roles are looked at in
// static_scan.go.
func (r *sweepRun) connectionsDue(ctx context.Context) ([]task, error) {
	if !r.sweeps.whole() {
		return nil, nil
	}
	configs, err := list(ctx, r.storage, configPrefix)
	var tasks []task
	for _, config := range configs {
		tasks = append(tasks, task{pointer: adminPointer(config)})
	}
	return tasks, err
}

// minutesDue returns the minutes to look at, in order.
func (r *sweepRun) minutesDue(ctx context.Context, now time.Time) ([]time.Time, error) {
	var minutes []time.Time
	if from := r.sweeps.begin(now); !from.IsZero() {
		for minute := from; !minute.After(now); minute = minute.Add(time.Minute) {
			minutes = append(minutes, minute)
		}
		return minutes, nil
	}
	names, err := list(ctx, r.storage, duePrefix)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		minute, err := time.Parse(minuteLayout, strings.TrimSuffix(name, "/"))
		if err != nil {
			r.Logger().Error("bug: the time index holds a minute that cannot be read", "name", name)
			continue
		}
		if !minute.After(now) {
			minutes = append(minutes, minute)
		}
	}
	slices.SortFunc(minutes, time.Time.Compare)
	return minutes, nil
}
