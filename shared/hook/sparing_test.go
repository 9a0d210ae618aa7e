package hook_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattline/wattline/shared/hook"
)

func TestASourceIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s hook.Sparing
		if !s.May("a") || s.May("a") || !s.May("b") {
			t.Error("not once per source")
		}
		time.Sleep(time.Minute)
		if !s.May("a") || s.May("a") {
			t.Error("not once per minute")
		}
	})
}

func TestManySourcesCountAsOne(t *testing.T) {
	var s hook.Sparing
	logged := 0
	for n := range 10_000 {
		if s.May(fmt.Sprint(n)) {
			logged++
		}
	}
	if logged > 257 {
		t.Errorf("%d of 10000 sources were logged in one minute", logged)
	}
}
