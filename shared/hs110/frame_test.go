package hs110_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/wattline/wattline/shared/hs110"
)

// golden are frames that were seen on the wire of real plugs and of clients that
// others wrote; the cipher is symmetric, so own code on both sides proves nothing.
var golden = map[string]string{
	`{"system":{"get_sysinfo":{}}}`:                 "0000001dd0f281f88bff9af7d5ef94b6d1b4c09fec95e68fe187e8caf08bf68bf6",
	`{"emeter":{"get_realtime":{}}}`:                "0000001ed0f297fa9feb8efcdee49fbddabfcb94e683e28efa93fe9bb983f885f885",
	`{"system":{"set_relay_state":{"state":1}}}`:    "0000002ad0f281f88bff9af7d5ef94b6c5a0d48bf99cf091e8b7c4b0d1a5c0e2d8a381f286e793f6d4eedfa2dfa2",
	`{"system":{"set_relay_state":{"err_code":0}}}`: "0000002dd0f281f88bff9af7d5ef94b6c5a0d48bf99cf091e8b7c4b0d1a5c0e2d8a381e496e4bbd8b7d3b694ae9ee39ee3",
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkFrame(t *testing.T, plain, frame []byte) {
	t.Helper()
	if got := hs110.AppendFrame(nil, plain); !bytes.Equal(got, frame) {
		t.Errorf("frame of %q\n got %x\nwant %x", plain, got, frame)
	}
	// One byte at a time, with bytes behind it, into a buffer too small.
	r := iotest.OneByteReader(io.MultiReader(bytes.NewReader(frame), bytes.NewReader([]byte{1, 2, 3})))
	got, err := hs110.ReadFrame(r, make([]byte, 0, 16))
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("read %q, %v, want %q", got, err, plain)
	}
	if rest, _ := io.ReadAll(r); len(rest) != 3 {
		t.Errorf("%d bytes are left behind the frame, want 3", len(rest))
	}
	datagram := hs110.AppendDatagram(nil, plain)
	if !bytes.Equal(datagram, frame[4:]) {
		t.Errorf("datagram of %q is %x, want %x", plain, datagram, frame[4:])
	}
	if got, err := hs110.DecodeDatagram(datagram); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("datagram reads %q, %v", got, err)
	}
}

func TestFramesAreThoseOfRealPlugs(t *testing.T) {
	for plain, frame := range golden {
		checkFrame(t, []byte(plain), mustHex(t, frame))
	}
}

// The collection of captured frames is not part of the project.
func TestFramesOfOtherPrograms(t *testing.T) {
	var frames []struct {
		Name, Plaintext string
		TCP             string `json:"tcp_hex"`
	}
	mustCollection(t, "golden-frames.json", &frames)
	for _, f := range frames {
		t.Run(f.Name, func(t *testing.T) { checkFrame(t, []byte(f.Plaintext), mustHex(t, f.TCP)) })
	}
}

func mustCollection(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../shared/data/hs110", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the collection of captured frames is not beside the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func TestReadFrameRefusesWhatIsNoFrame(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  error
	}{
		"nothing":               {"", io.EOF},
		"a part of a header":    {"000000", io.ErrUnexpectedEOF},
		"a header alone":        {"00000010", io.ErrUnexpectedEOF},
		"a part of a body":      {"0000001dd0f281f8", io.ErrUnexpectedEOF},
		"no length":             {"00000000", hs110.ErrFrame},
		"a byte over the limit": {"00010001", hs110.ErrFrame},
		"two gigabytes":         {"7fffffffd0f2", hs110.ErrFrame},
		"a negative length":     {"fffffffed0f2", hs110.ErrFrame},
		"a web server":          {hex.EncodeToString([]byte("HTTP/1.1 400 Bad Request\r\n")), hs110.ErrFrame},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := hs110.ReadFrame(bytes.NewReader(mustHex(t, c.bytes)), nil)
			if !errors.Is(err, c.want) || body != nil {
				t.Errorf("got %q, %v, want %v", body, err, c.want)
			}
		})
	}
	if _, err := hs110.DecodeDatagram(nil); !errors.Is(err, hs110.ErrFrame) {
		t.Errorf("empty datagram: %v", err)
	}
}

func TestReadFrameTakesTheLongestBody(t *testing.T) {
	want := bytes.Repeat([]byte("x"), hs110.MaxBody)
	got, err := hs110.ReadFrame(bytes.NewReader(hs110.AppendFrame(nil, want)), nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, frame := range golden {
		f.Add(mustHex(f, frame))
	}
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xfe, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := hs110.ReadFrame(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		if again := hs110.AppendFrame(nil, body); !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x reads as %q, which is written as %x", b, body, again)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no answers in testdata: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"system":{"get_sysinfo":{"relay_state":1e400,"on_time":-1,"mac":"::","rssi":"x"}},"emeter":{"get_realtime":{"power":-0,"total":1e308,"voltage_mv":[]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := hs110.ReadAnswer(b)
		if err != nil {
			return
		}
		if p := s.Power; p != nil && !(*p >= 0 && *p <= hs110.MaxPower) {
			t.Errorf("power %v", *p)
		}
		if v := s.Voltage; v != nil && !(*v >= hs110.MinVoltage && *v <= hs110.MaxVoltage) {
			t.Errorf("voltage %v", *v)
		}
		if c := s.Current; c != nil && !(*c >= 0 && *c <= hs110.MaxCurrent) {
			t.Errorf("current %v", *c)
		}
		if e := s.Energy; e != nil && !(*e >= 0 && *e <= hs110.MaxEnergy) {
			t.Errorf("energy %v", *e)
		}
		if len(s.Suspects) > 4 {
			t.Errorf("%d suspects of 4 fields", len(s.Suspects))
		}
	})
}
