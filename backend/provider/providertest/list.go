package providertest

import (
	"context"
	"iter"
	"net/http"
	"slices"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what holds for lists of scopes and of principals.

// A listing is a bench and one of its client's lists.
type listing struct {
	*bench
	move  Move
	items func(context.Context) iter.Seq2[string, error] // the ids
	first string                                         // there from the start, and alone
	add   func(i int) (id string)                        // makes the i-th
}

// listChecks are the checks of a list. of skips the test if the client has none.
func listChecks(of func(*bench) listing) []check {
	lists := func(run func(listing)) func(*bench) {
		return func(b *bench) { run(of(b)) }
	}
	return []check{
		{"yields every one once, over all pages", lists(listAll)},
		{"fetches pages as the loop goes on", lists(listLazily)},
		{"yields an error once and last", lists(listError)},
		{"is sent again after a failure", lists(listRepeated)},
		{"never takes nonsense for an empty list", lists(listSpoiled)},
		{"never takes nonsense for the end of a list", lists(listSpoiledMidway)},
		{"ends with its context", lists(listCanceled)},
	}
}

// try reads the list. It checks that an error comes once, last and alone.
func (l listing) try(ctx context.Context) (ids []string, err error) {
	l.Helper()
	for id, e := range l.items(ctx) {
		if err != nil {
			l.Errorf("the list goes on after its error %v", err)
		}
		switch err = l.note(e); {
		case err == nil && id == "":
			l.Error("got an empty id")
		case err == nil:
			ids = append(ids, id)
		case id != "":
			l.Errorf("got id %s beside error %v", id, err)
		}
	}
	return ids, err
}

// grow makes so many more, and returns the ids of all.
func (l listing) grow(n int) []string {
	ids := []string{l.first}
	for i := range n {
		ids = append(ids, l.add(i))
	}
	return ids
}

// wantIDs checks what the list yields, in any order.
func (l listing) wantIDs(what string, want ...string) {
	l.Helper()
	got, err := l.try(l.Context())
	if err != nil {
		l.Errorf("%s: %v", what, err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		l.Errorf("%s: got %d ids %v, want %d: %v", what, len(got), got, len(want), want)
	}
}

func listAll(l listing) {
	l.wantIDs("one", l.first)
	l.wantIDs("many", l.grow(205)...)
}

func listLazily(l listing) {
	l.grow(105)
	before := l.Count(l.move)
	items := l.items(l.Context())
	l.wantCount(l.move, before)
	for _, err := range items {
		if err != nil {
			l.Fatal(err)
		}
		break
	}
	l.wantCount(l.move, before+1)
}

// pages makes a list of several pages and returns its ids; it skips the test if
// there is one page only.
func (l listing) pages() []string {
	l.Helper()
	all, before := l.grow(105), l.Count(l.move)
	l.wantIDs("pages", slices.Clone(all)...)
	if l.Count(l.move)-before < 2 {
		l.Skip("there is one page only")
	}
	return all
}

// wantHalf checks that an error ended a list of pages after the first one.
func (l listing) wantHalf(what string, all []string, kind provider.Kind) {
	l.Helper()
	ids, err := l.try(l.Context())
	l.wantKind(err, kind)
	if len(ids) == 0 || len(ids) >= len(all) {
		l.Errorf("%s: got %d ids, want those of the first page", what, len(ids))
	}
}

func listError(l listing) {
	all := l.pages()
	for status, kind := range kinds() {
		l.Mend()
		if l.Break(l.move, Fault{Skip: 1, Status: status}) {
			l.wantHalf(http.StatusText(status), all, kind)
		}
	}
	l.Mend()
	if l.Break(l.move, Fault{Skip: 1, Drop: true}) {
		l.wantHalf("drop", all, provider.Unavailable)
	}
}

func listRepeated(l listing) {
	for how, f := range lost() {
		f.Times = 2
		if l.Break(l.move, f) {
			l.wantIDs(how, l.first)
		}
	}
}

// noLists are bodies that are no list of things with ids.
func noLists() []string {
	return []string{
		"{}", "null", "[]", `"ok"`, "", "<html>sign in</html>", `{"data":null}`, `{"data":"all"}`, `{"data":{}}`,
		`{"data":[{}]}`, `{"data":[null]}`, `{"data":[{"id":null}]}`, `{"data":[{"id":""}]}`, `{"data":[{"id":7}]}`,
		`{"data":[{"id":{"text":"x"}}]}`, `{"object":"list","has_more":false}`,
	}
}

func listSpoiled(l listing) {
	for _, how := range l.Spoils() {
		l.Mend()
		if !l.Break(l.move, Fault{Spoil: how}) {
			continue
		}
		ids, err := l.try(l.Context())
		if err != nil {
			l.wantKind(err, provider.Unavailable)
		} else if !slices.Equal(ids, []string{l.first}) {
			l.Errorf("%s: got ids %v and no error, want %s", how, ids, l.first)
		}
	}
	for _, body := range noLists() {
		l.Mend()
		if l.Break(l.move, Fault{Status: http.StatusOK, Body: body, HTML: body == ""}) {
			ids, err := l.try(l.Context())
			if l.wantKind(err, provider.Unavailable); len(ids) != 0 {
				l.Errorf("%s: got ids %v", body, ids)
			}
		}
	}
}

func listSpoiledMidway(l listing) {
	all := l.pages()
	for _, body := range noLists() {
		l.Mend()
		if l.Break(l.move, Fault{Skip: 1, Status: http.StatusOK, Body: body, HTML: body == ""}) {
			l.wantHalf(body, all, provider.Unavailable)
		}
	}
}

func listCanceled(l listing) {
	all, before := l.grow(105), l.Count(l.move)
	ctx, cancel := context.WithCancel(l.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range l.items(ctx) {
		cancel()
		last = l.note(err)
		n++
	}
	if n < len(all) {
		l.wantKind(last, provider.Unavailable)
	}
	l.wantCount(l.move, before+1)
}
