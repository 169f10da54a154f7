package anthropic

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file replaces the signing key. "Admin keys" are the public keys that the
// connection's issuer lists: the name of one is its kid.
//
//   - An update replaces the whole list. So it is read, changed and written; what
//     others have put there stays. Between the two, a change by somebody else would
//     be lost: the issuer belongs to this connection alone.
//   - What was written is read again before it counts.
//   - The key that gets the tokens for this is another one, and stays as it is: see
//     keyring.

var (
	opGetIssuer = operation{name: "read issuer", method: http.MethodGet}
	opAddKey    = operation{name: "register signing key", method: http.MethodPost, creates: true}
	opDropKey   = operation{name: "remove signing key", method: http.MethodPost}
	opListKids  = operation{name: "list signing keys", method: http.MethodGet}
)

// An issuer is what Anthropic shows of one.
type issuer struct {
	ID         string     `json:"id"`
	URL        string     `json:"issuer_url"`
	ArchivedAt *time.Time `json:"archived_at"`
	JWKS       jwks       `json:"jwks"`
}

// A jwks is the keys of an issuer, each as Anthropic has it.
type jwks struct {
	Type string            `json:"type"`
	Keys []json.RawMessage `json:"keys"`
}

// listed are the keys of an issuer. Those of other kinds than the engine's have no x
// and y. It reports false for what is no list of keys with ids.
func (i *issuer) listed() ([]jwk, bool) {
	keys := make([]jwk, len(i.JWKS.Keys))
	for n, raw := range i.JWKS.Keys {
		if json.Unmarshal(raw, &keys[n]) != nil || keys[n].Kid == "" {
			return nil, false
		}
	}
	return keys, i.JWKS.Keys != nil
}

func (i *issuer) has(kid string) bool {
	keys, _ := i.listed()
	return slices.ContainsFunc(keys, func(k jwk) bool { return k.Kid == kid })
}

// validIssuer reports whether an answer is the issuer of an id.
func validIssuer(id string) func(*issuer) bool {
	return func(i *issuer) bool {
		_, ok := i.listed()
		return i.ID == id && i.URL != "" && i.JWKS.Type != "" && (ok || i.JWKS.Type != "inline")
	}
}

// readIssuer reads the connection's issuer. One that the engine cannot change is
// refused.
func (c *federated) readIssuer(ctx context.Context, op operation) (*issuer, error) {
	path, id, err := c.issuerPath(op)
	if err != nil {
		return nil, err
	}
	i, err := adminDo(ctx, c, request{op: op, path: path}, validIssuer(id))
	switch {
	case err != nil:
		return nil, err
	case i.ArchivedAt != nil:
		return nil, c.refuse(op, "the issuer "+id+" is archived; make another one, and rules on it")
	case i.JWKS.Type != "inline":
		return nil, c.refuse(op, "the issuer "+id+" has no inline keys; make one as a read of the connection shows it")
	}
	return i, nil
}

func (c *federated) issuerPath(op operation) (path, id string, err error) {
	id = c.config.String(fieldIssuer)
	part, ok := segment(id)
	if !ok {
		return "", "", c.refuse(op, "the connection has no "+fieldIssuer+"; write the id of the issuer that holds its public keys")
	}
	return "/v1/organizations/federation_issuers/" + part, id, nil
}

// writeKeys replaces the keys of the issuer.
func (c *federated) writeKeys(ctx context.Context, op operation, keys []json.RawMessage) error {
	path, id, err := c.issuerPath(op)
	if err != nil {
		return err
	}
	body := map[string]jwks{"jwks": {Type: "inline", Keys: keys}}
	valid := validIssuer(id)
	_, err = adminDo(ctx, c, request{op: op, path: path, body: body}, func(i *issuer) bool {
		return valid(i) && len(i.JWKS.Keys) == len(keys)
	})
	return err
}

