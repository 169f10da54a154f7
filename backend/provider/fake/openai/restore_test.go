package fakeopenai

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// A world comes back with its ids, secrets, times and owners, as JSON too, beside what
// is there.
func TestRestore(t *testing.T) {
	old := newWorld(t)
	account := old.PlantServiceAccount(DefaultProject, "bot")
	owned := old.PlantServiceAccountKey(account.ID, "owned", time.Hour)
	gone := old.PlantServiceAccountKey(account.ID, "gone", 0)
	old.DeleteKey(gone.ID)
	laptop := old.PlantKey("proj_other", "laptop")
	stored, err := json.Marshal(old.World())
	if err != nil {
		t.Fatal(err)
	}
	var w World
	if err := json.Unmarshal(stored, &w); err != nil {
		t.Fatal(err)
	}

	fresh := newWorld(t)
	mine := fresh.AdminKey()
	fresh.Restore(w)
	for _, key := range []Key{owned, laptop} {
		if !fresh.Alive(key.Secret) {
			t.Errorf("%s is dead", key.Name)
		}
	}
	if fresh.Alive(gone.Secret) {
		t.Error("a deleted key came back")
	}
	if !fresh.AdminAlive(old.AdminKey()) || fresh.AdminKey() != mine {
		t.Error("the admin keys are not those of before, with the first one first")
	}
	r := fresh.ok("GET", keysPath+"/"+owned.ID, "")
	if got := r.text("owner", "service_account", "id"); got != account.ID {
		t.Errorf("owner = %q, want %q", got, account.ID)
	}
	fresh.ok("DELETE", accountsPath+"/"+account.ID, "")
	if fresh.Alive(owned.Secret) {
		t.Error("a key outlives its account")
	}
	w.ServiceAccounts, w.Keys = nil, w.Keys[1:]
	again := fresh.World()
	again.AdminKeys = again.AdminKeys[1:]
	if !reflect.DeepEqual(normal(t, again), normal(t, w)) {
		t.Errorf("world = %+v, want %+v", again, w)
	}
}

// normal is a world as JSON has it.
func normal(t *testing.T, w World) (out any) {
	t.Helper()
	text, err := json.Marshal(w)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
