package backend

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// This file names everything that is stored and everything that is made at a
// provider. No other file composes a storage key.
//
//	mount                                the tag and salt of this mount
//	config/<config>                      a connection; seal-wrapped
//	gone/<config>                        one that was deleted, until its admin key
//	                                     is; seal-wrapped
//	role/<role>                          a role; its name may hold slashes
//	static/<role>                        a static role, with its key; seal-wrapped
//	ledger/<config>/<role>/~<id>         a record of a role's key
//	ledger/<config>/~<id>                a record of an admin key
//	principal/<config>/<role>/~<hash>    what owns a role's keys at the provider
//	due/<minute>/<config>~<role>~<id>    when the sweep looks at a record, with
//	                                     the slashes of the role as ~, at the
//	                                     admin key of a connection, or at a static
//	                                     role
//	index/<fact>/<value>/<config>~<role>~<id>
//	                                     a record that a fact leads to, see fact
//	suspended/<role>                     that a role is suspended
//	suspended/<part of a name>/~         that all roles below it are
//	order/<id>                           a kill that is not finished
//	pool/<config>/<key id>               a key that the engine was given, to hand
//	                                     out; seal-wrapped
//	past/<hash of a key>                 what is kept of a key that left its pool
//	tidy/<config>                        how the last tidy of a connection went
//
// No segment of a role's name can hold "~", so records never collide with roles
// below theirs, and one List counts the keys of a role.

const (
	mountKey        = "mount"
	configPrefix    = "config/"
	gonePrefix      = "gone/"
	rolePrefix      = "role/"
	staticPrefix    = "static/"
	ledgerPrefix    = "ledger/"
	principalPrefix = "principal/"
	duePrefix       = "due/"
	indexPrefix     = "index/"
	suspendPrefix   = "suspended/"
	orderPrefix     = "order/"
	tidyPrefix      = "tidy/"
	poolPrefix      = "pool/"
	pastPrefix      = "past/"

	mark = "~"
)

// minuteLayout names a minute, in UTC, so that names sort as time does.
const minuteLayout = "200601021504"

// maxName bounds the name of a role or connection, in bytes: it is part of
// storage keys.
const maxName = 256

var segment = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// checkName refuses names that are not segments joined by single slashes.
// Vault's storage refuses two dots in a row anywhere in a key.
func checkName(name string) error {
	if len(name) > maxName {
		return badField("name", "is longer than %d characters", maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if !segment.MatchString(part) || part == "." || strings.Contains(part, "..") {
			return badField("name", "%q is not a name; use letters, digits, single dots, dashes and underscores, with single slashes between the parts", name)
		}
	}
	return nil
}

func isName(name string) bool { return checkName(name) == nil }

func configKey(config string) string { return configPrefix + config }
func goneKey(config string) string   { return gonePrefix + config }
func roleKey(role string) string     { return rolePrefix + role }
func staticKey(role string) string   { return staticPrefix + role }
func orderKey(id string) string      { return orderPrefix + id }
func pastKeyKey(hash string) string  { return pastPrefix + hash }

func poolKey(config, keyID string) string { return poolPrefix + config + "/" + keyID }
func tidyKey(config string) string        { return tidyPrefix + config }

// suspendKey is where the suspension of a name is stored. A storage key cannot end
// in a slash.
func suspendKey(name string) string {
	if strings.HasSuffix(name, "/") {
		name += mark
	}
	return suspendPrefix + name
}

// suspendedName is the inverse of suspendKey.
func suspendedName(key string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, suspendPrefix), mark)
}

// recordsPrefix is above the records of a role, or, without a role, above all
// records of a connection and directly above those of its admin keys.
func recordsPrefix(config, role string) string {
	if role == "" {
		return ledgerPrefix + config + "/"
	}
	return ledgerPrefix + config + "/" + role + "/"
}

func recordKey(config, role, id string) string { return recordsPrefix(config, role) + mark + id }

// principalKey names the principal of a role in one scope of the provider.
func principalKey(config, role, scope string) string {
	sum := sha256.Sum256([]byte(scope))
	return principalPrefix + config + "/" + role + "/" + mark + principalIDMark + hex.EncodeToString(sum[:8])
}

// principalIDMark tells a principal's entry in the time index from a record's:
// an id has no dash.
const principalIDMark = "p-"

// A pointer says what an entry of the time index is about: a record, a
// principal, the admin key of a connection, or a static role.
type pointer struct{ config, role, id string }

// adminID stands for the id where a connection's admin key as such is meant, and
// not one of its records: no id has a dash.
const adminID = "admin-key"

func adminPointer(config string) pointer { return pointer{config: config, id: adminID} }

// staticID stands for the id where a static role as such is meant.
const staticID = "static-role"

func staticPointer(config, role string) pointer {
	return pointer{config: config, role: role, id: staticID}
}

