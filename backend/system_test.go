package backend

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// A testSystem is Vault's side of a mount, which tests change as they go: over
// gRPC, it is read by other goroutines.
type testSystem struct {
	mu sync.Mutex
	v  logical.StaticSystemView

	logical.SystemView // for what the engine does not use
}

func newTestSystem() *testSystem {
	month := 32 * 24 * time.Hour
	return &testSystem{
		v: logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month},
		SystemView: logical.StaticSystemView{
			PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"},
		},
	}
}

func (s *testSystem) set(change func(v *logical.StaticSystemView)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.v)
}

func (s *testSystem) get() logical.StaticSystemView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v
}

func (s *testSystem) taint(tainted bool) {
	s.set(func(v *logical.StaticSystemView) { v.TaintedVal = tainted })
}

func (s *testSystem) DefaultLeaseTTL() time.Duration { return s.get().DefaultLeaseTTLVal }
func (s *testSystem) MaxLeaseTTL() time.Duration     { return s.get().MaxLeaseTTLVal }
func (s *testSystem) Tainted() bool                  { return s.get().TaintedVal }

func (s *testSystem) ReplicationState() consts.ReplicationState {
	return s.get().ReplicationStateVal
}

func (s *testSystem) EntityInfo(string) (*logical.Entity, error) { return s.get().EntityVal, nil }

func (s *testSystem) LookupPlugin(context.Context, string, consts.PluginType) (*pluginutil.PluginRunner, error) {
	return nil, nil
}
