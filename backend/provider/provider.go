// Package provider is the seam between the engine and the LLM providers whose
// keys it keeps.
//
// A [Provider] describes one kind of account: its name, the fields that it adds
// to connections and roles, and how to connect. A [Client] acts on one account:
// it mints, deletes and finds keys. What only some providers can do is an
// optional interface that a Client implements when its API allows it, as
// io.ReaderFrom does: [Extender], [PrincipalKeeper], [KeyVerifier], [KeyReader],
// [AdminVerifier], [AdminRotator], [RoleChecker], [RoleCloser], [ScopeLister],
// [PoolKeeper]. So are what only some can describe: [AdminKeyMaker], [Publisher].
//
// To write a provider: implement Provider and Client on the provider's official
// SDK with the SDK's retries off, send every request through
// [Transport.HTTPClient], turn every failure into an [*Error] by [Classify], and
// pass the suite in providertest against a strict simulator.
//
// A provider package knows nothing of Vault's storage, leases or roles, and it
// never decides whether a key may be forgotten: the engine's ledger does.
package provider

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

// A Provider describes one kind of LLM account. Its methods touch no network
// and are safe for concurrent use.
type Provider interface {
	// Name is the value of a connection's provider field, for example "openai".
	Name() string

	// ConfigFields and RoleFields declare the fields that this provider adds to
	// connections and to roles. Only TypeString, TypeCommaStringSlice, TypeBool
	// and TypeInt are used. Two providers may declare the same field only with
	// the same type. A Default is what a read shows of a field that was never written;
	// the provider itself has to act by it.
	ConfigFields() map[string]*framework.FieldSchema
	RoleFields() map[string]*framework.FieldSchema

	// Answers describe what the engine answers of this provider beside its fields.
	Answers() Answers

	// Guardrails are the bounds that the provider sets. The common fields among them
	// are declared by this package, and their form is checked before CheckRole is
	// asked: see guardrails.go.
	Guardrails() Guardrails

	// CheckConfig and CheckRole refuse what can be refused without asking the
	// provider. They return a *FieldError, or nil. CheckRole also gets the
	// fields of the role's connection.
	CheckConfig(s Settings) error
	CheckRole(config, role Values) error

	// Scope is the part of the account where the keys of a role live and can be
	// listed: a project id at OpenAI.
	Scope(role Values) string

	// Limits are the bounds that the provider sets.
	Limits() Limits

	// Connect returns a client for one account. It makes no call. Clients of
	// one account share its transport.
	Connect(s Settings, t *Transport) (Client, error)
}

// Answers describe, by name, texts that a provider gives the engine to answer with.
// Two providers may name the same one.
type Answers struct {
	// Connection and Role are what a Publisher publishes for them.
	Connection, Role map[string]string
	// Key is what a Key has as Data, but for base_url: whoever gets a key is told that
	// where the connection has one.
	Key map[string]string
}

// Limits are a provider's bounds on keys.
type Limits struct {
	// NameLength is the longest name of a key or principal, in bytes.
	NameLength int
	// Lifetime is the furthest expiry from now that the provider accepts.
	Lifetime time.Duration
	// Consistency is how long after its creation a key may still be unknown to
	// other calls: a "not found" for a younger key proves nothing.
	Consistency time.Duration
	// Irrevocable says that a key is a token that leaves nothing behind at the
	// provider: it ends at its expiry, and nothing ends it before. Such keys are
	// neither deleted nor looked for.
	Irrevocable bool
}

// An AdminKeyMaker is a provider whose admin key is not given to the engine but
// made by it, when a connection is first written.
type AdminKeyMaker interface {
	// MakeAdminKey makes an admin key. It makes no call.
	MakeAdminKey() (Secret, error)
}

// A Publisher is a provider at which an operator has to enter something that the
// engine computes, such as a public key. What it returns is shown by a read of a
// connection, or of a role, under the names that Answers describe, and is not secret.
// It makes no call.
type Publisher interface {
	// Publish is for a connection. Mount tells this mount from others, as in
	// Holder.
	Publish(s Settings, mount string) map[string]string
	// PublishRole is for a role of it.
	PublishRole(s Settings, mount, role string, fields Values) map[string]string
}

// Settings are what a client needs to reach one account.
type Settings struct {
	AdminKey Secret
	// BaseURL is empty for the provider's own address.
	BaseURL string
	Fields  Values
}

// A Client acts on one account at a provider. Every method honours ctx, is safe
// for concurrent use, and fails with an *Error that holds no key material.
type Client interface {
	// Mint creates one key. The create is sent at most once, unless it is proven
	// that the provider did not process it. An error of kind Ambiguous means
	// that the key may exist; an answer without id or secret is Ambiguous too.
	Mint(ctx context.Context, spec Spec) (Key, error)

	// Delete deletes one key. A key that does not exist is a NotFound error.
	Delete(ctx context.Context, ref Ref) error

	// Find yields every key of a scope, whoever made it, over all pages. Pages
	// are fetched as the loop goes on. An error is yielded once and last.
	Find(ctx context.Context, scope string) iter.Seq2[Found, error]
}