// noticeID stands for the id where something has happened to a static role that the
// sweep has to look at. It is apart from the role's own entry in the time index,
// which only who holds the role's slot writes and removes.
const noticeID = "static-notice"

func noticePointer(config, role string) pointer {
	return pointer{config: config, role: role, id: noticeID}
}

func (p pointer) static() bool { return p.id == staticID || p.id == noticeID }

func (p pointer) principal() bool { return strings.HasPrefix(p.id, principalIDMark) }

// admin reports whether p is about an admin key or the record of one.
func (p pointer) admin() bool { return p.role == "" }

// key is where what p points to is stored.
func (p pointer) key() string {
	if p.principal() {
		return principalPrefix + p.config + "/" + p.role + "/" + mark + p.id
	}
	return recordKey(p.config, p.role, p.id)
}

// name is p in one segment of a storage key.
func (p pointer) name() string {
	return p.config + mark + strings.ReplaceAll(p.role, "/", mark) + mark + p.id
}

func (p pointer) dueKey(at time.Time) string { return minutePrefix(at) + p.name() }

func minutePrefix(at time.Time) string { return duePrefix + at.UTC().Format(minuteLayout) + "/" }

// parsePointer is the inverse of name.
func parsePointer(name string) (pointer, error) {
	parts := strings.Split(name, mark)
	if len(parts) < 3 {
		return pointer{}, fmt.Errorf("entry %q of an index has no config, role and id", name)
	}
	last := len(parts) - 1
	return pointer{config: parts[0], role: strings.Join(parts[1:last], "/"), id: parts[last]}, nil
}

// parseStored is the inverse of key, for records and principals.
func parseStored(key string) (pointer, error) {
	rest, ok := strings.CutPrefix(key, ledgerPrefix)
	if !ok {
		rest, ok = strings.CutPrefix(key, principalPrefix)
	}
	config, rest, ok2 := strings.Cut(rest, "/")
	if id, admin := strings.CutPrefix(rest, mark); ok && ok2 && admin {
		return pointer{config: config, id: id}, nil
	}
	role, id, ok3 := strings.Cut(rest, "/"+mark)
	if !ok || !ok2 || !ok3 {
		return pointer{}, fmt.Errorf("stored key %q is not a record's", key)
	}
	return pointer{config: config, role: role, id: id}, nil
}

var lowerBase32 = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// newID returns an id that is unique and sorts by the time of its making, to
// the millisecond: 26 characters of 0-9a-v.
func newID(now time.Time) string {
	var raw [16]byte
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		raw[i] = byte(ms >> (8 * (5 - i)))
	}
	rand.Read(raw[6:])
	return lowerBase32.EncodeToString(raw[:])
}

// idTime is when an id was made; zero if it is none.
func idTime(id string) time.Time {
	raw, err := lowerBase32.DecodeString(id)
	if !isID(id) || err != nil {
		return time.Time{}
	}
	ms := int64(0)
	for _, part := range raw[:6] {
		ms = ms<<8 | int64(part)
	}
	return time.UnixMilli(ms)
}

var idForm = regexp.MustCompile(`^[0-9a-v]{26}$`)

// isID reports whether a string may be an id of ours.
func isID(s string) bool { return idForm.MatchString(s) }

// newTag returns the tag that tells the keys of one mount from another's.
func newTag() string {
	var raw [5]byte
	rand.Read(raw[:])
	return lowerBase32.EncodeToString(raw[:])
}

// keyHash is what the ledger keeps of a key, to recognise it when it leaks.
func keyHash(salt []byte, key string) string {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(key))
	return hex.EncodeToString(mac.Sum(nil))
}

// namePrefix begins every name that the engine gives at a provider.
const namePrefix = "vault-"

// keyName is the name of a key at its provider. The middle is shortened to fit
// limit; the tag and the id never are, for they alone find the key again.
func keyName(tag, middle, id string, limit int) string {
	head, tail := namePrefix+tag+"-", "-"+id
	room := max(0, limit-len(head)-len(tail))
	return head + shorten(middle, room) + tail
}

// principalName is the name of a role's principal at its provider. It depends
// on nothing but the mount, the connection and the role, so that it is found
// again. It ends in a hash of both, keyed with the salt of the mount: a name that
// two roles share would let the deletion of one kill the keys of the other, and
// nobody may compute a role's name that does.
func principalName(m *mountEntry, config, role string, limit int) string {
	head := namePrefix + m.Tag + "-"
	tail := "-" + keyHash(m.Salt, config+mark+role)[:16]
	room := max(0, limit-len(head)-len(tail))
	return head + shorten(cleanName(role), room) + tail
}

func shorten(name string, room int) string {
	if len(name) > room {
		name = name[:room]
	}
	return strings.Trim(name, "-")
}

var unclean = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// cleanName replaces what a provider may not accept in a name.
func cleanName(s string) string { return strings.Trim(unclean.ReplaceAllString(s, "-"), "-") }
