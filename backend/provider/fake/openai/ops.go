package fakeopenai

import (
	"net/http"
	"net/url"
	"strings"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// An Op is one operation of the API. It names a method and a kind of path.
type Op = fake.Op

// The operations. OpAny stands for all of them in a Fault or a Count, and is the
// Op of a Request that met no operation at all.
const (
	OpAny = fake.OpAny

	OpListProjects Op = "list_projects"
	OpGetProject   Op = "get_project"

	OpCreateServiceAccount Op = "create_service_account"
	OpGetServiceAccount    Op = "get_service_account"
	OpUpdateServiceAccount Op = "update_service_account"
	OpListServiceAccounts  Op = "list_service_accounts"
	OpDeleteServiceAccount Op = "delete_service_account"

	OpCreateKey Op = "create_key"
	OpGetKey    Op = "get_key"
	OpUpdateKey Op = "update_key"
	OpListKeys  Op = "list_keys"
	OpDeleteKey Op = "delete_key"

	OpCreateAdminKey Op = "create_admin_key"
	OpGetAdminKey    Op = "get_admin_key"
	OpListAdminKeys  Op = "list_admin_keys"
	OpDeleteAdminKey Op = "delete_admin_key"

	// OpListModels and OpCompletion are the data plane. A completion is a chat
	// completion or a response.
	OpListModels Op = "list_models"
	OpCompletion Op = "completion"
)

// A plane says which credential a path wants.
type plane int

const (
	adminPlane plane = iota
	dataPlane
)

// A route is one operation: where it is and what does it.
type route struct {
	op     Op
	plane  plane
	method string
	path   []string // segments; one in braces stands for any
	do     func(*Server, *call) (object, *refusal)
}

// routes returns all operations in the order of Ops.
func routes() []route {
	const (
		projects = "/v1/organization/projects"
		project  = projects + "/{project}"
		accounts = project + "/service_accounts"
		account  = accounts + "/{account}"
		keys     = project + "/api_keys"
		key      = keys + "/{key}"
		admins   = "/v1/organization/admin_api_keys"
		admin    = admins + "/{key}"
	)
	return []route{
		on(OpListProjects, "GET", projects, (*Server).listProjects),
		on(OpGetProject, "GET", project, (*Server).getProject),
		on(OpCreateServiceAccount, "POST", accounts, (*Server).createAccount),
		on(OpGetServiceAccount, "GET", account, (*Server).getAccount),
		on(OpUpdateServiceAccount, "POST", account, (*Server).updateAccount),
		on(OpListServiceAccounts, "GET", accounts, (*Server).listAccounts),
		on(OpDeleteServiceAccount, "DELETE", account, (*Server).deleteAccount),
		on(OpCreateKey, "POST", account+"/api_keys", (*Server).createKey),
		on(OpGetKey, "GET", key, (*Server).getKey),
		on(OpUpdateKey, "POST", key, (*Server).updateKey),
		on(OpListKeys, "GET", keys, (*Server).listKeys),
		on(OpDeleteKey, "DELETE", key, (*Server).deleteKey),
		on(OpCreateAdminKey, "POST", admins, (*Server).createAdminKey),
		on(OpGetAdminKey, "GET", admin, (*Server).getAdminKey),
		on(OpListAdminKeys, "GET", admins, (*Server).listAdminKeys),
		on(OpDeleteAdminKey, "DELETE", admin, (*Server).deleteAdminKey),
		data(on(OpListModels, "GET", "/v1/models", (*Server).listModels)),
		data(on(OpCompletion, "POST", "/v1/chat/completions", (*Server).completeChat)),
		data(on(OpCompletion, "POST", "/v1/responses", (*Server).respond)),
	}
}

func on(op Op, method, path string, do func(*Server, *call) (object, *refusal)) route {
	return route{op: op, method: method, path: strings.Split(path[1:], "/"), do: do}
}

func data(r route) route {
	r.plane = dataPlane
	return r
}

// Ops lists every operation, for tests that go through all of them.
func Ops() []Op {
	var ops []Op
	for _, r := range routes() {
		if len(ops) == 0 || ops[len(ops)-1] != r.op {
			ops = append(ops, r.op)
		}
	}
	return ops
}

// match finds the route of a request and the ids in its path. It is strict: no
// path is cleaned, no trailing slash forgiven, HEAD is not GET.
func (s *Server) match(r *http.Request) (*route, map[string]string, *refusal) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), fake.MovedPrefix)
	known := false
	for i := range s.routes {
		ids, ok := s.routes[i].ids(path)
		if !ok {
			continue
		}
		if s.routes[i].method == r.Method {
			return &s.routes[i], ids, nil
		}
		known = true
	}
	if known {
		return nil, nil, methodNotAllowed(r)
	}
	return nil, nil, unknownURL(r)
}

func (rt *route) ids(path string) (map[string]string, bool) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(segments) != len(rt.path) {
		return nil, false
	}
	ids := map[string]string{}
	for i, want := range rt.path {
		have, err := url.PathUnescape(segments[i])
		name, isID := strings.CutPrefix(want, "{")
		switch {
		case err != nil || have == "":
			return nil, false
		case isID:
			ids[strings.TrimSuffix(name, "}")] = have
		case have != want:
			return nil, false
		}
	}
	return ids, true
}