// An Extender can move the expiry of a key that exists.
type Extender interface {
	// Extend sets the expiry of a key and returns the one that the provider now
	// holds. It is safe to repeat.
	Extend(ctx context.Context, ref Ref, until time.Time) (time.Time, error)
}

// A KeyVerifier can tell whether a key works that it has minted.
type KeyVerifier interface {
	// VerifyKey makes one cheap call of the data plane with a key. A new key may be
	// refused as Unauthorized until it is known everywhere. One that the provider
	// knows, and that may not make this very call, works.
	VerifyKey(ctx context.Context, key Secret) error
}

// A KeyReader can tell what a key is that somebody else has made.
type KeyReader interface {
	// ReadKey returns one key as the provider lists it. A key that is not there is a
	// NotFound error. One that is not key by what the provider shows of it, or of which
	// it shows nothing, is a *FieldError of key_id.
	ReadKey(ctx context.Context, ref Ref, key Secret) (Found, error)
	// KeyData returns what Mint would have answered as Key.Data for a key of a scope.
	// It makes no call.
	KeyData(scope string) map[string]string
}

// A PrincipalKeeper mints the keys of a role under a principal of its own (an
// OpenAI service account) that outlives them.
type PrincipalKeeper interface {
	// EnsurePrincipal finds the principal by its name, or creates it without any
	// key, and gives it what it needs to own keys.
	EnsurePrincipal(ctx context.Context, name string, role Values) (Principal, error)
	// DeletePrincipal deletes a principal and with it all of its keys. One that
	// does not exist is a NotFound error.
	DeletePrincipal(ctx context.Context, p Principal) error
	// FindPrincipals yields every principal of a scope, whoever made it, as Find
	// does keys. A scope in which no key works any more has none.
	FindPrincipals(ctx context.Context, scope string) iter.Seq2[FoundPrincipal, error]
}

// A ScopeLister can tell which scopes an account has.
type ScopeLister interface {
	// Scopes yields every scope of the account in which keys may work, used by a
	// role or not, over all pages. Pages are fetched as the loop goes on. An error
	// is yielded once and last.
	Scopes(ctx context.Context) iter.Seq2[string, error]
}

// An AdminVerifier can tell whether the admin key works.
type AdminVerifier interface {
	// VerifyAdmin makes one cheap call that needs the admin key.
	VerifyAdmin(ctx context.Context) error
}

// An AdminRotator can replace the admin key that it was connected with: it mints
// another one, and a client that is connected with that deletes the first.
type AdminRotator interface {
	AdminVerifier

	// AdminScope returns what DeleteAdmin needs as Ref.Scope: something of the
	// account that other accounts cannot see, so that a "not found" from the wrong
	// account is told from one that means gone. A project id at OpenAI. It is Invalid
	// for an admin key that cannot be replaced, with what to do instead.
	AdminScope(ctx context.Context) (string, error)

	// MintAdmin creates an admin key that may do what the client's own may. Name
	// is unique; a zero expires asks for none. It is sent and fails as Mint is.
	MintAdmin(ctx context.Context, name string, expires time.Time) (Key, error)

	// TryAdmin uses each capability that the engine needs of the client's own
	// admin key, whose id is given, and changes nothing. A new key may be refused
	// as Unauthorized until it is known everywhere; Forbidden means that it is too
	// weak. That no admin key can be deleted just now is no failure: the deletion
	// that follows a rotation can wait.
	TryAdmin(ctx context.Context, id string) error

	// IdentifyAdmin returns the ids of the admin keys of the account that may be
	// key, as far as the provider shows. One id is an answer; none or several
	// leave it open.
	IdentifyAdmin(ctx context.Context, key Secret) ([]string, error)

	// DeleteAdmin deletes an admin key of the account. Only one that is proven to
	// be gone is a NotFound error.
	DeleteAdmin(ctx context.Context, ref Ref) error

	// FindAdmins yields every admin key of the account, as Find does.
	FindAdmins(ctx context.Context) iter.Seq2[Found, error]
}

// A RoleChecker can tell whether what a role names exists at the provider.
type RoleChecker interface {
	// CheckRoleAt returns a *FieldError for a role that names something unknown
	// or closed, an *Error where the provider could not be asked.
	CheckRoleAt(ctx context.Context, role Values) error
}

// A RoleCloser can stop what mints for a role at the provider.
type RoleCloser interface {
	// CloseRole ends, for good, that any key can be minted for the role, here or by
	// whoever has stolen the admin key, and those keys of it that the provider can
	// end. Done says, for an operator, what was done and what goes on. It is safe to
	// repeat. Of holder, Mount and Role are set: what mints for another role is not
	// closed, whatever the role says.
	CloseRole(ctx context.Context, holder Holder, role Values) (done string, err error)
}

