package hs110test_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func TestAFactoryNewPlugJoinsANetwork(t *testing.T) {
	free := hs110test.New(t, hs110test.Options{})
	there := free.Address()
	_ = free.Close()
	p := hs110test.New(t, hs110test.Options{Networks: []hs110test.Network{{SSID: "Büro \"1\"", Password: "secret", Address: there}, {SSID: "guests"}}})
	ask := func(question, want string) {
		t.Helper()
		if got := mustAsk(t, p, question); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", question, got, want)
		}
	}
	ask(`{"netif":{"get_scaninfo":{"refresh":1}}}`,
		`{"netif":{"get_scaninfo":{"ap_list":[{"ssid":"Büro \"1\"","key_type":3},{"ssid":"guests","key_type":3}],"err_code":0}}}`)
	ask(`{"netif":{"set_stainfo":{"ssid":"x","password":"y","key_type":"3"}}}`, `{"netif":{"set_stainfo":{"err_code":-3,"err_msg":"invalid argument"}}}`)
	ask(`{"time":{"set_timezone":{"year":2026,"month":11,"mday":23,"hour":1,"min":2,"sec":3,"index":42}}}`, `{"time":{"set_timezone":{"err_code":0}}}`)
	ask(`{"time":{"get_timezone":{}}}`, `{"time":{"get_timezone":{"index":42,"err_code":0}}}`)
	join := func(password string) string {
		return fmt.Sprintf(`{"netif":{"set_stainfo":{"ssid":"Büro \"1\"","password":%q,"key_type":3}}}`, password)
	}
	before := p.Address()
	ask(join("wrong"), `{"netif":{"set_stainfo":{"err_code":0}}}`)
	if p.Joined() != "" || p.Address() != before {
		t.Error("joined with a wrong password")
	}
	ask(join("secret"), `{"netif":{"set_stainfo":{"err_code":0}}}`)
	for deadline := time.Now().Add(5 * time.Second); p.Joined() == ""; time.Sleep(5 * time.Millisecond) { // polling under a deadline
		if time.Now().After(deadline) {
			t.Fatal("never joined")
		}
	}
	if p.Address() != there || p.Zone() != 42 {
		t.Errorf("at %s, zone %d", p.Address(), p.Zone())
	}
	ask(`{"netif":{"get_stainfo":{}}}`, `{"netif":{"get_stainfo":{"ssid":"Büro \"1\"","rssi":0,"err_code":0}}}`)
	if c, err := net.DialTimeout("tcp", before, time.Second); err == nil {
		_ = c.Close()
		t.Error("still at its own access point")
	}
}
