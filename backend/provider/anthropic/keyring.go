package anthropic

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file makes the signing keys, and signs with them.

// A keyring is the admin key of a connection, as JSON. It never leaves the engine:
//
//	{"version":1,"workload":{…JWK…},"previous":[{…}],"admin":{…}}
type keyring struct {
	Version int `json:"version"`
	// Workload signs the assertions that tokens are exchanged for. A rotation
	// replaces it.
	Workload jwk `json:"workload"`
	// Previous are those before, the last first: several rotations may be quicker than
	// the exchange forgets what it has cached.
	Previous []jwk `json:"previous,omitempty"`
	// Admin signs the assertions for tokens of the scope org:admin. Its issuer can be
	// changed in the Console alone, so it is never rotated.
	Admin jwk `json:"admin"`
}

// A jwk is a signing key on the curve P-256. D is private.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Kid string `json:"kid"`
	X   string `json:"x"`
	Y   string `json:"y"`
	D   string `json:"d,omitempty"`
}

// A publicJWK is what Anthropic gets of a jwk.
type publicJWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Kid string `json:"kid"`
	X   string `json:"x"`
	Y   string `json:"y"`
	Alg string `json:"alg"`
	Use string `json:"use"`
}

func (k jwk) public() publicJWK {
	return publicJWK{Kty: k.Kty, Crv: k.Crv, Kid: k.Kid, X: k.X, Y: k.Y, Alg: "ES256", Use: "sig"}
}

const keyringVersion = 1

var base64url = base64.RawURLEncoding

// newKeyring makes the admin key of a new connection.
func newKeyring() (keyring, error) {
	workload, err := newKey("")
	if err != nil {
		return keyring{}, err
	}
	admin, err := newKey("")
	return keyring{Version: keyringVersion, Workload: workload, Admin: admin}, err
}

// newKey makes a signing key. Its kid is its thumbprint (RFC 7638), unless another
// is given.
func newKey(kid string) (jwk, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return jwk{}, err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return jwk{}, err
	}
	d, err := key.Bytes()
	if err != nil {
		return jwk{}, err
	}
	out := jwk{
		Kty: "EC", Crv: "P-256", Kid: kid, D: base64url.EncodeToString(d),
		X: base64url.EncodeToString(point[1:33]), Y: base64url.EncodeToString(point[33:]),
	}
	if kid == "" {
		out.Kid = out.thumbprint()
	}
	return out, nil
}

func (k jwk) thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, k.Crv, k.Kty, k.X, k.Y))
	return base64url.EncodeToString(sum[:])
}

// keptKeys is how many keys that were replaced a keyring keeps.
const keptKeys = 3

// rotated is the keyring in which another key signs for workloads.
func (r keyring) rotated(next jwk) keyring {
	previous := append([]jwk{r.Workload}, r.Previous...)
	previous = previous[:min(len(previous), keptKeys)]
	return keyring{Version: keyringVersion, Workload: next, Previous: previous, Admin: r.Admin}
}

// secret is a keyring as it is stored.
func (r keyring) secret() (provider.Secret, error) {
	text, err := json.Marshal(r)
	return provider.Secret(text), err
}

var errNoKeyring = errors.New("is no keyring")

// parseKeyring reads what secret wrote. Its error says nothing of the key.
func parseKeyring(s provider.Secret) (keyring, error) {
	var r keyring
	if json.Unmarshal([]byte(s.Reveal()), &r) != nil || r.Version != keyringVersion {
		return keyring{}, errNoKeyring
	}
	keys := []jwk{r.Workload, r.Admin}
	keys = append(keys, r.Previous...)
	for _, k := range keys {
		if _, err := k.private(); err != nil || k.Kid == "" {
			return keyring{}, errNoKeyring
		}
	}
	return r, nil
}

// private checks a key and returns what signs.
func (k jwk) private() (*ecdsa.PrivateKey, error) {
	d, err := base64url.DecodeString(k.D)
	if err != nil {
		return nil, errNoKeyring
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		return nil, errNoKeyring
	}
	point, err := key.PublicKey.Bytes()
	if err != nil || k.X != base64url.EncodeToString(point[1:33]) || k.Y != base64url.EncodeToString(point[33:]) {
		return nil, errNoKeyring
	}
	return key, nil
}

// hidden are the secrets of a keyring.
func (r keyring) hidden() []provider.Secret {
	hide := []provider.Secret{provider.Secret(r.Workload.D), provider.Secret(r.Admin.D)}
	for _, k := range r.Previous {
		hide = append(hide, provider.Secret(k.D))
	}
	return hide
}

// sign makes a JWT of claims, by ES256 (RFC 7518): the signature is r and s, each of
// 32 bytes.
func (k jwk) sign(claims map[string]any) (provider.Secret, error) {
	key, err := k.private()
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(map[string]string{"alg": "ES256", "typ": "JWT", "kid": k.Kid})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64url.EncodeToString(header) + "." + base64url.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return provider.Secret(signed + "." + base64url.EncodeToString(signature)), nil
}
