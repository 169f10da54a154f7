package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
)

// A Registry holds the providers that one mount offers. It does not change
// after NewRegistry and is safe for concurrent use.
type Registry struct {
	providers map[string]Provider
	config    map[string]*framework.FieldSchema
	role      map[string]*framework.FieldSchema
	answers   Answers
}

// NewRegistry returns a registry of the given providers. It fails if two share
// a name, or declare one field with different types.
func NewRegistry(providers ...Provider) (*Registry, error) {
	r := &Registry{
		providers: map[string]Provider{},
		config:    map[string]*framework.FieldSchema{},
		role:      map[string]*framework.FieldSchema{},
		answers:   Answers{Connection: map[string]string{}, Role: map[string]string{}, Key: map[string]string{}},
	}
	maps.Copy(r.role, guardrailFields)
	for _, p := range providers {
		if _, ok := r.providers[p.Name()]; ok {
			return nil, fmt.Errorf("provider %q is registered twice", p.Name())
		}
		r.providers[p.Name()] = p
		if err := mergeFields(r.config, p.ConfigFields(), p.Name()); err != nil {
			return nil, err
		}
		if err := mergeFields(r.role, p.RoleFields(), p.Name()); err != nil {
			return nil, err
		}
		answers := p.Answers()
		mergeTexts(r.answers.Connection, answers.Connection)
		mergeTexts(r.answers.Role, answers.Role)
		mergeTexts(r.answers.Key, answers.Key)
	}
	return r, nil
}

func mergeFields(into, from map[string]*framework.FieldSchema, name string) error {
	for field, schema := range from {
		if have, ok := into[field]; ok && have.Type != schema.Type {
			return fmt.Errorf("provider %q declares field %q as %s, another as %s", name, field, schema.Type, have.Type)
		}
		into[field] = described(into[field], schema)
	}
	return nil
}

// described is a field with what all its providers say of it.
func described(have, more *framework.FieldSchema) *framework.FieldSchema {
	if have == nil {
		return more
	}
	if strings.Contains(have.Description, more.Description) {
		return have
	}
	both := *have
	both.Description += " " + more.Description
	return &both
}

// mergeTexts keeps all that providers say of a name.
func mergeTexts(into, from map[string]string) {
	for name, text := range from {
		if have := into[name]; strings.Contains(have, text) {
			text = have
		} else if have != "" {
			text = have + " " + text
		}
		into[name] = text
	}
}

// Get returns the provider of a name.
func (r *Registry) Get(name string) (Provider, bool) {
	p, ok := r.providers[name]
	return p, ok
}

// Names lists the providers, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.providers)) }

// ConfigFields and RoleFields are the fields of all providers together.
func (r *Registry) ConfigFields() map[string]*framework.FieldSchema { return maps.Clone(r.config) }

// RoleFields is described at ConfigFields.
func (r *Registry) RoleFields() map[string]*framework.FieldSchema { return maps.Clone(r.role) }

// Answers are those of all providers together.
func (r *Registry) Answers() Answers {
	return Answers{Connection: maps.Clone(r.answers.Connection), Role: maps.Clone(r.answers.Role), Key: maps.Clone(r.answers.Key)}
}