// A PoolKeeper does not create keys but makes such usable that the engine was given.
// Mint gets one as Spec.Pooled, and Delete makes it unusable again.
type PoolKeeper interface {
	// TakeIn makes a key unusable until it is minted. One that key is not, by what
	// the provider shows of it, or that is not in ref.Scope, is a *FieldError.
	TakeIn(ctx context.Context, ref Ref, key Secret) (Found, error)
	// Rest is how long a key must not be minted again after its last holder had it.
	Rest() time.Duration
}

// A PooledKey is a key that the engine was given.
type PooledKey struct {
	ID     string
	Secret Secret
}

// A Holder is for whom a key is minted. All but Mount and Role may be empty.
type Holder struct {
	Mount       string // tells this mount from all others, as it does in names
	Role        string
	EntityID    string
	EntityName  string
	DisplayName string
	Metadata    map[string]string // of the role
}

// A Spec says what key to mint.
type Spec struct {
	// ID is of the engine's record of the key: short, unique, and a part of Name.
	ID string
	// Name is unique and is all that finds a key whose creation had no answer.
	Name string
	// ExpiresAt is when the provider itself is to refuse the key.
	ExpiresAt time.Time
	// Principal owns the key; zero where the provider keeps none.
	Principal Principal
	Role      Values
	Holder    Holder
	// Pooled is the key to use, for a PoolKeeper alone. Nobody else has it.
	Pooled *PooledKey
}

// A Key is the answer to a successful Mint.
type Key struct {
	ID     string
	Secret Secret
	// Field is the name under which a holder gets the secret; empty for "api_key".
	Field string
	// ExpiresAt is what the provider answered; zero if the key does not expire.
	ExpiresAt time.Time
	// Data are further facts for the holder, none of them secret: see Answers.Key.
	Data map[string]string
}

// A Ref addresses a key at its provider.
type Ref struct{ ID, Scope string }

// Found is a key as a provider lists it.
type Found struct {
	ID, Name    string
	PrincipalID string // empty if a person owns the key
	// Owner says for a person to read whose key it is, for example "user
	// ada@example.com" or "service account bot"; empty if the provider does not
	// say. It holds nothing of a key, not even what the provider shows of one.
	Owner     string
	CreatedAt time.Time // zero if the provider does not say, as are the next two
	ExpiresAt time.Time
	// LastUsedAt is zero for a key that was never used, if UseKnown says that the
	// provider tells.
	LastUsedAt time.Time
	UseKnown   bool
}

// A Principal owns the keys of one role at a provider.
type Principal struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Scope string `json:"scope"`
}

// FoundPrincipal is a principal as a provider lists it.
type FoundPrincipal struct {
	Principal
	CreatedAt time.Time // zero if the provider does not say
}

// The names that info gives to what a client can do.
const (
	CanMint           = "mint"
	CanExtend         = "extend"
	CanKeepPrincipals = "principal"
	CanVerifyKeys     = "verify_key"
	CanReadKeys       = "read_key"
	CanVerifyAdmin    = "verify_admin"
	CanRotateAdmin    = "rotate_admin"
	CanCheckRoles     = "check_role"
	CanListScopes     = "list_scopes"
	CanCloseRoles     = "close_role"
	CanKeepPool       = "pool"
	CanRevoke         = "revoke"
)

// Capabilities names, sorted, all that a client of a provider can do, its
// guardrails included.
func Capabilities(p Provider, c Client) []string {
	can := append([]string{CanMint}, p.Guardrails().PerKey...)
	if !p.Limits().Irrevocable {
		can = append(can, CanRevoke)
	}
	if _, ok := c.(Extender); ok {
		can = append(can, CanExtend)
	}
	if _, ok := c.(PrincipalKeeper); ok {
		can = append(can, CanKeepPrincipals)
	}
	if _, ok := c.(KeyVerifier); ok {
		can = append(can, CanVerifyKeys)
	}
	if _, ok := c.(KeyReader); ok {
		can = append(can, CanReadKeys)
	}
	if _, ok := c.(AdminVerifier); ok {
		can = append(can, CanVerifyAdmin)
	}
	if _, ok := c.(AdminRotator); ok {
		can = append(can, CanRotateAdmin)
	}
	if _, ok := c.(RoleChecker); ok {
		can = append(can, CanCheckRoles)
	}
	if _, ok := c.(ScopeLister); ok {
		can = append(can, CanListScopes)
	}
	if _, ok := c.(RoleCloser); ok {
		can = append(can, CanCloseRoles)
	}
	if _, ok := c.(PoolKeeper); ok {
		can = append(can, CanKeepPool)
	}
	slices.Sort(can)
	return can
}
