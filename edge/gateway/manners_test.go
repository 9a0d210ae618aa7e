package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
	"github.com/wattline/wattline/shared/contract"
)

// Its will is not heard when a gateway takes leave of the broker in order.
func TestAGatewayThatLeavesSaysSoWhateverItKeeps(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	stop := s.start()
	s.eventually("readings that nobody answers", func() bool { return s.pageView().Status.Outbox.Batches > 0 })
	stop()
	var last contract.Status
	s.await("the farewell", func(m bus.Message) bool {
		return m.Topic == bus.StatusTopic("edge-f1") && json.Unmarshal(m.Payload, &last) == nil && !last.Online
	})
	if last.BootID == "" || last.Outbox.Batches == 0 {
		t.Errorf("farewell %+v", last)
	}
}

func TestTheStateOfAPlugThatIsGoneStaysCleared(t *testing.T) {
	s := newSite(t)
	s.configure(1)
	s.start()
	state := bus.StateTopic("edge-f1", "sp_f1.g0")
	s.await("its state", func(m bus.Message) bool { return m.Topic == state && len(m.Payload) > 0 })
	payload, err := json.Marshal(contract.GatewayConfig{Version: 2, Gateway: "edge-f1", Floor: 1, PollSeconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(bus.ConfigTopic("edge-f1"), true, payload)
	cleared := func(m bus.Message) bool { return m.Topic == state && len(m.Payload) == 0 }
	s.await("it is cleared", cleared)
	// The listener may come back later than the gateway and miss it, so there may
	// be several tries.
	for {
		s.broker.Kill()
		s.broker.Start()
		if s.hears(cleared) {
			return
		}
		if s.ctx.Err() != nil {
			t.Fatal("it is not cleared at a broker that may have kept it")
		}
	}
}

// hears reports whether a message that fits comes within a few seconds.
func (s *site) hears(fits func(bus.Message) bool) bool {
	patience := time.NewTimer(3 * time.Second)
	defer patience.Stop()
	for {
		select {
		case m := <-s.heard:
			if fits(m) {
				return true
			}
		case <-patience.C:
			return false
		case <-s.ctx.Done():
			return false
		}
	}
}

func TestResultsGoToTheirAskerOnly(t *testing.T) {
	s := newSite(t)
	s.start()
	s.eventually("the broker", func() bool { return s.pageView().Cloud.Reachable })
	data, err := json.Marshal(contract.GatewayCommand{ID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{
		"responses/sp_command/x/edge-f9/c1", "responses/sp_command/x/c1", "responses/other/x/edge-f1/c1",
		"responses/sp_command/x/edge-f1/#", "state/sp_command/x/edge-f1/c1", "responses/sp_command/x/edge-f1/c2",
	} {
		payload, _ := bus.Envelope{ID: "c1", ResponseTopic: topic, Data: data}.Encode()
		s.publish(bus.CommandTopic("edge-f1"), false, payload)
	}
	m := s.await("results", func(m bus.Message) bool {
		return strings.HasPrefix(m.Topic, "responses/sp_command/") || strings.HasSuffix(m.Topic, "/c1")
	})
	if m.Topic != "responses/sp_command/x/edge-f1/c2" {
		t.Errorf("answered on %s", m.Topic)
	}
}
