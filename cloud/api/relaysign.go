package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/wattline/wattline/shared/contract"
)

// signed is a payload for sp_command that says who sends it, whoever it claimed
// to be from. What is no object, in either of IoToad's spellings, stays as it
// is: sp_command refuses it.
func signed(payload json.RawMessage, who string) json.RawMessage {
	text := bytes.TrimSpace(payload)
	if len(text) > 0 && text[0] == '"' { // an object as the text of a string
		var inner string
		if json.Unmarshal(text, &inner) != nil {
			return payload
		}
		text = []byte(strings.TrimSpace(inner))
	}
	var members map[string]json.RawMessage
	if _, twice := repeated(text); twice || json.Unmarshal(text, &members) != nil || members == nil {
		return payload
	}
	name, err := json.Marshal(who)
	if err != nil {
		return payload
	}
	members["who"] = name
	out, err := json.Marshal(members)
	if err != nil {
		return payload
	}
	return out
}

// relayPatience is how long the answers to relayed switches may take: a group
// that is switched on takes its time. An answer that comes sooner ends it.
func (s *Server) relayPatience(topics []string) time.Duration {
	wait := s.config.HTTP.AnswerTimeout
	for _, topic := range topics {
		if sel := s.groupOf(strings.TrimPrefix(topic, "command/"+switcher+"/")); sel != nil {
			wait = max(wait, s.patience(contract.SwitchRequest{On: true, Select: sel}))
		}
	}
	return wait
}

// groupOf is the group that a target of sp_command names; nil when it is one
// place, or nothing.
func (s *Server) groupOf(target string) *contract.Select {
	levels := strings.Split(target, "/")
	if len(levels)%2 != 0 {
		return nil
	}
	site, _ := s.house.Site()
	sel := &contract.Select{}
	for i := 0; i < len(levels); i += 2 {
		n, err := strconv.Atoi(levels[i+1])
		switch {
		case levels[i] == "type":
			sel.Type = levels[i+1]
		case err != nil:
			return nil
		case levels[i] == "floor":
			sel.Floor = &n
		case levels[i] == "row":
			sel.Row = &n
		case levels[i] == "column":
			sel.Column = &n
		default:
			return nil
		}
	}
	if sel.Floor == nil && sel.Type == "" { // as sp_command understands it
		sel.Floor = &site.DefaultFloor
	}
	return sel
}

// noteAnonymous tells the audit log what a client without a token has sent.
func (s *Server) noteAnonymous(c *fiber.Ctx, who caller, target string, status int, err error) {
	e := contract.Audited{Who: who.who, What: "send by relay", Object: shorten(target), Result: done}
	if err != nil || status != http.StatusOK {
		e.Result = failed
	}
	s.note(c, e)
}
