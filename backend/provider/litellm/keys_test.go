package litellm_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
)

func ref(key provider.Key, scope string) provider.Ref { return provider.Ref{ID: key.ID, Scope: scope} }

// The time of an extension counts from each attempt, not from the first.
func TestExtendIsRecomputedForEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		key := mustMint(t, w, c)
		w.Inject(fake.Fault{Op: fakelitellm.OpUpdateKey, Times: 2, Hang: fake.HangBefore})
		asked := time.Now().Add(10_010 * time.Second) // one digit less by the second attempt
		got, err := c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), asked)
		wantKind(t, w, "extend", err, "")
		if late := got.Sub(asked); late < 0 || late > 2*time.Second {
			t.Errorf("got expiry %s, want %s", got, asked)
		}
	})
}

func TestExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, knobs := range []fakelitellm.Knobs{{}, {NoUpdatedExpiry: true}, {UnknownUpdateStatus: 404}} {
			w, c := newWorld(t, plain())
			w.SetKnobs(knobs)
			key := mustMint(t, w, c)
			asked := time.Now().Add(3 * time.Hour)
			got, err := c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), asked)
			if err != nil || got.Before(asked) || !got.Equal(w.LiveKeys()[0].ExpiresAt) {
				t.Errorf("%+v: got expiry %s, error %v, want %s", knobs, got, err, asked)
			}

			// It is deleted between the look at it and the update.
			w.Inject(fake.Fault{Op: fakelitellm.OpUpdateKey, Before: func() { w.DeleteKey(key.ID) }})
			_, err = c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), asked)
			wantKind(t, w, "deleted", err, provider.NotFound)
		}
		w, c := newWorld(t, plain())
		key := mustMint(t, w, c)
		time.Sleep(2 * time.Hour)
		_, err := c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), time.Now().Add(time.Hour))
		wantKind(t, w, "expired", err, provider.Invalid)
		if w.Server.Count(fakelitellm.OpUpdateKey) != 0 || w.Alive(key.Secret.Reveal()) {
			t.Error("an expired key was brought back")
		}
	})
}

// A 404 is no proof, unless LiteLLM itself says that it has no such key, and is the
// right one.
func TestKeyIsNotGone(t *testing.T) {
	html := fake.Fault{Status: http.StatusNotFound, Body: "<html>no route</html>", ContentType: new("text/html")}
	own := fake.Fault{Status: http.StatusNotFound}
	for _, role := range []provider.Values{plain(), bounded()} {
		for _, blip := range []fake.Fault{html, own} {
			for _, broken := range [][]fake.Op{
				{fakelitellm.OpDeleteKey},
				{fakelitellm.OpDeleteKey, fakelitellm.OpReadKey},
				{fakelitellm.OpDeleteKey, fakelitellm.OpReadKey, fakelitellm.OpGetTeam, fakelitellm.OpReadOwnKey},
			} {
				synctest.Test(t, func(t *testing.T) {
					w, c := newWorld(t, role)
					key := mustMint(t, w, c)
					for _, op := range broken {
						blip.Op = op
						w.Inject(blip)
					}
					scope := "no-team"
					if len(role) > 0 {
						scope = team
					}
					err := c.Delete(t.Context(), ref(key, scope))
					if !provider.IsKind(err, provider.Unproven) {
						wantKind(t, w, fmt.Sprint(broken), err, provider.Unavailable)
					}
					if !w.Alive(key.Secret.Reveal()) {
						t.Error("the key does not live")
					}
				})
			}
		}
	}
}

func TestKeyIsNotGoneFromAnotherProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, bounded())
		key := mustMint(t, w, c)
		settings, base := w.Stranger()
		wantKind(t, w, "stranger", connect(t, settings, base).Delete(t.Context(), ref(key, team)), provider.Unproven)
		w.DeleteTeam(team)
		wantKind(t, w, "deleted team", c.Delete(t.Context(), ref(key, team)), provider.Unproven)
	})
}

