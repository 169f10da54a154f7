package fakeanthropic

import (
	"encoding/json"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// The operations. What changes a key, or an issuer's keys, is one request with
// several meanings; an exchange is told by the scope of its rule.
const (
	OpListKeys              fake.Op = "list_keys"
	OpGetKey                fake.Op = "get_key"
	OpCreateKey             fake.Op = "create_key" // which Anthropic does not have
	OpActivateKey           fake.Op = "activate_key"
	OpDeactivateKey         fake.Op = "deactivate_key"
	OpUpdateKey             fake.Op = "update_key" // its name alone
	OpListWorkspaces        fake.Op = "list_workspaces"
	OpGetWorkspace          fake.Op = "get_workspace"
	OpAddMember             fake.Op = "add_member"
	OpRemoveMember          fake.Op = "remove_member"
	OpCreateServiceAccount  fake.Op = "create_service_account"
	OpArchiveServiceAccount fake.Op = "archive_service_account"
	OpCreateIssuer          fake.Op = "create_issuer"
	OpGetIssuer             fake.Op = "get_issuer"
	OpAddIssuerKeys         fake.Op = "add_issuer_keys"
	OpDropIssuerKeys        fake.Op = "drop_issuer_keys" // or write as many again
	OpUpdateIssuer          fake.Op = "update_issuer"    // but its keys
	OpArchiveIssuer         fake.Op = "archive_issuer"
	OpCreateRule            fake.Op = "create_rule"
	OpGetRule               fake.Op = "get_rule"
	OpArchiveRule           fake.Op = "archive_rule"
	OpExchange              fake.Op = "exchange"
	OpAdminExchange         fake.Op = "admin_exchange"
	OpListModels            fake.Op = "list_models"
	OpMessage               fake.Op = "message"
)

// A plane says which credential a path wants.
type plane int

const (
	open       plane = iota // none
	dataPlane               // a key, or a token of a workspace
	admin                   // the Admin API key, or a token of the scope org:admin
	oauthAdmin              // such a token only
)

// A route is one operation: where it is and what does it.
type route struct {
	op     fake.Op
	plane  plane
	method string
	path   string // segments in braces stand for any
	do     func(*Server, *call) (any, *refusal)
}

func routes() []route {
	const (
		org        = "/v1/organizations"
		keys       = org + "/api_keys"
		workspaces = org + "/workspaces"
		accounts   = org + "/service_accounts"
		issuers    = org + "/federation_issuers"
		rules      = org + "/federation_rules"
	)
	return []route{
		{OpListKeys, admin, "GET", keys, (*Server).listKeys},
		{OpCreateKey, admin, "POST", keys, (*Server).createKey},
		{OpGetKey, admin, "GET", keys + "/{id}", (*Server).getKey},
		{OpUpdateKey, admin, "POST", keys + "/{id}", (*Server).updateKey},
		{OpListWorkspaces, admin, "GET", workspaces, (*Server).listWorkspaces},
		{OpGetWorkspace, admin, "GET", workspaces + "/{id}", (*Server).getWorkspace},
		{OpAddMember, oauthAdmin, "POST", workspaces + "/{id}/service_accounts", (*Server).addMember},
		{OpRemoveMember, oauthAdmin, "DELETE", workspaces + "/{id}/service_accounts/{sub}", (*Server).removeMember},
		{OpCreateServiceAccount, oauthAdmin, "POST", accounts, (*Server).createAccount},
		{OpArchiveServiceAccount, oauthAdmin, "POST", accounts + "/{id}/archive", (*Server).archiveAccount},
		{OpCreateIssuer, oauthAdmin, "POST", issuers, (*Server).createIssuer},
		{OpGetIssuer, oauthAdmin, "GET", issuers + "/{id}", (*Server).getIssuer},
		{OpUpdateIssuer, oauthAdmin, "POST", issuers + "/{id}", (*Server).updateIssuer},
		{OpArchiveIssuer, oauthAdmin, "POST", issuers + "/{id}/archive", (*Server).archiveIssuer},
		{OpCreateRule, oauthAdmin, "POST", rules, (*Server).createRule},
		{OpGetRule, oauthAdmin, "GET", rules + "/{id}", (*Server).getRule},
		{OpArchiveRule, oauthAdmin, "POST", rules + "/{id}/archive", (*Server).archiveRule},
		{OpExchange, open, "POST", "/v1/oauth/token", (*Server).exchange},
		{OpListModels, dataPlane, "GET", "/v1/models", (*Server).listModels},
		{OpMessage, dataPlane, "POST", "/v1/messages", (*Server).message},
	}
}

// Ops returns all operations.
func Ops() []fake.Op {
	ops := []fake.Op{OpActivateKey, OpDeactivateKey, OpAddIssuerKeys, OpDropIssuerKeys, OpAdminExchange}
	for _, rt := range routes() {
		ops = append(ops, rt.op)
	}
	return ops
}

// meaningLocked is the operation that a request's body makes of its route.
func (s *Server) meaningLocked(r *route, ids []string, body []byte) fake.Op {
	switch r.op {
	case OpUpdateKey:
		var asked struct{ Status string }
		_ = json.Unmarshal(body, &asked)
		switch asked.Status {
		case statusActive:
			return OpActivateKey
		case statusInactive, statusArchived:
			return OpDeactivateKey
		}
	case OpUpdateIssuer:
		var asked struct {
			JWKS struct{ Keys []json.RawMessage }
		}
		_ = json.Unmarshal(body, &asked)
		switch known := s.issuerLocked(ids[0]); {
		case known == nil || asked.JWKS.Keys == nil:
		case len(asked.JWKS.Keys) > len(known.keys):
			return OpAddIssuerKeys
		default:
			return OpDropIssuerKeys
		}
	case OpExchange:
		var asked struct {
			Rule string `json:"federation_rule_id"`
		}
		_ = json.Unmarshal(body, &asked)
		if known := s.ruleLocked(asked.Rule); known != nil && known.scope == scopeAdmin {
			return OpAdminExchange
		}
	}
	return r.op
}
