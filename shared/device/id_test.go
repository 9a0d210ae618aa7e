package device_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/device"
)

func TestParseAcceptsEveryFormAndFormatsItBack(t *testing.T) {
	for _, s := range []string{
		"sp_f2.w.r1.c1", "sp_w.r1.c1", "sp_g3", "sp_f-1.p0", "sp_m2", "sp_f0.g0", "alexa_x2", "alexa_y.r120.c902",
		"echo-dot_g2", "echo-dot_x.r1.c0", "s2_f10.lab7", "sp_f2", "sp_f.r1.c2", "sp_fridge1",
	} {
		id, err := device.Parse(s)
		if err != nil {
			t.Errorf("Parse(%q): %v", s, err)
			continue
		}
		if got := id.String(); got != s {
			t.Errorf("Parse(%q).String() = %q", s, got)
		}
	}
}

func TestParseRefusesWhatIsNoID(t *testing.T) {
	for name, s := range map[string]string{
		"empty": "", "no underscore": "w.r1.c1", "no kind": "_g1", "upper case kind": "SP_g1", "kind ends in hyphen": "sp-_g1",
		"kind starts with digit": "1sp_g1", "leading zero": "sp_g01", "floor with zero": "sp_f02.g1", "minus zero": "sp_f-0.g1",
		"no number": "sp_g", "no place type": "sp_1", "row only": "sp_w.r1", "column first": "sp_w.c1.r1", "no dot": "sp_r1c2",
		"space": "sp_g1 ", "quote": "sp_g1'", "newline": "sp_g1\n", "huge number": "sp_g1234567", "sign": "sp_g+1",
		"negative number": "sp_g-1", "unicode digit": "sp_g\u0661", "long": "sp_" + string(make([]byte, 100)), "trailing": "sp_w.r1.c1.d1",
		"floor alone": "sp_f2.", "double floor": "sp_f1.f2.g1",
	} {
		if id, err := device.Parse(s); !errors.Is(err, device.ErrID) {
			t.Errorf("%s: Parse(%q) = %v, %v; want ErrID", name, s, id, err)
		}
	}
}

func TestPartsOfAnID(t *testing.T) {
	id := mustParse(t, "sp_f-1.w.r3.c4")
	floor, hasFloor := id.Floor()
	row, column, grid := id.Grid()
	if id.Kind() != "sp" || id.PlaceType() != "w" || floor != -1 || !hasFloor || row != 3 || column != 4 || !grid {
		t.Errorf("parts of %v: %q %q %d %v %d %d %v", id, id.Kind(), id.PlaceType(), floor, hasFloor, row, column, grid)
	}
	if _, _, grid := mustParse(t, "sp_g3").Grid(); grid {
		t.Error("sp_g3 has a row")
	}
}

func TestBothSpellingsNameOnePlace(t *testing.T) {
	short, long := mustParse(t, "sp_g3"), mustParse(t, "sp_f2.g3")
	if short.On(2) != long || long.On(5) != long {
		t.Errorf("On: %v %v", short.On(2), long.On(5))
	}
	for _, tc := range []struct {
		id   device.ID
		want []device.ID
	}{{short, []device.ID{short, long}}, {long, []device.ID{long, short}}} {
		if got := tc.id.Spellings(2); !slices.Equal(got, tc.want) {
			t.Errorf("%v.Spellings(2) = %v, want %v", tc.id, got, tc.want)
		}
	}
	if got := long.Spellings(1); !slices.Equal(got, []device.ID{long}) {
		t.Errorf("Spellings on another default floor = %v", got)
	}
}

func TestCompareListsAsAPersonWould(t *testing.T) {
	want := []string{"a_g1", "sp_g1", "sp_g10", "sp_w.r1.c1", "sp_f-1.g1", "sp_f2.g2", "sp_f2.w1", "sp_f2.w.r2.c10", "sp_f2.w.r10.c2", "sp_f10.g1"}
	ids := make([]device.ID, len(want))
	for i, s := range want {
		ids[len(want)-1-i] = mustParse(t, s)
	}
	slices.SortFunc(ids, device.Compare)
	for i, id := range ids {
		if id.String() != want[i] {
			t.Errorf("place %d is %v, want %s", i, id, want[i])
		}
	}
}

func TestIDInJSON(t *testing.T) {
	in := map[device.ID]device.ID{mustParse(t, "sp_g1"): mustParse(t, "sp_g2")}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `{"sp_g1":"sp_g2"}` {
		t.Fatalf("Marshal = %s, %v", data, err)
	}
	var out map[device.ID]device.ID
	if err := json.Unmarshal(data, &out); err != nil || len(out) != 1 || out[mustParse(t, "sp_g1")] != mustParse(t, "sp_g2") {
		t.Errorf("Unmarshal = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"nope":"sp_g2"}`), &out); !errors.Is(err, device.ErrID) {
		t.Errorf("Unmarshal of a bad key: %v", err)
	}
}

func TestMicrosRoundHalfUp(t *testing.T) {
	for nanos, want := range map[int64]device.Micros{0: 0, 499: 0, 500: 1, 1_500: 2, -500: 0, -501: -1} {
		if got := device.MicrosOf(time.Unix(0, nanos)); got != want {
			t.Errorf("MicrosOf(%d ns) = %d, want %d", nanos, got, want)
		}
	}
}

func TestMicrosAreSecondsInJSON(t *testing.T) {
	for m, text := range map[device.Micros]string{0: "0", 1: "0.000001", 1_700_000_000_120_000: "1700000000.12", -1_500_000: "-1.5"} {
		data, err := json.Marshal(m)
		if err != nil || string(data) != text {
			t.Errorf("Marshal(%d) = %s, %v; want %s", int64(m), data, err, text)
		}
		var back device.Micros
		if err := json.Unmarshal(data, &back); err != nil || back != m {
			t.Errorf("Unmarshal(%s) = %d, %v; want %d", data, int64(back), err, int64(m))
		}
	}
	var m device.Micros
	if err := json.Unmarshal([]byte("1.0000015"), &m); err != nil || m != 1_000_002 {
		t.Errorf("half up: %d, %v", int64(m), err)
	}
	for _, text := range []string{`"1"`, "1e3", "99999999999999999999", "null"} {
		if err := json.Unmarshal([]byte(text), &m); err == nil && text != "null" {
			t.Errorf("%s was taken for a time", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"sp_f2.w.r1.c1", "sp_g3", "sp_f-1.p0", "echo-dot_x.r1.c0", "sp_f0.", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := device.Parse(s)
		if err != nil {
			return
		}
		if got := id.String(); got != s {
			t.Errorf("Parse(%q).String() = %q", s, got)
		}
		again, err := device.Parse(id.On(3).String())
		if err != nil || again != id.On(3) {
			t.Errorf("%q with its floor: %v, %v", s, again, err)
		}
	})
}

func mustParse(t *testing.T, s string) device.ID {
	t.Helper()
	id, err := device.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
