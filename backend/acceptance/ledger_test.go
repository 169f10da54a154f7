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
	Name, State, Kind string
}

// ledger reads the records of a mount from Vault's storage.
func (sv *server) ledger(uuid string) ([]ledgerRecord, error) {
	return sv.walk("sys/raw/logical/" + uuid + "/ledger/")
}

func (sv *server) walk(prefix string) ([]ledgerRecord, error) {
	listed, err := sv.client.Logical().List(prefix)
	if err != nil || listed == nil {
		return nil, err
	}
	names, _ := listed.Data["keys"].([]any)
	var all []ledgerRecord
	for _, entry := range names {
		name, _ := entry.(string)
		if strings.HasSuffix(name, "/") {
			below, err := sv.walk(prefix + name)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
			continue
		}
		stored, err := sv.client.Logical().Read(prefix + name)
		if err != nil {
			return nil, err
		}
		if stored == nil {
			continue // gone since it was listed
		}
		var rec ledgerRecord
		text, _ := stored.Data["value"].(string)
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			return nil, fmt.Errorf("record %s: %w", name, err)
		}
		all = append(all, rec)
	}
	return all, nil
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
			names[rec.Name] = true
		}
	}
	for _, k := range live {
		// A key that was deleted while the ledger was read has no record either.
		if !names[k.name] && s.alive(k.secret) {
			return unmetf("key %s is alive, and no ledger leads to it", k.name)
		}
	}
	return nil
}

// engineKeys are the live keys, at all providers, that look as if the engine had
// made them, admin keys included.
func (s *script) engineKeys() []simKey {
	var made []simKey
	for _, sim := range s.sims {
		for _, k := range sim.keys() {
			if k.live && strings.HasPrefix(k.name, "vault-") {
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
