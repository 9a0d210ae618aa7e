package influx_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wattline/wattline/cloud/influx"
)

func TestValidateNamesEveryMistake(t *testing.T) {
	cfg := influx.DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := (&influx.Config{URL: "influx:8086"}).Validate()
	for _, key := range []string{"url", "max_concurrent_writes", "max_concurrent_queries", "write_timeout", "query_timeout"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("got %v, want a line on %s", err, key)
		}
	}
	for _, url := range []string{"http://", "ftp://x", "http://u:hidden@x", "http://x/?a=b", "http://x#y", "http://hidden:x:y", ":"} {
		cfg.URL = url
		if err := cfg.Validate(); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("url %q: got %v, want a mistake that repeats nothing", url, err)
		}
	}
	for _, url := range []string{"http://127.0.0.1:8086", "https://influx.example/", "https://proxy.example/influx"} {
		cfg.URL = url
		if err := cfg.Validate(); err != nil {
			t.Errorf("url %q: %v", url, err)
		}
	}
}

func TestNewNeedsAServer(t *testing.T) {
	if _, err := influx.New(influx.DefaultConfig()); err == nil || !strings.Contains(err.Error(), "url: required") {
		t.Errorf("got %v, want url: required", err)
	}
}

func TestTokenIsNeverPrinted(t *testing.T) {
	cfg := influx.DefaultConfig()
	cfg.Token = "hidden"
	if got := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg); strings.Contains(got, "hidden") {
		t.Errorf("printed: %s", got)
	}
}
