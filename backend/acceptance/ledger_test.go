package acceptance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file reads the ledgers from Vault's storage, by the raw endpoint that the
// servers here have turned on.

// A ledgerRecord is what the scripts look at of a record.
type ledgerRecord struct {
	ID, Name, State, Kind string
}

// ledger reads the records of a mount from Vault's storage.
func (sv *server) ledger(uuid string) ([]ledgerRecord, error) {
	var all []ledgerRecord
	err := sv.rawWalk("sys/raw/logical/"+uuid+"/ledger/", func(name, text string) error {
		var rec ledgerRecord
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			return fmt.Errorf("record %s: %w", name, err)
		}
		all = append(all, rec)
		return nil
	})
	return all, err
}

// rawWalk calls visit with all that is stored below prefix.
func (sv *server) rawWalk(prefix string, visit func(name, text string) error) error {
	listed, err := sv.client.Logical().List(prefix)
	if err != nil || listed == nil {
		return err
	}
	names, _ := listed.Data["keys"].([]any)
	for _, entry := range names {
		name, _ := entry.(string)
		if strings.HasSuffix(name, "/") {
			if err := sv.rawWalk(prefix+name, visit); err != nil {
				return err
			}
			continue
		}
		stored, err := sv.client.Logical().Read(prefix + name)
		if err != nil {
			return err
		}
		if stored == nil {
			continue // gone since it was listed
		}
		text, _ := stored.Data["value"].(string)
		if err := visit(name, text); err != nil {
			return err
		}
	}
	return nil
}

// mounts returns the plugin's mounts: path, with its slash, to uuid.
func (sv *server) mounts() (map[string]string, error) {
	all, err := sv.client.Sys().ListMounts()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for path, mount := range all {
		if mount.Type == pluginName {
			found[path] = mount.UUID
		}
	}
	return found, nil
}

// known reports a live key that the engine made and that no ledger leads to.
func (s *script) known() error {
	mounts, err := s.server.mounts()
	if err != nil {
		return err
	}
	live := s.engineKeys()
	names := map[string]bool{}
	for _, uuid := range mounts {
		records, err := s.server.ledger(uuid)
		if err != nil {
			return err
		}
		for _, rec := range records {
			names[rec.Name], names[rec.ID] = true, true
		}
	}
	for _, k := range live {
		// A key that was deleted while the ledger was read has no record either.
		if !names[k.name] && s.lives(k) {
			return unmetf("key %s is alive, and no ledger leads to it", k.name)
		}
	}
	return nil
}

// lives reports whether a key that was live is so still. A public key is for as long as
// its issuer has it.
func (s *script) lives(k simKey) bool {
	if k.secret != "" {
		return s.alive(k.secret)
	}
	return slices.Contains(s.engineKeys(), k)
}

// engineKeys are the live keys, at all providers, that look as if the engine had
// made them, admin keys included. A token always does: nobody else gets any here.
func (s *script) engineKeys() []simKey {
	var made []simKey
	for _, sim := range s.sims {
		for _, k := range sim.keys() {
			if k.live && (k.token || strings.HasPrefix(k.name, "vault-")) {
				made = append(made, k)
			}
		}
	}
	return made
}

func (s *script) cmdKnown(_ *testscript.TestScript, args []string) error {
	if len(args) != 0 || s.server == nil {
		return usage("known, after vaultd start")
	}
	return s.known()
}

func (s *script) cmdRecords(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 && len(args) != 3 || s.server == nil {
		return usage("records MOUNT RANGE [STATE], after vaultd start")
	}
	mounts, err := s.server.mounts()
	if err != nil {
		return err
	}
	uuid, ok := mounts[args[0]+"/"]
	if !ok {
		return usage(fmt.Sprintf("records: %s is not a mount of the plugin; there are %q", args[0], slices.Sorted(maps.Keys(mounts))))
	}
	records, err := s.server.ledger(uuid)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r ledgerRecord) bool { return r.Kind == "admin" })
	what := "records"
	if len(args) == 3 {
		what = args[2] + " records"
		records = slices.DeleteFunc(records, func(r ledgerRecord) bool { return r.State != args[2] })
	}
	var names []string
	for _, rec := range records {
		names = append(names, rec.Name+" "+rec.State)
	}
	return wantNumber(what+" of "+args[0], len(records), args[1], names)
}
