package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/registry"
	"github.com/wattline/wattline/shared/contract"
)

const many = 10_000

// building is an inventory of many places on 40 floors, each with its plug.
func building() json.RawMessage {
	var text strings.Builder
	text.WriteString("site: {default_floor: 0}\ngateways:\n")
	for f := range 40 {
		fmt.Fprintf(&text, "  - {id: f%d, floor: %d}\n", f, f)
	}
	text.WriteString("places:\n")
	for n := range many {
		fmt.Fprintf(&text, "  - {device: sp_f%d.w.r%d.c%d, address: 10.%d.%d.%d, mac: \"AC:84:C6:%02X:%02X:%02X\", device_id: %040X, label: desk %d, owner: m.lopez}\n",
			n%40, n/400, n/40%10, n%40, n/400, n/40%10, n>>16, n>>8&255, n&255, n, n)
	}
	return raw(`{"format":"yaml","text":%q}`, text.String())
}

func fresh(tb testing.TB, dir string) *registry.Store {
	tb.Helper()
	s, err := registry.Init(dir, contract.Site{Name: "Test"}, "root", quiet)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func carryOut(tb testing.TB, s *registry.Store, resource string, r contract.RegistryRequest) {
	tb.Helper()
	if answer := s.Answer(tb.Context(), resource, r); answer.Problem != nil {
		tb.Fatalf("%+v", answer.Problem)
	}
}

// BenchmarkImport imports 10,000 places into an empty registry.
func BenchmarkImport(b *testing.B) {
	file := building()
	for b.Loop() {
		b.StopTimer()
		s := fresh(b, b.TempDir())
		b.StartTimer()
		carryOut(b, s, "inventory", contract.RegistryRequest{Verb: "import", Content: file})
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}

// BenchmarkWith10000Places does what people do all day.
func BenchmarkWith10000Places(b *testing.B) {
	dir := b.TempDir()
	s := fresh(b, dir)
	file := building()
	carryOut(b, s, "inventory", contract.RegistryRequest{Verb: "import", Content: file})
	b.Run("import unchanged", func(b *testing.B) {
		for b.Loop() {
			carryOut(b, s, "inventory", contract.RegistryRequest{Verb: "import", Content: file})
		}
	})
	for name, filter := range map[string]map[string]string{"list page": nil, "list page of a text that is rare": {"text": "desk 9999"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				carryOut(b, s, "places", contract.RegistryRequest{Verb: "list", Filter: filter, Limit: 100, Cursor: "sp_f20.w.r3.c4"})
			}
		})
	}
	b.Run("change", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			carryOut(b, s, "places", contract.RegistryRequest{Verb: "change", Key: "sp_f3.w.r0.c0", Content: raw(`{"label":"desk %d"}`, n)})
		}
	})
	b.Run("say everything", func(b *testing.B) {
		for b.Loop() {
			if n, err := registry.Say(s); err != nil || n < many {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("create and delete", func(b *testing.B) {
		for b.Loop() {
			carryOut(b, s, "places", contract.RegistryRequest{Verb: "create", Key: "sp_f3.g0", Content: raw(`{}`)})
			carryOut(b, s, "places", contract.RegistryRequest{Verb: "delete", Key: "sp_f3.g0"})
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			s, err := registry.Open(dir, quiet)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
}
