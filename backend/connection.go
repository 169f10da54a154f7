package backend

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A connection is a stored config entry, connected.
type connection struct {
	name      string
	entry     *configEntry
	provider  provider.Provider
	client    provider.Client
	transport *provider.Transport
	health    *health
}

// A health remembers how the last call went. It survives a change of the config
// and is lost with the process.
type health struct {
	mu        sync.Mutex
	lastError string
	at        time.Time
	told      time.Time // when the provider has told its time; by the monotonic clock
}

// knowsTime reports whether the provider has told its time just now.
func (h *health) knowsTime() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.told.IsZero() && time.Since(h.told) < askTimeAfter
}

func (h *health) toldTime() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = time.Now()
}

func (h *health) note(now time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.lastError = ""
	case blamesConnection(err):
		h.lastError, h.at = err.Error(), now
	}
}

// noted remembers how a call went and returns its error.
func (b *backend) noted(conn *connection, err error) error {
	conn.health.note(b.now(), err)
	return err
}

func (h *health) read() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lastError == "" {
		return ""
	}
	return h.at.UTC().Format(time.RFC3339) + ": " + h.lastError
}

// connections caches connections by name. An entry is dropped when its config
// changes, here or on another node.
type connections struct {
	mu      sync.Mutex
	byName  map[string]*connection
	stale   map[string]*connection // dropped, kept for its transport
	dropped int                    // how often any was; see connection
}

// connection returns the connection of a name, and errNoConnection if it is not
// stored. It calls no provider. Storage is read outside of the lock, so that a
// slow read holds up nobody else; what was read is used only if no connection
// was dropped meanwhile.
func (b *backend) connection(ctx context.Context, s logical.Storage, name string) (*connection, error) {
	for {
		conn, before, dropped := b.connections.get(name)
		if conn != nil {
			return conn, nil
		}
		entry, err := loadConfig(ctx, s, name)
		if err != nil {
			return nil, err
		}
		if entry == nil {
			return nil, fmt.Errorf("connection %q: %w", name, errNoConnection)
		}
		if conn, err = b.connect(name, entry, before); err != nil {
			return nil, err
		}
		if kept := b.connections.keep(conn, dropped); kept != nil {
			return kept, nil
		}
	}
}

// get returns the cached connection, or nil and the one before it, which may be
// nil too, with the count of drops so far.
func (c *connections) get(name string) (conn, before *connection, dropped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name], c.stale[name], c.dropped
}

// keep caches a connection and returns it, or the one that another caller has
// cached. It returns nil if there was a drop since.
func (c *connections) keep(conn *connection, dropped int) *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped != dropped {
		return nil
	}
	if have := c.byName[conn.name]; have != nil {
		return have
	}
	if c.byName == nil {
		c.byName = map[string]*connection{}
	}
	c.byName[conn.name] = conn
	delete(c.stale, conn.name)
	return conn
}

// connect builds a connection. It keeps the transport of the one before where
// the way to the provider is the same, so that a pause which the provider asked
// for outlives a change of the config.
func (b *backend) connect(name string, entry *configEntry, before *connection) (*connection, error) {
	p, ok := b.registry.Get(entry.Provider)
	if !ok {
		return nil, fmt.Errorf("connection %q: this build has no provider %q", name, entry.Provider)
	}
	conn := &connection{name: name, entry: entry, provider: p, health: &health{}}
	if before != nil {
		conn.health = before.health
		if before.entry.way() == entry.way() {
			conn.transport = before.transport
		}
	}
	var err error
	if conn.transport == nil {
		if conn.transport, err = provider.NewTransport(b.transportConfig(name, entry)); err != nil {
			return nil, err
		}
	}
	if conn.client, err = p.Connect(entry.settings(), conn.transport); err != nil {
		return nil, fmt.Errorf("connection %q: %w", name, err)
	}
	return conn, nil
}

func (b *backend) transportConfig(name string, entry *configEntry) provider.TransportConfig {
	cfg := provider.TransportConfig{
		Timeout:        entry.RequestTimeout.duration(),
		MaxConcurrency: entry.MaxConcurrency,
		CACert:         entry.CACert,
		Observe:        b.metrics.observer(entry.Provider, name),
	}
	if b.baseTransport != nil {
		cfg.Base = b.baseTransport
	}
	return cfg
}

// dropConnection makes the next use of a connection read its config again.
// Calls under way end with the client that they began with.
func (b *backend) dropConnection(name string) {
	c := &b.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped++
	conn := c.byName[name]
	if conn == nil {
		return
	}
	delete(c.byName, name)
	if c.stale == nil {
		c.stale = map[string]*connection{}
	}
	c.stale[name] = conn
}

// forget drops what is left of a deleted connection, its admin key included.
func (c *connections) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.stale[name]; before != nil {
		before.transport.Close()
	}
	delete(c.stale, name)
}

// closeConnections drops all connections and what they hold open.
func (b *backend) closeConnections() {
	c := &b.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.byName {
		conn.transport.Close()
	}
	for _, conn := range c.stale {
		conn.transport.Close()
	}
	c.byName, c.stale = nil, nil
}
