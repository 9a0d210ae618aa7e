package ledgerquery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	ledgerquery "github.com/wattline/wattline/cloud/components/ledger_query"
	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/cloud/ledger"
	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/hook"
)

type sourcesPage struct {
	Items []ledgerquery.Source
	Next  string
}

func (s *stand) sources(data string) (page sourcesPage) {
	s.t.Helper()
	var a answer
	if err := s.Query(s.t.Context(), hook.Request{Subpath: "sources", Data: json.RawMessage(data), Wanted: true}, &a); err != nil {
		s.t.Fatalf("%s: %v", data, err)
	}
	if err := json.Unmarshal(a.data, &page); err != nil {
		s.t.Fatal(err)
	}
	return page
}

// Two runs of the hook, one after the other, hear the same sources.
func TestSourcesAreSummedOverTheRunsOfTheHook(t *testing.T) {
	s := newStand(t)
	weather, meter := "weather-"+s.database, "meter-"+s.database
	begin := device.MicrosOf(time.Now())
	plain := func(source, payload string) {
		s.take(s.t.Context(), bus.Message{Topic: "data/" + source + "/influx_data/" + s.database, Payload: []byte(payload)})
	}
	for range 2 {
		plain(weather, `{"data":[`+reading("g1")+`,`+reading("g2")+`]}`)
		plain(weather, `no JSON`)
		s.give(weather, "my 17th", reading("g1"))
		s.give(weather, "my 18th", reading("g01"))
		s.give(meter, "9f3c0a5be1d27486-1", reading("g3"))
		s.hook.Report(t.Context(), time.Hour)
		s.give(meter, "x", reading("g3"))
		s.hook.Report(t.Context(), time.Hour) // the record of a moment ago still stands
		if got := s.sources(`{"source":"` + meter + `"}`); len(got.Items) != 1 || got.Items[0].Messages%2 != 1 {
			t.Errorf("a record was written anew before its time: %+v", got)
		}
		s.hook.Report(t.Context(), 0)
		s.hook.Report(t.Context(), 0) // nothing changed
		s.hook = influxdata.New(influxdata.Options{Store: s.store, Ledger: ledger.NewBook(s.store, hook.Instance(), nil)}, quiet)
	}
	page := s.sources(`{"prefix":"weather-` + s.database + `"}`)
	want := []ledgerquery.Source{{Source: weather, Messages: 8, Records: 6, Quarantined: 2, Malformed: 2, Entered: 4, Series: 2}}
	if diff := cmp.Diff(want, page.Items, cmpopts.IgnoreFields(ledgerquery.Source{}, "First", "Heard", "Error", "ErrorAt")); diff != "" {
		t.Error(diff)
	}
	if w := page.Items[0]; w.First < begin || w.Heard <= w.First || w.ErrorAt == nil || *w.ErrorAt < w.First || w.Error == "" {
		t.Errorf("times and error: %+v", w)
	}
	if got := s.sources(`{"source":"` + meter + `"}`).Items; len(got) != 1 || got[0].Messages != 4 || got[0].Records != 4 || got[0].Entered != 4 || got[0].ErrorAt != nil {
		t.Errorf("meter: %+v", got)
	}
	for _, filter := range []string{`"source":"weather"`, `"source":"weather-*"`, fmt.Sprintf(`"prefix":%q,"to":%s`, weather, secondsOf(begin)), fmt.Sprintf(`"prefix":%q,"from":%s`, weather, secondsOf(begin+3600e6))} {
		if got := s.sources("{" + filter + "}"); len(got.Items) != 0 || got.Next != "" {
			t.Errorf("%s: %+v", filter, got)
		}
	}
}

func TestSourcesComeInPages(t *testing.T) {
	s := newStand(t)
	for i := range 5 {
		s.give(fmt.Sprintf("%s-%d", s.database, i), "a", reading("g1"))
	}
	s.hook.Report(t.Context(), 0)
	var names []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.sources(fmt.Sprintf(`{"prefix":"%s-","limit":2,"cursor":%q}`, s.database, cursor))
		for _, one := range page.Items {
			names = append(names, one.Source)
		}
		if cursor = page.Next; pages > 3 {
			t.Fatal("pages without end")
		}
	}
	if diff := cmp.Diff([]string{s.database + "-0", s.database + "-1", s.database + "-2", s.database + "-3", s.database + "-4"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestSourcesOfANewSiteAreNone(t *testing.T) {
	c := ledgerquery.New(ledgerquery.Options{Store: empty{missing{}}}, quiet)
	var a answer
	if err := c.Query(t.Context(), hook.Request{Subpath: "sources", Wanted: true}, &a); err != nil || string(a.data) != `{"items":[],"next":""}` {
		t.Errorf("%s, %v", a.data, err)
	}
	err := c.Query(t.Context(), hook.Request{Subpath: "sources", Data: json.RawMessage(`{"limit":0,"kind":"x","from":"noon"}`), Wanted: true}, &a)
	if !errors.Is(err, ledgerquery.ErrMistakes) {
		t.Errorf("mistakes: %v", err)
	}
}

// What was beyond a limit is stored once the limit is raised and the batch is
// handed in again.
func TestWhatWasBeyondALimitIsReplayedWhenItIsRaised(t *testing.T) {
	s := newStand(t)
	storing := func(series int) *influxdata.Hook {
		limits := influxdata.DefaultConfig().Limits
		limits.Series = series
		return influxdata.New(influxdata.Options{Store: s.store, Ledger: ledger.NewBook(s.store, hook.Instance(), nil), Limits: limits}, quiet)
	}
	s.hook = storing(1)
	source := "meter-" + s.database
	s.give(source, "one", reading("g1"))
	s.give(source, "two", reading("g2"))
	refused := s.list(`{"source":"` + source + `"}`).Items
	if len(refused) != 1 || refused[0].Batch != "two" || !strings.Contains(refused[0].Reason, "influx_data.limits.series") {
		t.Fatalf("in quarantine: %+v", refused)
	}
	s.hook = storing(2)
	s.receipts = nil
	if _, err := s.replay(`{"id":"` + refused[0].Digest + `","source":"` + source + `"}`); err != nil {
		t.Fatal(err)
	}
	if len(s.receipts) != 1 || !strings.Contains(s.receipts[0], `"stored":[{"id":"two"`) {
		t.Errorf("receipts %v", s.receipts)
	}
}