// AdminScope returns the id of the issuer, which no other organization can read.
func (c *federated) AdminScope(ctx context.Context) (string, error) {
	i, err := c.readIssuer(ctx, opGetIssuer)
	if err != nil {
		return "", err
	}
	return i.ID, nil
}

// MintAdmin makes a signing key whose kid is name, and registers it beside those
// that there are. The answer is a keyring in which it is the workload key. Signing
// keys have no expiry.
func (c *federated) MintAdmin(ctx context.Context, name string, _ time.Time) (provider.Key, error) {
	ring, err := c.ring(opAddKey)
	if err != nil {
		return provider.Key{}, err
	}
	next, err := newKey(name)
	if err != nil {
		return provider.Key{}, c.refuse(opAddKey, "a key cannot be made")
	}
	now, err := c.readIssuer(ctx, opGetIssuer)
	switch {
	case err != nil:
		return provider.Key{}, err
	case now.has(name):
		return provider.Key{}, c.refuse(opAddKey, "the issuer has a key of that name")
	}
	secret, err := ring.rotated(next).secret()
	if err != nil {
		return provider.Key{}, c.refuse(opAddKey, "a key cannot be made")
	}
	if err := c.register(ctx, now, next); err != nil {
		return provider.Key{}, err
	}
	return provider.Key{ID: name, Secret: secret}, nil
}

// register adds a key to those of the issuer. Once the update has been answered, only
// a list without the key would prove that it is not there, and that may be an old
// one.
func (c *federated) register(ctx context.Context, now *issuer, next jwk) error {
	public, err := json.Marshal(next.public())
	if err != nil {
		return c.refuse(opAddKey, "a key cannot be made")
	}
	if err := c.writeKeys(ctx, opAddKey, append(slices.Clone(now.JWKS.Keys), public)); err != nil {
		return err
	}
	after, err := c.readIssuer(provider.FollowUp(ctx), opGetIssuer)
	if err == nil && !after.has(next.Kid) {
		err = c.unproven(opGetIssuer, "the issuer does not list the key")
	}
	if err != nil {
		return c.because(err, provider.Ambiguous, opAddKey, "the key may be registered, for it could not be confirmed")
	}
	return nil
}

// DeleteAdmin removes a key from the issuer. One that is not listed there is gone:
// the list is whole, and only this organization can read it.
func (c *federated) DeleteAdmin(ctx context.Context, ref provider.Ref) error {
	if id := c.config.String(fieldIssuer); ref.Scope != "" && id != "" && ref.Scope != id {
		return c.unproven(opDropKey, "the key was registered with the issuer "+ref.Scope+", and the connection now names "+id)
	}
	now, err := c.readIssuer(ctx, opGetIssuer)
	switch {
	case provider.IsKind(err, provider.NotFound):
		return c.because(err, provider.Unavailable, opDropKey, "Anthropic does not find the issuer")
	case err != nil:
		return err
	case !now.has(ref.ID):
		return &provider.Error{Kind: provider.NotFound, Provider: c.name, Op: opDropKey.name, Reason: "the issuer does not list the key"}
	}
	rest := []json.RawMessage{}
	keys, _ := now.listed()
	for n, raw := range now.JWKS.Keys {
		if keys[n].Kid != ref.ID {
			rest = append(rest, raw)
		}
	}
	if len(rest) == 0 {
		nobodys, err := nobodysKey()
		if err != nil {
			return c.refuse(opDropKey, "no key could be made to take the place of the last one")
		}
		rest = append(rest, nobodys)
	}
	return c.drop(ctx, ref.ID, rest)
}

// nobodysKey is a public key to which nobody has the private one. An issuer has to
// list some key, and archiving it would have to wait for its rules.
func nobodysKey() (json.RawMessage, error) {
	key, err := newKey("")
	if err != nil {
		return nil, err
	}
	return json.Marshal(key.public())
}

