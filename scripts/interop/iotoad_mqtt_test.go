package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/shared/bus"
)

// spoken is a row: a message that a client publishes itself, without the api.
type spoken struct {
	topic, payload string   // RESPOND stands for the topic to answer on
	want           string   // the answer, unless ""
	words          []string // must be in it
	silent         bool     // there must be no answer
	on             bool
	switched       string
}

var spokens = map[string]spoken{
	"response_topic, as documented":           {topic: "command/sp_command/sp_g3", payload: `{"data":"{\"status\": 0}","response_topic":"RESPOND"}`, want: `{"data":{"successful":["sp_g3"]}}`, switched: "sp_g3"},
	"response-id, as coded":                   {topic: "command/sp_command/sp_g3", payload: `{"data":"{\"status\": 0}","response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_g3"]}}`, switched: "sp_g3"},
	"response-topic, as documented once":      {topic: "command/sp_command/sp_g3", payload: `{"data":{"status":1},"response-topic":"RESPOND"}`, want: `{"data":{"successful":["sp_g3"]}}`, on: true, switched: "sp_g3"},
	"a row":                                   {topic: "command/sp_command/row/0", payload: `{"data":{"status":0},"response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_w.r0.c0","sp_w.r0.c1"]}}`, switched: "sp_w.r0.c0 sp_w.r0.c1"},
	"a column":                                {topic: "command/sp_command/column/0", payload: `{"data":{"status":"OFF"},"response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_w.r0.c0","sp_w.r1.c0"]}}`, switched: "sp_w.r0.c0 sp_w.r1.c0"},
	"an id without sp_":                       {topic: "command/sp_command/w.r1.c1", payload: `{"data":{"status":0},"response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_w.r1.c1"]}}`, switched: "sp_w.r1.c1"},
	"top-level subtopics, put behind a slash": {topic: "command/sp_command/row", payload: `{"data":{"status":0},"subtopics":["0","1"],"response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_w.r0.c0","sp_w.r0.c1","sp_w.r1.c0","sp_w.r1.c1"]}}`, switched: "sp_w.r0.c0 sp_w.r0.c1 sp_w.r1.c0 sp_w.r1.c1"},
	"top-level subtopics, the slash in the topic, as the original wanted it": {
		topic: "command/sp_command/row/", payload: `{"data":{"status":0},"subtopics":["1"],"response-id":"RESPOND"}`, want: `{"data":{"successful":["sp_w.r1.c0","sp_w.r1.c1"]}}`, switched: "sp_w.r1.c0 sp_w.r1.c1",
	},
	"mixed subtopics below the bare module": {topic: "command/sp_command", payload: `{"data":{"status":0},"subtopics":["sp_g3","column/1"],"response_topic":"RESPOND"}`, want: `{"data":{"successful":["sp_g3","sp_w.r0.c1","sp_w.r1.c1"]}}`, switched: "sp_g3 sp_w.r0.c1 sp_w.r1.c1"},
	"an id is repeated in the answer":       {topic: "command/sp_command/sp_g3", payload: `{"id":"7","data":{"status":0},"response_topic":"RESPOND"}`, want: `{"id":"7","data":{"successful":["sp_g3"]}}`, switched: "sp_g3"},
	"no response topic, no reply, switched": {topic: "command/sp_command/sp_g3", payload: `{"data":{"status":0}}`, silent: true, switched: "sp_g3"},
	"an unknown id is told, not skipped":    {topic: "command/sp_command/sp_g77", payload: `{"data":{"status":0},"response-id":"RESPOND"}`, want: `{"data":{"successful":[]},"error":{"sp_g77":"no such place"}}`},
	"a malformed payload is answered":       {topic: "command/sp_command/sp_g3", payload: `{"data":"off","response-id":"RESPOND"}`, words: []string{`"error":`}},
	"a malformed envelope is answered":      {topic: "command/sp_command/sp_g3", payload: `{"data":{"status":0},"subtopics":"x","response-id":"RESPOND"}`, words: []string{`"error":`}},
	"a topic that is no answer's is not answered": {
		topic: "command/sp_command/sp_g3", payload: `{"data":{"status":0},"response_topic":"data/x/influx_data/sp"}`, silent: true,
	},
	"a query":                         {topic: "query/influx_query/sp/power", payload: `{"data":{"id":"sp_p7","to":"1593599100"},"response-id":"RESPOND"}`, words: []string{`"data":[{"bn":"sp_p7/power","bu":"W"},{`, `"t":1593599028`, `"v":300`}},
	"a query with numbers":            {topic: "query/influx_query/sp/power", payload: `{"data":{"operation":"sum","id":"sp_p7","from":1593599018,"to":1593599100.5},"response_topic":"RESPOND"}`, words: []string{`"v":300`}},
	"a query's mistakes come at once": {topic: "query/influx_query/sp/power", payload: `{"data":{"operation":"x","row":"y"},"response-id":"RESPOND"}`, words: []string{`"error":"`, "operation", "row"}},
	"a query of nothing":              {topic: "query/influx_query", payload: `{"response-id":"RESPOND"}`, words: []string{`"error":"`}},
}

func testSpeaking(t *testing.T, s *site, plugs office) {
	answers := make(chan bus.Message, 10)
	link := s.client("st_main_server", func(ctx context.Context, session *bus.Session) error {
		return session.Subscribe(ctx, "responses/st_main_server/#", func(m bus.Message) { answers <- m })
	})
	n := 0
	for name, c := range spokens {
		t.Run(name, func(t *testing.T) {
			plugs.press(!c.on)
			n++
			respond := fmt.Sprintf("responses/st_main_server/%d", n)
			s.publish(link, c.topic, strings.ReplaceAll(c.payload, "RESPOND", respond))
			if c.silent {
				eventually(t, 5*time.Second, "it has happened", func() bool { return len(plugs.are(c.on)) == len(strings.Fields(c.switched)) })
			} else {
				s.hearAnswer(t, answers, respond, c)
			}
			want := map[string]bool{}
			for id := range strings.FieldsSeq(c.switched) {
				want[id] = true
			}
			if diff := cmp.Diff(want, plugs.are(c.on)); diff != "" {
				t.Errorf("switched (-want +got):\n%s", diff)
			}
		})
	}
	if len(answers) > 0 {
		m := <-answers
		t.Errorf("an answer that nobody asked for: %s %s", m.Topic, m.Payload)
	}
}

func (s *site) hearAnswer(t *testing.T, answers chan bus.Message, respond string, c spoken) {
	t.Helper()
	select {
	case m := <-answers:
		if m.Topic != respond || !json.Valid(m.Payload) {
			t.Fatalf("answered on %s, want %s: %s", m.Topic, respond, m.Payload)
		}
		sameJSON(t, string(m.Payload), c.want)
		for _, w := range c.words {
			if !strings.Contains(string(m.Payload), w) {
				t.Errorf("%s is not in %s", w, m.Payload)
			}
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
}
