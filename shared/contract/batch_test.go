package contract_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/wattline/wattline/shared/contract"
)

func TestBatchIDsReadBack(t *testing.T) {
	for _, s := range []string{"9f3c00000000abcd-1041", "0000000000000000-1", "ffffffffffffffff-18446744073709551615"} {
		id, err := contract.ParseBatchID(s)
		if err != nil || id.String() != s {
			t.Errorf("ParseBatchID(%q) = %v, %v", s, id, err)
		}
	}
	for _, s := range []string{"9f3c00000000abcd-3..3", "9f3c00000000abcd-1..1041"} {
		r, err := contract.ParseRange(s)
		if err != nil || r.String() != s {
			t.Errorf("ParseRange(%q) = %v, %v", s, r, err)
		}
	}
}

func TestMalformedBatchIDsAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "-", "9f3c00000000abcd", "9f3c00000000abcd-", "9f3c00000000abcd-0", "9f3c00000000abcd-01", "9f3c00000000abcd-+1",
		"9F3C00000000ABCD-1", "9f3c-1", "9f3c00000000abcg-1", "9f3c00000000abcd-1-2", "9f3c00000000abcd-99999999999999999999", " 9f3c00000000abcd-1",
	} {
		if id, err := contract.ParseBatchID(s); !errors.Is(err, contract.ErrBatchID) {
			t.Errorf("ParseBatchID(%q) = %v, %v", s, id, err)
		}
	}
	for _, s := range []string{"", "..", "9f3c00000000abcd-3", "9f3c00000000abcd-3..2", "9f3c00000000abcd-3..", "9f3c00000000abcd-0..2", "x-1..2"} {
		if r, err := contract.ParseRange(s); !errors.Is(err, contract.ErrBatchID) {
			t.Errorf("ParseRange(%q) = %v, %v", s, r, err)
		}
	}
}

func TestReceiptsInJSON(t *testing.T) {
	id := contract.BatchID{Epoch: 0x9f3c, Sequence: 7}
	in := contract.Receipts{Stored: []contract.Receipt{{ID: id, Digest: contract.DigestOf([]byte("x"))}}}
	data, err := json.Marshal(in)
	const want = `{"stored":[{"id":"0000000000009f3c-7","digest":"2d711642b726b044"}]}`
	if err != nil || string(data) != want {
		t.Fatalf("Marshal = %s, %v; want %s", data, err, want)
	}
	var out contract.Receipts
	if err := json.Unmarshal(data, &out); err != nil || len(out.All()) != 1 || out.All()[0] != in.Stored[0] {
		t.Errorf("Unmarshal = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"stored":[{"id":"0000000000009f3c-7","digest":"zz"}]}`), &out); err == nil {
		t.Error("a broken digest was taken")
	}
}

func FuzzParseBatchID(f *testing.F) {
	f.Add("9f3c00000000abcd-1041")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := contract.ParseBatchID(s); err == nil && id.String() != s {
			t.Errorf("ParseBatchID(%q).String() = %q", s, id)
		}
	})
}
