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

	indexed string // the last record that reindex has done; only the sweep uses it
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
// oldest; zero if it left none. One that is not complete has left something else, so
// that the next one lists the index as a whole.
func (s *sweepState) finished(started, oldest time.Time, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		s.lastFull = started
	}
	if !complete {
		s.lastFull = time.Time{}
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
	tasks, err := r.holdersDue(ctx)
	if err != nil {
		return nil, err
	}
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
	return tasks, nil
}

// holdersDue returns a task for every connection and every static role if the index
// is listed as a whole: after a start, hourly, and when the clock went back, for a
// rotation may be filed under a time that was never meant.
func (r *sweepRun) holdersDue(ctx context.Context) ([]task, error) {
	if !r.sweeps.whole() {
		return nil, nil
	}
	configs, err := list(ctx, r.storage, configPrefix)
	if err != nil {
		return nil, err
	}
	var tasks []task
	for _, config := range configs {
		tasks = append(tasks, task{pointer: adminPointer(config)})
	}
	err = walk(ctx, r.storage, staticPrefix, func(key string) error {
		e, err := loadAnyStatic(ctx, r.storage, strings.TrimPrefix(key, staticPrefix))
		switch {
		case err != nil:
			r.Logger().Error("sweep: a static role cannot be read", "key", key, "error", err)
			r.again()
		case e != nil:
			tasks = append(tasks, task{pointer: staticPointer(e.Config, e.name)})
		}
		return ctx.Err()
	})
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