// The master key may be that of every proxy, so that it proves no database.
func TestMasterKeyProvesNothingGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		key := mustMint(t, w, c)
		w.DeleteKey(key.ID)
		for what, kind := range map[string]provider.Kind{w.MasterKey(): provider.Unproven, w.AdminKey(): provider.NotFound} {
			c := with(t, w, what).(provider.Client)
			wantKind(t, w, "delete", c.Delete(t.Context(), ref(key, "no-team")), kind)
			_, err := c.(provider.KeyReader).ReadKey(t.Context(), ref(key, "no-team"), key.Secret)
			wantKind(t, w, "read", err, kind)
			_, err = c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), time.Now().Add(time.Hour))
			wantKind(t, w, "extend", err, kind)
		}
	})
}

// What an update says of a key that does not exist is, elsewhere, said of the key that
// calls.
func TestUnknownKeyElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, bounded())
		key := mustMint(t, w, c)
		const body = `{"error":{"message":"Authentication Error: invalid user key - user key does not exist in db","type":"auth_error"}}`
		for _, op := range []fake.Op{fakelitellm.OpDeleteKey, fakelitellm.OpReadKey} {
			w.Inject(fake.Fault{Op: op, Status: http.StatusUnauthorized, Body: body})
		}
		wantKind(t, w, "delete", c.Delete(t.Context(), ref(key, team)), provider.Unauthorized)
		_, err := c.(provider.KeyReader).ReadKey(t.Context(), ref(key, team), key.Secret)
		wantKind(t, w, "read", err, provider.Unauthorized)
	})
}

// dated adds to each answer what time it is at the proxy.
type dated struct {
	http.RoundTripper
	clock func() time.Time
}

func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Header.Set("Date", d.clock().UTC().Format(http.TimeFormat))
	}
	return resp, err
}

// Whether a key has expired is told by the clock of the proxy.
func TestExtendByTheClockOfTheProxy(t *testing.T) {
	for skew, after := range map[time.Duration]time.Duration{4 * time.Minute: 61 * time.Minute, -4 * time.Minute: 58 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			clock := func() time.Time { return time.Now().Add(skew) }
			w := worldOf(fakelitellm.NewAt(clock), plain())
			c := connect(t, w.Settings(), dated{w.RoundTripper(), clock})
			key := mustMint(t, w, c)
			time.Sleep(after)
			_, err := c.(provider.Extender).Extend(t.Context(), ref(key, "no-team"), time.Now().Add(time.Hour))
			want := provider.Kind("")
			if skew > 0 {
				want = provider.Invalid
			}
			wantKind(t, w, skew.String(), err, want)
			if alive := w.Alive(key.Secret.Reveal()); alive != (want == "") {
				t.Errorf("%s: alive: %t", skew, alive)
			}
		})
	}
}

// An id that is a key is part of no address, whatever somebody has written.
func TestNoKeyInAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		key := mustMint(t, w, c)
		wrong := provider.Ref{ID: key.Secret.Reveal(), Scope: "no-team"}
		wantKind(t, w, "delete", c.Delete(t.Context(), wrong), provider.Invalid)
		_, err := c.(provider.KeyReader).ReadKey(t.Context(), wrong, key.Secret)
		wantKind(t, w, "read", err, provider.Invalid)
		_, err = c.(provider.Extender).Extend(t.Context(), wrong, time.Now().Add(time.Hour))
		wantKind(t, w, "extend", err, provider.Invalid)
		if !w.Alive(key.Secret.Reveal()) {
			t.Error("the key does not live")
		}
	})
}

// LiteLLM repeats what it was given.
func TestErrorsHoldNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		w.Inject(fake.Fault{Op: fakelitellm.OpCreateKey, Before: func() {
			body := w.last(t, fakelitellm.OpCreateKey)
			w.Inject(fake.Fault{
				Op: fakelitellm.OpReadKey, Status: http.StatusBadRequest,
				Body: fmt.Sprintf(`{"error":{"message":"x_%s_ and %s"}}`, body["key"], w.AdminKey()),
			})
		}, AfterEffect: true, Status: http.StatusBadRequest, Body: `{"error":{"message":"no"}}`})
		_, err := mint(t, w, c, "vault-one")
		wantKind(t, w, "echo", err, provider.Ambiguous)
	})
}

func TestVerifyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{400, 401} {
			w, c := newWorld(t, plain())
			w.SetKnobs(fakelitellm.Knobs{ExpiredStatus: status})
			key := mustMint(t, w, c)
			verify := c.(provider.KeyVerifier).VerifyKey
			wantKind(t, w, "live", verify(t.Context(), key.Secret), "")
			time.Sleep(2 * time.Hour)
			wantKind(t, w, "expired", verify(t.Context(), key.Secret), provider.Unauthorized)
		}
	})
}

// Keys that are deleted while a client reads move the rest to the front.
func TestFindMissesNothing(t *testing.T) {
	for _, knobs := range []fakelitellm.Knobs{{}, {IgnoreSort: true}} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t, plain())
			w.SetKnobs(knobs)
			var planted []string
			for i := range 450 {
				planted = append(planted, w.PlantKey("", "", fmt.Sprintf("k-%d", i)).Hash)
			}
			keep := planted[220]
			got, n := map[string]int{}, 0
			for key, err := range c.Find(t.Context(), "no-team") {
				if err != nil {
					t.Fatal(err)
				}
				got[key.ID]++
				if n++; n%9 == 0 {
					for range 4 {
						for _, id := range planted {
							if id != keep && got[id] > 0 && w.DeleteKey(id) {
								break
							}
						}
					}
				}
				if n%20 == 0 {
					w.PlantKey("", "", "new")
				}
			}
			for _, key := range w.LiveKeys() {
				if got[key.Hash] == 0 && key.Alias != "new" {
					t.Errorf("%+v: key %s is missed", knobs, key.Alias)
				}
			}
			for id, times := range got {
				if times != 1 {
					t.Errorf("%+v: key %s came %d times", knobs, id, times)
				}
			}
		})
	}
}

// Keys may be so large that an answer holds few of them, or one.
func TestFindReadsLargeKeys(t *testing.T) {
	for size, count := range map[int]int{30_000: 120, 600_000: 5} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t, plain())
			for i := range count {
				large := w.PlantKey("", "", fmt.Sprint(i))
				w.ChangeKey(large.Hash, func(k *fakelitellm.Key) { k.Metadata = map[string]any{"note": strings.Repeat("x", size)} })
			}
			n := 0
			for _, err := range c.Find(t.Context(), "no-team") {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			if n != count {
				t.Errorf("got %d keys, want %d", n, count)
			}
		})
	}
}

// cutting breaks off lists of more than some keys, and does something before each.
type cutting struct {
	http.RoundTripper
	most   int
	before func()
}

func (c cutting) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/key/list") {
		return c.RoundTripper.RoundTrip(req)
	}
	c.before()
	resp, err := c.RoundTripper.RoundTrip(req)
	if size, _ := strconv.Atoi(req.URL.Query().Get("size")); err == nil && size > c.most {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, 100), resp.Body}
	}
	return resp, err
}

// Keys that are deleted between two small pages make none of the others missed.
func TestSmallPagesMissNothing(t *testing.T) {
	for _, most := range []int{1, 2, 3, 6, 12} {
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(fakelitellm.New(), plain())
			for i := range 130 {
				w.PlantKey("", "", fmt.Sprint(i))
			}
			var found []string
			requests, deleted := 0, 0
			c := connect(t, w.Settings(), cutting{w.RoundTripper(), most, func() {
				if requests++; requests%7 == 0 && deleted < min(len(found), 12) {
					w.DeleteKey(found[deleted])
					deleted++
				}
			}})
			for key, err := range c.Find(t.Context(), "no-team") {
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(found, key.ID) {
					t.Errorf("%d a page: key %s came twice", most, key.Name)
				}
				found = append(found, key.ID)
			}
			if len(found) != 130 || deleted == 0 {
				t.Errorf("%d a page: got %d keys, want 130; %d were deleted meanwhile", most, len(found), deleted)
			}
		})
	}
}

