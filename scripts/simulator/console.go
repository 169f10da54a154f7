package main

import (
	"fmt"
	"io"
	"net/http"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

// consolePath begins the paths of what the API does not have.
const consolePath = "/console"

// withConsole adds what a person does in the Claude Console, and no API key may do:
//
//	POST /console/issuers   the body that a read of the connection shows
//	POST /console/rules     the body that a read of the role, or of the connection, shows
//
// Each answers the id of what it made.
func withConsole(org *fakeanthropic.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", org)
	mux.Handle("POST "+consolePath+"/issuers", console(org.CreateIssuer))
	mux.Handle("POST "+consolePath+"/rules", console(org.CreateRule))
	return mux
}

// console makes something of a request's body.
func console(create func(body string) (id string, err error)) http.Handler {
	const longest = 1 << 20
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id, err := create(string(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, id)
	})
}
