package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hs110/hs110test"
)

// secret is the broker's password of roles, so that there are clients who are
// none.
const secret = "of the roles only"

// Go collects garbage as late as it may. With this limit (runtime: GOMEMLIMIT)
// what a process holds shows in its memory; mostMemory, in MiB, leaves room for
// what is garbage at the moment.
const (
	memoryLimit = "384MiB"
	mostMemory  = 500
)

// besieged is a site whose readings are numbered, so that they can be counted
// at the end, and what it was like before anybody did harm.
type besieged struct {
	*site
	plugs office

	memory, edgeMemory, files int
}

// TestHostileInput lets readings flow while strangers send what nobody should,
// over REST and MQTT; then it counts.
func TestHostileInput(t *testing.T) {
	t.Setenv("GOMEMLIMIT", memoryLimit)
	b := &besieged{plugs: office{}}
	for i, id := range []string{"sp_g1", "sp_g2", "sp_w.r0.c0", "sp_w.r0.c1", "sp_f1.p0"} {
		b.plugs[id] = hs110test.New(t, hs110test.Options{Hardware: [...]hs110test.Hardware{hs110test.HW1, hs110test.HW2, hs110test.HW4}[i%3], Generate: hs110test.Numbered})
	}
	b.site = newSite(t, layout{places: b.plugs.places(), limits: "password: " + secret + ", client_buffer_bytes: 4194304, buffer_bytes: 33554432, retained_bytes: 16777216"})
	eventually(t, 30*time.Second, "readings of all flow", func() bool {
		var answer struct{ Series []struct{ Points []any } }
		b.rest("/api/v1/readings?measurement=energy&operation=count&group_by=device").into(t, &answer)
		return len(answer.Series) == len(b.plugs)
	})
	b.memory, b.edgeMemory, b.files = b.clouds[0].anonymous(), b.edge.anonymous(), b.clouds[0].descriptors()
	t.Run("injection in every string of every route", func(t *testing.T) { testInjection(t, b) })
	t.Run("messages", func(t *testing.T) { testMessages(t, b) })
	t.Run("what only roles and gateways may", func(t *testing.T) { testTrespass(t, b) })
	t.Run("a rogue role", func(t *testing.T) { testRogue(t, b) })
	t.Run("two hundred clients", func(t *testing.T) { testCrowd(t, b) })
	b.counts(t)
}

// counts ends the polling, lets the gateway run empty and compares what is
// stored with what the plugs have answered: the n-th answer reads n Wh.
func (b *besieged) counts(t *testing.T) {
	t.Helper()
	for _, p := range b.plugs {
		_ = p.Close()
	}
	eventually(t, 60*time.Second, "all answers are stored, nothing waits", func() bool {
		for id, p := range b.plugs { // one answer may have been on its way when the plug ended
			if list := b.numbers(t, id); len(list) == 0 || list[len(list)-1] < float64(p.Polls())-1 {
				return false
			}
		}
		v, err := b.page()
		return err == nil && v.Status.Outbox.Readings == 0 && v.Status.Outbox.Batches == 0 &&
			strings.Contains(b.rest("/api/v1/ledger?gateway="+gatewayName).body, `"complete":true`)
	})
	total := 0
	for id := range b.plugs {
		list := b.numbers(t, id)
		total += len(list)
		for i, n := range list {
			if n != float64(i+1) {
				t.Errorf("%s: the reading %d has number %v", id, i+1, n)
				break
			}
		}
	}
	b.proven(t)
	t.Logf("%d readings, none lost, none doubled", total)
	memory, edgeMemory, files := b.clouds[0].anonymous(), b.edge.anonymous(), 0
	eventually(t, 20*time.Second, "connections and files of the hostile are gone", func() bool {
		files = b.clouds[0].descriptors()
		return files <= b.files+60 // connections to InfluxDB are kept
	})
	t.Logf("cloud: %d MiB before, %d MiB after; gateway: %d and %d MiB; the cloud's files: %d and %d", b.memory, memory, b.edgeMemory, edgeMemory, b.files, files)
	if memory > mostMemory || edgeMemory > b.edgeMemory+48 {
		t.Error("memory grew")
	}
	b.edge.checkLog()
}

// numbers are the readings of a plug, in the order of their times.
func (b *besieged) numbers(t *testing.T, id string) (list []float64) {
	t.Helper()
	var answer struct {
		Series []struct{ Points []struct{ Value float64 } }
	}
	b.rest("/api/v1/readings?measurement=energy&id="+id).into(t, &answer)
	for _, s := range answer.Series {
		for _, p := range s.Points {
			list = append(list, p.Value)
		}
	}
	return list
}

// shape is what InfluxDB has: databases, measurements, tag values. Strangers may
// add what they are allowed to store, and nothing else.
func (b *besieged) shape(t *testing.T) string {
	t.Helper()
	return b.influxQL(t, "sp", "SHOW DATABASES; SHOW MEASUREMENTS; SHOW TAG KEYS; SHOW FIELD KEYS; SHOW USERS; SHOW CONTINUOUS QUERIES; SHOW RETENTION POLICIES").body
}

// clearError tells whether an error is one for people: a problem or an error text,
// and nothing of the inside.
func clearError(a answer) error {
	var problem struct {
		Title, Detail string
		Status        int
		Error         json.RawMessage
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		return fmt.Errorf("%v is not JSON: %w", a, err)
	}
	if problem.Title == "" && len(problem.Error) == 0 || problem.Title != "" && problem.Status != a.status {
		return fmt.Errorf("%v says nothing", a)
	}
	for _, inside := range []string{"goroutine ", "panic", "SELECT ", "bbolt", "paho", "fasthttp", "json:", "strconv.", "/main/"} {
		if strings.Contains(a.body, inside) {
			return fmt.Errorf("%v tells of the inside: %s", a, inside)
		}
	}
	if a.status == http.StatusInternalServerError {
		return fmt.Errorf("%v is an internal error", a)
	}
	return nil
}
