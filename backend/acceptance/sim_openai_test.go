package acceptance

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

const nameOpenAI = "openai"

// A simOpenAI is an OpenAI organization.
type simOpenAI struct{ *fakeopenai.Server }

func newOpenAI() simOpenAI { return simOpenAI{fakeopenai.New()} }

func (o simOpenAI) variables(url string) map[string]string {
	return map[string]string{
		"FAKE_URL":  o.baseURL(url),
		"ADMIN_KEY": o.AdminKey(),
		"PROJECT":   o.project(),
	}
}

func (o simOpenAI) baseURL(url string) string { return url + "/v1" }
func (o simOpenAI) project() string           { return fakeopenai.DefaultProject }

func (o simOpenAI) ops() []fake.Op { return fakeopenai.Ops() }

// Alive is about admin keys too.
func (o simOpenAI) Alive(secret string) bool { return o.Server.Alive(secret) || o.AdminAlive(secret) }

// DeleteKey is about admin keys too.
func (o simOpenAI) DeleteKey(id string) bool { return o.Server.DeleteKey(id) || o.RevokeAdminKey(id) }

func (o simOpenAI) keys() []simKey {
	live := map[string]bool{}
	for _, k := range o.LiveKeys() {
		live[k.ID] = true
	}
	var all []simKey
	for _, k := range o.Keys() {
		all = append(all, simKey{id: k.ID, name: k.Name, secret: k.Secret, live: live[k.ID]})
	}
	for _, a := range o.AdminKeys() {
		all = append(all, simKey{id: a.ID, name: a.Name, secret: a.Secret, live: o.AdminAlive(a.Secret), admin: true})
	}
	return all
}

func (o simOpenAI) arrived() []simRequest {
	var all []simRequest
	for _, r := range o.Requests() {
		all = append(all, simRequest{op: r.Op, path: r.Path, query: r.RawQuery, status: r.Status})
	}
	return all
}

// probePath ends the path of what never is: whether it may delete, the engine asks
// by deleting that.
const probePath = "/vault_probe"

func (o simOpenAI) deletes(r *http.Request) string {
	if strings.HasSuffix(r.URL.Path, probePath) {
		return ""
	}
	return deletedPath(r)
}

func (o simOpenAI) knobs(fields []string) error {
	var knobs fakeopenai.Knobs
	if err := setFields(&knobs, fields); err != nil {
		return err
	}
	o.SetKnobs(knobs)
	return nil
}

func (o simOpenAI) plant(project, name string) simKey {
	k := o.PlantKey(project, name)
	return simKey{id: k.ID, name: k.Name, secret: k.Secret}
}

func (o simOpenAI) words() map[string]word {
	return map[string]word{
		"accounts": o.accounts,
		"admin":    o.admin,
		"admins":   o.admins,
		"age":      o.age,
		"archive":  o.archive,
		"orphan":   o.orphan,
		"project":  o.addProject,
		"rate":     o.setRate,
		"restore":  o.restore,
		"revoke":   o.revoke,
		"save":     o.save,
	}
}

func (o simOpenAI) accounts(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("fake accounts PROJECT N")
	}
	accounts := o.ServiceAccounts(args[0])
	var names []string
	for _, a := range accounts {
		names = append(names, a.Name)
	}
	return wantNumber("service accounts in "+args[0], len(accounts), args[1], names)
}

// admin wants the admin key that the script was given to work, or not to, or
// makes another one.
func (o simOpenAI) admin(ts *testscript.TestScript, args []string) error {
	word, rest := first(args)
	if word == "new" && len(rest) == 1 {
		_, secret := o.AddAdminKey()
		ts.Setenv(rest[0], secret)
		return nil
	}
	if word != "alive" && word != "dead" || len(rest) != 0 {
		return usage("fake admin alive|dead|new; see doc.go")
	}
	switch alive := o.AdminAlive(o.AdminKey()); {
	case alive && word == "dead":
		return unmetf("the operator's admin key is alive")
	case !alive && word == "alive":
		return unmetf("the operator's admin key is dead")
	}
	return nil
}

func (o simOpenAI) admins(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("fake admins N")
	}
	var names []string
	for _, a := range o.AdminKeys() {
		if o.AdminAlive(a.Secret) {
			names = append(names, a.Name)
		}
	}
	return wantNumber("admin keys", len(names), args[0], names)
}

func (o simOpenAI) archive(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("fake archive PROJECT")
	}
	o.ArchiveProject(args[0])
	return nil
}

func (o simOpenAI) addProject(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("fake project PROJECT")
	}
	o.AddProject(args[0])
	return nil
}

func (o simOpenAI) setRate(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("fake rate PER_SECOND BURST")
	}
	perSecond, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return usage("fake rate: " + err.Error())
	}
	burst, err := strconv.Atoi(args[1])
	if err != nil {
		return usage("fake rate: " + err.Error())
	}
	o.SetRate(perSecond, burst)
	return nil
}

// revoke revokes the admin key that the script was given.
func (o simOpenAI) revoke(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 || args[0] != "admin" {
		return usage("fake revoke admin")
	}
	return usageUnless(o.RevokeAdminKey(o.AdminKeys()[0].ID), "fake revoke: it is revoked already")
}

// age gives a key, an admin key or a service account another past.
func (o simOpenAI) age(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return usage("fake age ID CREATED [USED], as durations before now")
	}
	var at [2]time.Time
	for i, arg := range args[1:] {
		ago, err := time.ParseDuration(arg)
		if err != nil {
			return usage("fake age: " + err.Error())
		}
		at[i] = time.Now().Add(-ago)
	}
	return usageUnless(o.Age(args[0], at[0], at[1]), "fake age: there is nothing with the id "+args[0])
}

// idSize is how many characters end a name that the engine gave: the id of a record.
const idSize = 26

// orphan makes a key beside another, with a name as the same mount gives.
func (o simOpenAI) orphan(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("fake orphan NAME VAR")
	}
	for _, k := range o.Keys() {
		if k.Name != args[0] || len(k.Name) < idSize {
			continue
		}
		name := k.Name[:len(k.Name)-idSize] + anotherID()
		made := o.PlantServiceAccountKey(k.ServiceAccountID, name, 0)
		if made.ID == "" {
			return usage("fake orphan: the key " + k.Name + " is in no service account")
		}
		ts.Setenv(args[1], made.ID)
		return nil
	}
	return usage("fake orphan: there never was a key of the name " + strconv.Quote(args[0]))
}

// anotherID looks like the id of a record.
func anotherID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	id := make([]byte, idSize)
	for i := range id {
		id[i] = digits[rand.IntN(len(digits))]
	}
	return string(id)
}

// save writes the organization to a file, restore makes it again.
func (o simOpenAI) save(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("fake save FILE")
	}
	return writeJSON(ts.MkAbs(args[0]), o.World())
}

func (o simOpenAI) restore(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("fake restore FILE")
	}
	var world fakeopenai.World
	if err := readJSON(ts.MkAbs(args[0]), &world); err != nil {
		return usage("fake restore: " + err.Error())
	}
	o.Restore(world)
	return nil
}
