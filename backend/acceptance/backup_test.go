package acceptance

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// The keys of a backup are what opens it, beside the snapshot itself.
type backupKeys struct {
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
}

// vaultdBackup saves a node to a file, or restores it from one.
func (s *script) vaultdBackup(ts *testscript.TestScript, word string, args []string) error {
	if len(args) != 1 || !s.server.alone() {
		return usage(vaultdUsage + "; a backup is of a single node")
	}
	name := ts.MkAbs(args[0])
	if word == "save" {
		return s.server.save(name)
	}
	if err := s.server.restore(name); err != nil {
		return err
	}
	ts.Setenv("VAULT_TOKEN", s.server.client.Token())
	ts.Setenv("ROOT_TOKEN", s.server.client.Token())
	return nil
}

func (sv *server) save(name string) error {
	snapshot, err := os.OpenFile(name+".snap", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	if err := sv.client.Sys().RaftSnapshot(snapshot); err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	return writeJSON(name+".json", backupKeys{sv.unsealKey, sv.client.Token()})
}

// restore replaces all that a node has. What it had until now opens nothing any more.
func (sv *server) restore(name string) error {
	var keys backupKeys
	if err := readJSON(name+".json", &keys); err != nil {
		return err
	}
	snapshot, err := os.Open(name + ".snap")
	if err != nil {
		return err
	}
	defer snapshot.Close()
	if err := sv.client.Sys().RaftSnapshotRestore(snapshot, true); err != nil {
		return fmt.Errorf("restore a snapshot: %w", err)
	}
	sv.unsealKey = keys.UnsealKey
	sv.client.SetToken(keys.RootToken)
	// It seals itself, but not before it has answered.
	n := sv.nodes[0]
	err = retried(n.name+" is sealed", func() error {
		status, err := n.client.Sys().SealStatus()
		if err == nil && !status.Sealed {
			err = fmt.Errorf("it is not")
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.unseal(sv.unsealKey, true)
}

func writeJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}

func readJSON(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
