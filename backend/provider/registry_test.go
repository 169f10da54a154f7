package provider

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

// A paper is a provider of which there is only a name and a field.
type paper struct {
	Provider
	name  string
	field framework.FieldType
}

func (p paper) Name() string { return p.name }

func (p paper) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{"shared": {Type: p.field}, p.name + "_config": {Type: framework.TypeBool}}
}

func (p paper) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{p.name + "_role": {Type: framework.TypeInt}}
}

func (p paper) Answers() Answers {
	return Answers{Key: map[string]string{"shared": p.name + ": a text.", p.name + "_key": "A text."}}
}

func TestRegistry(t *testing.T) {
	r, err := NewRegistry(paper{name: "zeta", field: framework.TypeString}, paper{name: "alpha", field: framework.TypeString})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Names(); !slices.Equal(got, []string{"alpha", "zeta"}) {
		t.Errorf("got names %q", got)
	}
	if p, ok := r.Get("zeta"); !ok || p.Name() != "zeta" {
		t.Errorf("got %v, %t", p, ok)
	}
	if p, ok := r.Get("omega"); ok {
		t.Errorf("got %v of a name that nobody has", p)
	}
	if n := len(r.ConfigFields()); n != 3 {
		t.Errorf("got %d config fields, want 3", n)
	}
	if got := r.Answers().Key; len(got) != 3 || got["shared"] != "zeta: a text. alpha: a text." {
		t.Errorf("got answers %q", got)
	}
	delete(r.RoleFields(), "zeta_role")
	if _, ok := r.RoleFields()["zeta_role"]; !ok {
		t.Error("what a caller does to the fields reaches the registry")
	}
}

func TestRegistryRefuses(t *testing.T) {
	one := paper{name: "one", field: framework.TypeString}
	for want, providers := range map[string][]Provider{
		`provider "one" is registered twice`: {one, one},
		`provider "two" declares field "shared" as bool, another as string`: {
			one, paper{name: "two", field: framework.TypeBool},
		},
	} {
		if _, err := NewRegistry(providers...); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

type bare struct{}

func (bare) Mint(context.Context, Spec) (Key, error)              { return Key{}, nil }
func (bare) Delete(context.Context, Ref) error                    { return nil }
func (bare) Find(context.Context, string) iter.Seq2[Found, error] { return nil }

type able struct {
	bare
	PrincipalKeeper
	KeyVerifier
	KeyReader
	AdminVerifier
	RoleChecker
	RoleCloser
	PoolKeeper
}

func (able) Extend(context.Context, Ref, time.Time) (time.Time, error) { return time.Time{}, nil }

func TestCapabilities(t *testing.T) {
	for _, test := range []struct {
		provider bounded
		client   Client
		want     []string
	}{
		{bounded{}, bare{}, []string{"mint", "revoke"}},
		{bounded{limits: Limits{Irrevocable: true}}, bare{}, []string{"mint"}},
		{
			bounded{can: Guardrails{PerKey: []string{FieldModels}}},
			able{},
			[]string{
				"check_role", "close_role", "extend", "mint", "models", "pool", "principal", "read_key", "revoke", "verify_admin", "verify_key",
			},
		},
	} {
		if got := Capabilities(test.provider, test.client); !slices.Equal(got, test.want) {
			t.Errorf("%T: got %q, want %q", test.client, got, test.want)
		}
	}
}
