package backend

import (
	"context"
	"sync"
)

// slots are locks by name that may be held across a provider call: a waiter
// gives up when its context ends. The zero value is ready for use.
type slots struct {
	mu    sync.Mutex
	inUse map[string]*slot
}

type slot struct {
	token chan struct{} // holds one value while the slot is taken
	users int           // holders and waiters; guarded by slots.mu
}

func (s *slots) get(name string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse == nil {
		s.inUse = map[string]*slot{}
	}
	entry := s.inUse[name]
	if entry == nil {
		entry = &slot{token: make(chan struct{}, 1)}
		s.inUse[name] = entry
	}
	entry.users++
	return entry
}

func (s *slots) put(name string, entry *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry.users--; entry.users == 0 {
		delete(s.inUse, name)
	}
}

// acquire waits for the slot. The caller must release it.
func (s *slots) acquire(ctx context.Context, name string) (release func(), err error) {
	entry := s.get(name)
	select {
	case entry.token <- struct{}{}:
		return s.releaser(name, entry), nil
	case <-ctx.Done():
		s.put(name, entry)
		return nil, context.Cause(ctx)
	}
}

// try takes the slot only if it is free.
func (s *slots) try(name string) (release func(), ok bool) {
	entry := s.get(name)
	select {
	case entry.token <- struct{}{}:
		return s.releaser(name, entry), true
	default:
		s.put(name, entry)
		return nil, false
	}
}

func (s *slots) releaser(name string, entry *slot) func() {
	return func() {
		<-entry.token
		s.put(name, entry)
	}
}