// What is no list is none in any size.
func TestFindGivesUpOnNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(fakelitellm.New(), plain())
		c := connect(t, w.Settings(), cutting{w.RoundTripper(), 0, func() {}})
		for _, err := range c.Find(t.Context(), "no-team") {
			wantKind(t, w, "nonsense", err, provider.Unavailable)
		}
		if n := w.Server.Count(fakelitellm.OpListKeys); n != 7 {
			t.Errorf("asked %d times, want 7", n)
		}
	})
}

func TestFindReadsLongLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		for i := range 3000 {
			w.PlantKey("", "", fmt.Sprint(i))
		}
		n := 0
		for _, err := range c.Find(t.Context(), "no-team") {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if pages := w.Server.Count(fakelitellm.OpListKeys); n != 3000 || pages > 36 {
			t.Errorf("got %d keys in %d pages, want 3000 in little more than 30", n, pages)
		}
	})
}

func TestFindBelievesNoWrongList(t *testing.T) {
	for what, knobs := range map[string]fakelitellm.Knobs{
		"page": {IgnorePage: true}, "filter": {IgnoreFilter: true}, "short pages": {MaxPage: 40},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t, bounded())
			for i := range 150 {
				w.PlantKey(team, "", fmt.Sprintf("k-%d", i))
			}
			w.PlantKey("", "", "other")
			w.SetKnobs(knobs)
			var last error
			for _, err := range c.Find(t.Context(), team) {
				last = err
			}
			wantKind(t, w, what, last, provider.Unavailable)
		})
	}
}

// A key without a team to which the proxy gave one is found where it was asked for.
func TestFindKeyThatWentAstray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		w.SetKnobs(fakelitellm.Knobs{DefaultTeam: team})
		w.PlantKey(team, "", "foreign")
		w.Inject(fake.Answer(fakelitellm.OpDeleteKey, http.StatusInternalServerError, 0))
		_, err := mint(t, w, c, "vault-one")
		wantKind(t, w, "astray", err, provider.Ambiguous)
		w.ClearFaults()
		var names []string
		for key, err := range c.Find(t.Context(), "no-team") {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, key.Name)
			wantKind(t, w, "delete", c.Delete(t.Context(), provider.Ref{ID: key.ID, Scope: "no-team"}), "")
		}
		if strings.Join(names, ",") != "vault-one" {
			t.Errorf("found %q", names)
		}
	})
}

func TestCheckRoleAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, knobs := range []fakelitellm.Knobs{{}, {UnknownUserRefused: true}} {
			w, c := newWorld(t, bounded())
			w.SetKnobs(knobs)
			w.AddUser("viewer", fakelitellm.RoleViewer)
			check := c.(provider.RoleChecker).CheckRoleAt
			for _, r := range []struct {
				field string
				role  provider.Values
			}{
				{"", plain()},
				{"", bounded()},
				{"team_id", provider.Values{"team_id": "team-gone"}},
				{"user_id", provider.Values{"user_id": "nobody"}},
				{"user_id", provider.Values{"user_id": "viewer"}},
				{"user_id", provider.Values{"user_id": w.AdminUser()}},
			} {
				wantField(t, check(t.Context(), r.role), r.field, w.AdminKey())
			}
			// A team's keys are more than is read of an answer.
			w.Inject(fake.Fault{Op: fakelitellm.OpGetTeam, Status: 200, Body: `{"team_id":"` + team + `","team_info":{},"keys":[{"token":"ab`})
			wantField(t, check(t.Context(), provider.Values{"team_id": team}), "", w.AdminKey())
		}
	})
}

func TestReadKeyOfAnotherTeamOrAnAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, bounded())
		read := func(key fakelitellm.Key) error {
			_, err := c.(provider.KeyReader).ReadKey(t.Context(), provider.Ref{ID: key.Hash, Scope: team}, provider.Secret(key.Secret))
			return err
		}
		wantField(t, read(w.PlantKey(team, user, "good")), "", w.AdminKey())
		wantField(t, read(w.PlantKey("", user, "other")), "key_id", w.AdminKey())
		wantField(t, read(w.PlantKey(team, w.AdminUser(), "admins")), "key_id", w.AdminKey())
	})
}
