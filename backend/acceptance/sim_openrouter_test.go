package acceptance

import (
	"net/http"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
)

const nameOpenRouter = "openrouter"

// A simOpenRouter is an OpenRouter account.
type simOpenRouter struct{ *fakeopenrouter.Server }

func newOpenRouter() simOpenRouter { return simOpenRouter{fakeopenrouter.New()} }

func (o simOpenRouter) variables(url string) map[string]string {
	return map[string]string{
		"OPENROUTER_URL":       url + "/api/v1",
		"OPENROUTER_ADMIN_KEY": o.AdminKey(),
		"OPENROUTER_WORKSPACE": fakeopenrouter.DefaultWorkspace,
	}
}

func (o simOpenRouter) ops() []fake.Op { return fakeopenrouter.Ops() }

func (o simOpenRouter) keys() []simKey {
	live := map[string]bool{}
	for _, k := range o.LiveKeys() {
		live[k.Hash] = true
	}
	var all []simKey
	for _, k := range o.Keys() {
		all = append(all, simKey{id: k.Hash, name: k.Name, secret: k.Secret, live: live[k.Hash]})
	}
	return all
}

func (o simOpenRouter) arrived() []simRequest {
	var all []simRequest
	for _, r := range o.Requests() {
		all = append(all, simRequest{op: r.Op, path: r.Path, query: r.RawQuery, status: r.Status})
	}
	return all
}

func (o simOpenRouter) deletes(r *http.Request) string { return deletedPath(r) }

func (o simOpenRouter) knobs(fields []string) error {
	var knobs fakeopenrouter.Knobs
	if err := setFields(&knobs, fields); err != nil {
		return err
	}
	o.SetKnobs(knobs)
	return nil
}

func (o simOpenRouter) plant(workspace, name string) simKey {
	k := o.PlantKey(workspace, name)
	return simKey{id: k.Hash, name: k.Name, secret: k.Secret}
}

func (o simOpenRouter) words() map[string]word { return nil }
