package backend

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file finds records by what is known of them, at a cost that does not grow
// with the ledger.
//
//   - Each fact of a record has an entry of its own, whose key says where the
//     record is. As a hint of the time index it is only a reason to look: the
//     record decides.
//   - Entries are stored before their record and removed before it, so that no
//     record is without. A process that dies in between may leave a few entries
//     that lead nowhere; they do no harm and stay.
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

// walkFact calls visit with each record of which a fact is true.
func (b *backend) walkFact(ctx context.Context, s logical.Storage, f fact, visit func(record) error) error {
	mount, err := b.mount(ctx, s)
	if err != nil {
		return err
	}
	l := b.ledger(s)
	if mount.Index != indexVersion {
		return l.walkRecords(ctx, ledgerPrefix, func(rec record) error {
			if rec.is(f) {
				return visit(rec)
			}
			return nil
		})
	}
	pointers, err := l.having(ctx, f)
	if err != nil {
		return err
	}
	for _, p := range pointers {
		rec, err := l.get(ctx, p)
		if err != nil {
			return err
		}
		if rec != nil && rec.is(f) {
			if err := visit(*rec); err != nil {
				return err
			}
		}
	}
	return nil
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

// reindex makes the index of a mount whose records are older than it. What it did
// before its time was spent it does again the next time.
func (b *backend) reindex(ctx context.Context, s logical.Storage) error {
	mount, err := b.mount(ctx, s)
	if err != nil || mount.Index == indexVersion {
		return err
	}
	count := 0
	err = b.ledger(s).walkRecords(ctx, ledgerPrefix, func(rec record) error {
		count++
		return b.reindexRecord(ctx, s, rec.pointer())
	})
	if err != nil {
		return err
	}
	b.Logger().Info("index of keys made", "records", count)
	return b.setIndexed(ctx, s)
}

func (b *backend) reindexRecord(ctx context.Context, s logical.Storage, p pointer) error {
	release, err := b.slots.acquire(ctx, recordSlot(p.id))
	if err != nil {
		return err
	}
	defer release()
	rec, err := b.ledger(s).get(ctx, p)
	if err != nil || rec == nil {
		return err
	}
	return together(ctx, b.ledger(s).newFacts(record{}, *rec)...)
}
