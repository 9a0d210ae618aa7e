package spcommand

// This test is inside the package because the parser is the one place where
// bytes of strangers become the state of a relay.

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`{"status": 1}`, `"{\"status\": 0}"`, `{"status":"OFF"}`, `{"on":true,"who":"x","reason":"y","deadline_s":3,"dry_run":true}`, `{"on":true,"select":{"ids":["a"],"row":1}}`, `{"status":1,"status":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parse(data, time.Second)
		if err != nil {
			return
		}
		if o.allowed <= 0 || o.allowed > maxAllowed || len(o.Who) > maxText {
			t.Errorf("%q gives %+v", data, o)
		}
		text := string(data)
		var inner string
		if json.Unmarshal(data, &inner) == nil {
			text = inner
		}
		if o.On && !strings.Contains(text, "true") && !strings.ContainsAny(text, "1nN") || !json.Valid([]byte(text)) {
			t.Errorf("%q is obeyed as %+v", data, o)
		}
	})
}

func FuzzTargets(f *testing.F) {
	for _, seed := range []string{"sp_f2.w.r1.c1", "row/1", "floor/-1/row/0", "type/w", "floor/2/type/g", "", "w.r0.c0", "//"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		targets, mistakes := parseTargets(path, nil)
		if len(targets)+len(mistakes) != 1 {
			t.Errorf("%q gives %+v and %v", path, targets, mistakes)
		}
	})
}
