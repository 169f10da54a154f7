package backend

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file finds records by what is known of them, at a cost that does not grow
// with the ledger.
//
//   - Each fact of a record has an entry of its own, whose key says where the
//     record is. As a hint of the time index it is only a reason to look: the
//     record decides.
//   - Entries are stored before their record, and removed before it once its key is
//     gone: no record of a key that may live is without. A process that dies in
//     between may leave a few entries that lead nowhere; they do no harm and stay.
//   - A mount whose records are older than this index walks them until the sweep
//     has made it.

// A fact is something by which records are found.
type fact struct {
	kind  string
	value string // a segment of a storage key
}

const (
	idFact     = "id"     // of the record
	hashFact   = "hash"   // of its key
	keyFact    = "key"    // the provider's id of its key, hashed: it may hold anything
	entityFact = "entity" // that asked for it, hashed
)

func byID(id string) fact         { return fact{idFact, id} }
func byKeyHash(hash string) fact  { return fact{hashFact, hash} }
func byKeyID(keyID string) fact   { return fact{keyFact, shortHash(keyID)} }
func byEntity(entity string) fact { return fact{entityFact, shortHash(entity)} }

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func (f fact) prefix() string { return indexPrefix + f.kind + "/" + f.value + "/" }

// facts are all facts of a record.
func (r record) facts() []fact {
	var facts []fact
	if r.ID != "" {
		facts = append(facts, byID(r.ID))
	}
	if r.KeyHash != "" {
		facts = append(facts, byKeyHash(r.KeyHash))
	}
	if r.KeyID != "" {
		facts = append(facts, byKeyID(r.KeyID))
	}
	if r.EntityID != "" {
		facts = append(facts, byEntity(r.EntityID))
	}
	return facts
}

// is reports whether a fact is true of a record. The time that it takes says
// nothing of a hash.
func (r record) is(f fact) bool {
	return slices.ContainsFunc(r.facts(), func(have fact) bool {
		return have.kind == f.kind && subtle.ConstantTimeCompare([]byte(have.value), []byte(f.value)) == 1
	})
}

// An indexEntry is an entry of this index. Its key says all.
//
//	{"version":1}
type indexEntry struct {
	Version int `json:"version"`
}

// indexVersion is of the layout of the index. A mount with an older one, or none,
// gets its index anew.
const indexVersion = 1

// newFacts are the writes that a record needs to be found by the facts that it did
// not have before.
func (l ledger) newFacts(from, to record) []func(context.Context) error {
	var work []func(context.Context) error
	old := from.facts()
	for _, f := range to.facts() {
		if slices.Contains(old, f) {
			continue
		}
		work = append(work, func(ctx context.Context) error {
			return save(ctx, l.storage, f.prefix()+to.pointer().name(), indexEntry{Version: indexVersion})
		})
	}
	return work
}

// forgetFacts removes what leads to a record.
func (l ledger) forgetFacts(ctx context.Context, rec record) error {
	var work []func(context.Context) error
	for _, f := range rec.facts() {
		work = append(work, func(ctx context.Context) error {
			return remove(ctx, l.storage, f.prefix()+rec.pointer().name())
		})
	}
	return together(ctx, work...)
}

// having returns where the records may be of which a fact is true.
func (l ledger) having(ctx context.Context, f fact) ([]pointer, error) {
	names, err := list(ctx, l.storage, f.prefix())
	if err != nil {
		return nil, err
	}
	pointers := make([]pointer, 0, len(names))
	for _, name := range names {
		p, err := parsePointer(name)
		if err != nil {
			return nil, err
		}
		pointers = append(pointers, p)
	}
	return pointers, nil
}

// pointersWith returns where the records may be of which a fact is true. On a mount
// without an index it reads all records.
func (b *backend) pointersWith(ctx context.Context, s logical.Storage, f fact) ([]pointer, error) {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return nil, err
	}
	l := b.ledger(s)
	if mount.Index == indexVersion {
		return l.having(ctx, f)
	}
	var pointers []pointer
	err = l.walkRecords(ctx, ledgerPrefix, func(rec record) error {
		if rec.is(f) {
			pointers = append(pointers, rec.pointer())
		}
		return nil
	})
	return pointers, err
}

// recordsWith returns the records of which a fact is true.
func (b *backend) recordsWith(ctx context.Context, s logical.Storage, f fact) ([]record, error) {
	pointers, err := b.pointersWith(ctx, s, f)
	if err != nil {
		return nil, err
	}
	var recs []record
	for _, p := range pointers {
		rec, err := b.ledger(s).get(ctx, p)
		if err != nil {
			return nil, err
		}
		if rec != nil && rec.is(f) {
			recs = append(recs, *rec)
		}
	}
	return recs, nil
}

// walkRecords calls visit with every record below a prefix.
func (l ledger) walkRecords(ctx context.Context, prefix string, visit func(record) error) error {
	return walk(ctx, l.storage, prefix, func(key string) error {
		rec, err := load[record](ctx, l.storage, key)
		if err != nil || rec == nil {
			return err
		}
		return visit(*rec)
	})
}

// reindexBudget is how much of a sweep the making of the index may take.
const reindexBudget = 10 * time.Second

// reindex makes the index of a mount whose records are older than it, a part in each
// sweep. How far it got is remembered in memory: after a start it begins anew.
func (b *backend) reindex(ctx context.Context, s logical.Storage) {
	mount, err := b.mount(ctx, s)
	if err != nil || mount.Index == indexVersion {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reindexBudget, errTimeSpent)
	defer cancel()
	err = walk(ctx, s, ledgerPrefix, func(key string) error {
		if key <= b.sweeps.indexed {
			return nil
		}
		if err := b.reindexRecord(ctx, s, key); err != nil {
			return err
		}
		b.sweeps.indexed = key
		return nil
	})
	if err == nil {
		err = b.setIndexed(ctx, s)
	}
	b.Logger().Info("the index of keys is being made; until then looking a key up is slow", "done", err == nil, "up_to", b.sweeps.indexed, "reason", err)
}

// reindexRecord makes the entries of one record. One that cannot be read has none.
func (b *backend) reindexRecord(ctx context.Context, s logical.Storage, key string) error {
	p, err := parseStored(key)
	if err != nil {
		return nil
	}
	release, err := b.slots.acquire(ctx, recordSlot(p.id))
	if err != nil {
		return err
	}
	defer release()
	rec, err := b.ledger(s).get(ctx, p)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || rec == nil {
		return nil
	}
	return together(ctx, b.ledger(s).newFacts(record{}, *rec)...)
}
