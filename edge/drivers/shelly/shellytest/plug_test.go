package shellytest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/wattline/wattline/edge/drivers/shelly/shellytest"
)

// ask sends a request as curl would and gives status and body.
func ask(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil
	}
	var m map[string]any
	_ = json.Unmarshal(text, &m)
	return answer.StatusCode, m
}

func TestAPlugIsAskedBothWays(t *testing.T) {
	p := shellytest.New(t, shellytest.Options{MAC: "a8032abe54dc", Off: true})
	base := "http://" + p.Address() + "/rpc"
	for _, c := range []struct {
		method, path, body string
		status             int
		key                string
		want               any
	}{
		{"GET", "/Shelly.GetDeviceInfo", "", 200, "id", "shellyplusplugs-a8032abe54dc"},
		{"GET", "/Switch.GetStatus?id=0", "", 200, "output", false},
		{"GET", "/Switch.Set?id=0&on=true", "", 200, "was_on", false},
		{"GET", "/Switch.GetStatus?id=7", "", 500, "code", -105.0},
		{"GET", "/Switch.GetStatus", "", 500, "code", -103.0},
		{"GET", "/Light.GetStatus?id=0", "", 500, "code", 404.0},
		{"POST", "", `{"id":5,"src":"me","method":"Switch.GetStatus","params":{"id":0}}`, 200, "src", "shellyplusplugs-a8032abe54dc"},
		{"POST", "", `{"id":5,"src":"me","method":"Switch.GetStatus","params":{"id":0}}`, 200, "dst", "me"},
		{"POST", "", `{"id":5,"src":"me","method":"Switch.GetStatus","params":{"id":0}}`, 200, "id", 5.0},
		{"POST", "", `nonsense`, 404, "", nil},
		{"POST", "/Switch.Set", `{"id":0}`, 404, "", nil}, // not simulated
	} {
		status, got := ask(t, c.method, base+c.path, c.body)
		if status != c.status || got[c.key] != c.want {
			t.Errorf("%s %s %s: %d %v, want %d and %s %v", c.method, c.path, c.body, status, got, c.status, c.key, c.want)
		}
	}
	if !p.On() || p.MAC() != "A8:03:2A:BE:54:DC" {
		t.Errorf("relay %v, mac %s", p.On(), p.MAC())
	}
	p.Press(false)
	if _, got := ask(t, "GET", base+"/Switch.GetStatus?id=0", ""); got["apower"] != 0.0 || got["output"] != false {
		t.Errorf("switched off by hand: %v", got)
	}
}

func TestOneQuestionIsAnsweredAtATime(t *testing.T) {
	var mu sync.Mutex
	busy, most := 0, 0
	p := shellytest.New(t, shellytest.Options{OnRequest: func(string) {
		mu.Lock()
		busy++
		most = max(most, busy)
		mu.Unlock()
		defer func() { mu.Lock(); busy--; mu.Unlock() }()
	}})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { ask(t, "GET", "http://"+p.Address()+"/rpc/Switch.GetStatus?id=0", "") })
	}
	wg.Wait()
	if most != 1 || p.Requests() != 20 {
		t.Errorf("%d at once, %d in all", most, p.Requests())
	}
}

func TestAPlugRefusesAndComesBackAtItsAddress(t *testing.T) {
	p := shellytest.New(t, shellytest.Options{Energy: 300})
	url := "http://" + p.Address() + "/rpc/Switch.GetStatus?id=0"
	if err := p.SetFault(shellytest.Fault{Refuse: true}); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(t, "GET", url, ""); status != 0 {
		t.Errorf("a refusing plug answered %d", status)
	}
	if err := p.SetFault(shellytest.Fault{}); err != nil {
		t.Fatal(err)
	}
	energy := func() float64 {
		_, got := ask(t, "GET", url, "")
		a, _ := got["aenergy"].(map[string]any)
		wh, _ := a["total"].(float64)
		return wh
	}
	if wh := energy(); wh < 300 {
		t.Errorf("%v Wh after it refused, want 300", wh)
	}
	if err := p.Reboot(); err != nil {
		t.Fatal(err)
	}
	if wh := energy(); wh > 1 {
		t.Errorf("%v Wh after a reboot, want none", wh)
	}
	p.Close()
	p.Close()
}