// drop writes the keys without one, and sees that it is gone.
func (c *federated) drop(ctx context.Context, kid string, rest []json.RawMessage) error {
	err := c.writeKeys(provider.Repeatable(ctx), opDropKey, rest)
	if provider.IsKind(err, provider.NotFound) {
		return c.because(err, provider.Unavailable, opDropKey, "Anthropic answers not found, yet the issuer could be read")
	}
	if err != nil {
		return err
	}
	after, err := c.readIssuer(provider.FollowUp(ctx), opGetIssuer)
	switch {
	case err != nil:
		return c.because(err, provider.Unavailable, opDropKey, "the removal could not be confirmed")
	case after.has(kid):
		return c.unproven(opDropKey, "the issuer still lists the key")
	}
	return nil
}

// FindAdmins yields the keys that the issuer lists.
func (c *federated) FindAdmins(ctx context.Context) iter.Seq2[provider.Found, error] {
	return func(yield func(provider.Found, error) bool) {
		i, err := c.readIssuer(ctx, opListKids)
		if err != nil {
			yield(provider.Found{}, err)
			return
		}
		keys, _ := i.listed()
		for _, k := range keys {
			if !yield(provider.Found{ID: k.Kid, Name: k.Kid}, nil) {
				return
			}
		}
	}
}

// IdentifyAdmin returns the kids under which the issuer lists the workload key of a
// keyring. Where the issuer cannot be read for want of an admin rule, the keyring's
// own word must do.
func (c *federated) IdentifyAdmin(ctx context.Context, key provider.Secret) ([]string, error) {
	ring, err := parseKeyring(key)
	if err != nil {
		return nil, nil //nolint:nilerr // it is none of ours, which is the answer
	}
	if !c.administers() {
		return []string{ring.Workload.Kid}, nil
	}
	i, err := c.readIssuer(ctx, opListKids)
	if err != nil {
		return nil, err
	}
	var kids []string
	keys, _ := i.listed()
	for _, k := range keys {
		if k.X == ring.Workload.X && k.Y == ring.Workload.Y {
			kids = append(kids, k.Kid)
		}
	}
	return kids, nil
}

// administers reports whether the connection names all that a rotation needs.
func (c *federated) administers() bool {
	return c.config.String(fieldAdminRule) != "" && c.config.String(fieldIssuer) != ""
}

// VerifyAdmin checks what the connection names: that the admin rule gives a token,
// and that the issuer lists the workload key. Without either there is nothing that
// could be asked.
func (c *federated) VerifyAdmin(ctx context.Context) error {
	ring, err := c.ring(opGetIssuer)
	if err != nil || c.config.String(fieldAdminRule) == "" {
		return err
	}
	if c.config.String(fieldIssuer) == "" {
		_, err := c.asAdmin(ctx)
		return err
	}
	i, err := c.readIssuer(ctx, opGetIssuer)
	if err != nil {
		return err
	}
	if want := issuerURL(c.config, ring); i.URL != want {
		return c.refuse(opGetIssuer, "the issuer has another issuer_url than assertions name, which is "+want)
	}
	keys, _ := i.listed()
	own := ring.Workload
	if !slices.ContainsFunc(keys, func(k jwk) bool { return k.Kid == own.Kid && k.X == own.X && k.Y == own.Y }) {
		return &provider.Error{
			Kind: provider.Unauthorized, Provider: c.name, Op: opGetIssuer.name,
			Reason: "the issuer does not list the connection's key " + own.Kid,
		}
	}
	return nil
}

// TryAdmin checks that the issuer lists the key and that the admin rule gives a
// token. Whether the exchange knows the key shows only when a role mints; until it
// does, the previous key is used.
func (c *federated) TryAdmin(ctx context.Context, id string) error {
	i, err := c.readIssuer(ctx, opGetIssuer)
	if err == nil && !i.has(id) {
		err = c.unproven(opGetIssuer, "the issuer does not list the key yet")
	}
	return tried(err)
}
