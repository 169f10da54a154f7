package providertest

import (
	"errors"
	"net/http"

	"vault-plugin-secrets-llm/backend/provider"
)

var accountChecks = []check{
	{"the admin key is verified", verifiesAdmin},
	{"a role is checked", checksRole},
}

func verifiesAdmin(b *bench) {
	v, ok := b.client.(provider.AdminVerifier)
	if !ok {
		b.Skip("no provider.AdminVerifier")
	}
	verify := func() error { return b.note(v.VerifyAdmin(b.Context())) }
	if err := verify(); err != nil {
		b.Error(err)
	}
	for status, kind := range kinds() {
		if b.Break(VerifyAdmin, Fault{Status: status, Times: 1}) {
			b.wantKind(verify(), kind)
		}
	}
	for _, how := range []string{"{}", "null", "[]", `{"data":null}`, `{"data":"all"}`, "<html>sign in</html>"} {
		if b.Break(VerifyAdmin, Fault{Status: http.StatusOK, Body: how, Times: 1}) {
			b.wantKind(verify(), provider.Unavailable)
		}
	}

	client := b.connect(b.Settings().AdminKey + "x")
	b.wantKind(b.note(client.(provider.AdminVerifier).VerifyAdmin(b.Context())), provider.Unauthorized)
}

func checksRole(b *bench) {
	c, ok := b.client.(provider.RoleChecker)
	if !ok {
		b.Skip("no provider.RoleChecker")
	}
	checkRole := func() error { return b.note(c.CheckRoleAt(b.Context(), b.Role())) }
	if err := checkRole(); err != nil {
		b.Error(err)
	}
	for status, kind := range kinds() {
		if kind != provider.NotFound && b.Break(CheckRole, Fault{Status: status, Times: 1}) {
			b.wantKind(checkRole(), kind)
		}
	}
	if b.Break(CheckRole, Fault{Status: http.StatusNotFound, Times: 1}) {
		if _, ok := errors.AsType[*provider.FieldError](checkRole()); !ok {
			b.Error("want a FieldError for what does not exist")
		}
	}
	for _, body := range []string{"{}", "null", "[]", "<html>sign in</html>"} {
		if b.Break(CheckRole, Fault{Status: http.StatusOK, Body: body, Times: 1}) {
			b.wantKind(checkRole(), provider.Unavailable)
		}
	}
}
