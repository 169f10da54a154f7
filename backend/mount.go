package backend

import (
	"context"
	"crypto/rand"

	"github.com/hashicorp/vault/sdk/logical"
)

// A mountEntry is what a mount keeps about itself for ever.
//
//	{"version":1,"tag":"4k2p0q7m","salt":"…","index":1}
type mountEntry struct {
	Version int `json:"version"`
	// Tag is part of every name at a provider, and tells this mount's keys from
	// those of others on the same account.
	Tag string `json:"tag"`
	// Salt keys the hashes of minted keys.
	Salt []byte `json:"salt"`
	// Index is the version of the index of all records; 0 if they are older than it.
	Index int `json:"index,omitempty"`
}

const mountVersion = 1

// mount returns the entry of this mount, and makes it on first use.
func (b *backend) mount(ctx context.Context, s logical.Storage) (*mountEntry, error) {
	b.mountMu.Lock()
	defer b.mountMu.Unlock()
	if b.mountEntry != nil {
		return b.mountEntry, nil
	}
	entry, err := load[mountEntry](ctx, s, mountKey)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		entry = &mountEntry{Version: mountVersion, Tag: newTag(), Salt: make([]byte, 32), Index: indexVersion}
		rand.Read(entry.Salt)
		if err := save(ctx, s, mountKey, entry); err != nil {
			return nil, err
		}
	}
	b.mountEntry = entry
	return entry, nil
}

// setIndexed notes that the index of all records is made.
func (b *backend) setIndexed(ctx context.Context, s logical.Storage) error {
	entry, err := b.mount(ctx, s)
	if err != nil {
		return err
	}
	b.mountMu.Lock()
	defer b.mountMu.Unlock()
	next := *entry
	next.Index = indexVersion
	if err := save(ctx, s, mountKey, next); err != nil {
		return err
	}
	b.mountEntry = &next
	return nil
}
