package providertest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

var describeChecks = []check{
	{"fields", describesFields},
	{"guardrails", describesGuardrails},
	{"limits", describesLimits},
	{"settings and role are accepted, as JSON brings them back too", acceptsGood},
	{"an empty admin key is refused", refusesEmptyAdminKey},
	{"an admin key that it makes is accepted", makesAdminKey},
	{"what it publishes is described, and no secret", publishesNoSecret},
	{"a refusal does not echo the admin key", refusalHidesAdminKey},
	{"abilities are known without a connection", describesAbilities},
}

func describesFields(b *bench) {
	types := []framework.FieldType{
		framework.TypeString, framework.TypeCommaStringSlice, framework.TypeBool, framework.TypeInt,
	}
	for _, fields := range []map[string]*framework.FieldSchema{b.provider.ConfigFields(), b.provider.RoleFields()} {
		for name, schema := range fields {
			if !slices.Contains(types, schema.Type) || schema.Description == "" || schema.DisplayAttrs == nil {
				b.Errorf("field %s: type %s, description %q, display %v; want one of %v, and both texts",
					name, schema.Type, schema.Description, schema.DisplayAttrs, types)
			}
		}
	}
	if name := b.provider.Name(); name == "" || name != strings.ToLower(name) {
		b.Errorf("got name %q, want one in lower case", name)
	}
}

func describesGuardrails(b *bench) {
	can := b.provider.Guardrails()
	for _, field := range can.PerKey {
		if !provider.IsGuardrail(field) || slices.Contains(slices.Collect(maps.Keys(b.provider.RoleFields())), field) {
			b.Errorf("field %s: want a common one, and not declared again", field)
		}
	}
	for field, value := range map[string]any{
		provider.FieldModels: []string{"some/model"}, provider.FieldBudget: 1.5, provider.FieldRequestsPerMinute: 60, provider.FieldTokensPerMinute: 1000,
	} {
		role := maps.Clone(b.Role())
		role[field] = value
		err := provider.CheckRole(b.provider, b.Settings().Fields, role)
		if enforced := slices.Contains(can.PerKey, field); enforced != (err == nil) {
			b.Errorf("a role with %s: got %v, and it is enforced: %t", field, err, enforced)
		}
	}
}

func describesLimits(b *bench) {
	if l := b.provider.Limits(); l.NameLength < 32 || l.Lifetime <= 0 || l.Consistency <= 0 && !l.Irrevocable {
		b.Errorf("got limits %+v, want names of at least 32 bytes, and times", l)
	}
}

func makesAdminKey(b *bench) {
	maker, ok := b.provider.(provider.AdminKeyMaker)
	if !ok {
		b.Skip("no provider.AdminKeyMaker")
	}
	settings := b.Settings()
	for range 2 {
		before := settings.AdminKey
		key, err := maker.MakeAdminKey()
		if err != nil || key == before {
			b.Fatalf("the admin key is another each time: %t, error %v", key != before, err)
		}
		settings.AdminKey = key
		if err := b.provider.CheckConfig(settings); err != nil {
			b.Error(err)
		}
	}
}

func publishesNoSecret(b *bench) {
	answers := b.provider.Answers()
	publisher, ok := b.provider.(provider.Publisher)
	if !ok {
		if len(answers.Connection)+len(answers.Role) > 0 {
			b.Error("it describes what it publishes, and publishes nothing")
		}
		b.Skip("no provider.Publisher")
	}
	holder := Holder()
	texts := []map[string]string{
		publisher.Publish(b.Settings(), holder.Mount),
		publisher.PublishRole(b.Settings(), holder.Mount, holder.Role, b.Role()),
		publisher.PublishRole(b.Settings(), holder.Mount, holder.Role, nil),
	}
	publisher.Publish(provider.Settings{}, "") // what was never written
	for i, published := range texts {
		described := answers.Role
		if i == 0 {
			described = answers.Connection
		}
		if got, want := slices.Sorted(maps.Keys(published)), slices.Sorted(maps.Keys(described)); len(got) == 0 || !slices.Equal(got, want) {
			b.Errorf("published are %q, described %q", got, want)
		}
		for name, text := range published {
			for _, secret := range b.Secrets() {
				if text == "" || strings.Contains(text, secret) {
					b.Errorf("%s is empty, or holds a secret", name)
				}
			}
		}
	}
}

func acceptsGood(b *bench) {
	settings, role := b.Settings(), b.Role()
	for range 2 {
		if err := b.provider.CheckConfig(settings); err != nil {
			b.Errorf("config: %v", err)
		}
		if err := provider.CheckRole(b.provider, settings.Fields, role); err != nil {
			b.Errorf("role: %v", err)
		}
		if b.provider.Scope(role) == "" {
			b.Error("the role has no scope")
		}
		settings.Fields, role = b.stored(settings.Fields), b.stored(role)
	}
}

// stored is what storage makes of values.
func (b *bench) stored(v provider.Values) (out provider.Values) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func refusesEmptyAdminKey(b *bench) {
	settings := b.Settings()
	settings.AdminKey = ""
	b.wantField(b.provider.CheckConfig(settings), "admin_key")
}

func refusalHidesAdminKey(b *bench) {
	key := b.Settings().AdminKey.Reveal()
	for _, bad := range []string{"x" + key, key + "\n", key + "é", " " + key, key[len(key)/2:], key[:5]} {
		settings := b.Settings()
		settings.AdminKey = provider.Secret(bad)
		err := b.provider.CheckConfig(settings)
		if err != nil && len(bad) > 5 && strings.Contains(err.Error(), strings.TrimSpace(bad)) {
			b.Errorf("the admin key is in %q", err)
		}
	}
}

func describesAbilities(b *bench) {
	client, err := b.provider.Connect(provider.Settings{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	got, want := provider.Capabilities(b.provider, client), provider.Capabilities(b.provider, b.client)
	if !slices.Equal(got, want) {
		b.Errorf("got abilities %q of an empty connection, want %q", got, want)
	}
}
