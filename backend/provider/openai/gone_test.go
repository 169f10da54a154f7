package openai_test

import (
	"net/http"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// TestNotFoundIsNotBelievedWhileTheKeyIsThere gives 404s that are not the truth.
func TestNotFoundIsNotBelievedWhileTheKeyIsThere(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		bot := o.ensure("bot")
		key := o.mint(bot)
		ref := provider.Ref{ID: key.ID, Scope: project}

		// A gateway that routes nothing for a moment, and one that routes no DELETE.
		for _, op := range []fakeopenai.Op{fakeopenai.OpAny, fakeopenai.OpDeleteKey} {
			o.Inject(fakeopenai.Fault{Op: op, Status: http.StatusNotFound, Corrupt: fakeopenai.HTMLBody})
			o.wantKind(o.Delete(o.Context(), ref), provider.Unavailable)
			o.ClearFaults()
		}
		// The admin key of another organization.
		other := fakeopenai.New(fakeopenai.WithProject("proj_other"))
		stranger := connect(o.T, (&world{other}).Settings(), other.RoundTripper())
		o.wantKind(stranger.Delete(o.Context(), ref), provider.Unavailable)
		o.wantKind(stranger.(provider.PrincipalKeeper).DeletePrincipal(o.Context(), bot), provider.Unavailable)

		if !o.Alive(key.Secret.Reveal()) {
			o.Fatal("the key is dead")
		}
		if err := o.Delete(o.Context(), ref); err != nil {
			o.Error(err)
		}
		o.wantKind(o.Delete(o.Context(), ref), provider.NotFound)
	})
}

func TestOrganizationIsSent(t *testing.T) {
	for _, id := range []string{"", "org-demo"} {
		w := answering(`{"object":"list","data":[]}`)
		var sent []string
		answer := w.answer
		w.answer = func(req *http.Request) string {
			sent = req.Header.Values("OpenAI-Organization")
			return answer(req)
		}
		settings := provider.Settings{AdminKey: goodKey, Fields: provider.Values{"organization_id": id}}
		client := connect(t, settings, w)
		if err := client.(provider.AdminVerifier).VerifyAdmin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id == "" && len(sent) != 0 || id != "" && (len(sent) != 1 || sent[0] != id) {
			t.Errorf("organization %q: sent %v", id, sent)
		}
	}
}
