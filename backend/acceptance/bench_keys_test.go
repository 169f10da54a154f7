package acceptance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// fillTo issues keys until there are so many.
func (v *benchVault) fillTo(b *testing.B, have, want int) {
	var next atomic.Int64
	next.Store(int64(have))
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for next.Add(1) <= int64(want) {
				v.must(b, "llm/creds/bot", map[string]any{"ttl": "20h"})
			}
		})
	}
	wg.Wait()
}

// leak issues a key and returns its secret.
func (v *benchVault) leak(b *testing.B) string {
	return fmt.Sprint(v.must(b, "llm/creds/bot", nil).Data["api_key"])
}

// BenchmarkVaultLedger is what operators ask of ledgers of two sizes.
func BenchmarkVaultLedger(b *testing.B) {
	v := newBenchVault(b)
	have := 0
	for _, keys := range []int{1_000, 20_000} {
		v.fillTo(b, have, keys)
		have = keys
		b.Run(fmt.Sprintf("lookup/keys=%d", keys), func(b *testing.B) {
			key := v.leak(b)
			for b.Loop() {
				v.must(b, "llm/lookup", map[string]any{"api_key": key})
			}
		})
		b.Run(fmt.Sprintf("revoke-leaked/keys=%d", keys), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				key := v.leak(b)
				b.StartTimer()
				v.must(b, "llm/revoke", map[string]any{"api_key": key})
			}
		})
		b.Run(fmt.Sprintf("page/keys=%d", keys), func(b *testing.B) {
			for b.Loop() {
				if page, err := v.client.Logical().Read("llm/keys"); err != nil || page == nil {
					b.Fatal(page, err)
				}
			}
		})
	}
}
