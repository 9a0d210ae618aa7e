package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/wattline/wattline/shared/contract"
)

// ErrEnvelope is the class of errors of [Decode].
var ErrEnvelope = errors.New("malformed envelope")

// Envelope is the one JSON object that every payload is, retained ones excepted.
// Data is the content; ResponseTopic asks for an answer, which repeats ID and
// has Data and/or Error.
type Envelope struct {
	ID            string              `json:"id,omitempty"`
	ResponseTopic string              `json:"response_topic,omitempty"`
	Batch         *contract.BatchHead `json:"batch,omitempty"` // on data of a gateway
	// Part counts the parts of a long answer from 0; Last marks the last one.
	// An answer in one piece has neither.
	Part  *int            `json:"part,omitempty"`
	Last  bool            `json:"last,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
	Error json.RawMessage `json:"error,omitempty"`
	// Subtopics are IoToad's: more targets below the topic of a command.
	Subtopics []string `json:"subtopics,omitempty"`
}

// wire adds the older spellings of the response topic that are understood.
type wire struct {
	Envelope
	ResponseID   string `json:"response-id"`
	ResponseDash string `json:"response-topic"`
}

// Decode reads a payload, inflating it when it is compressed. Errors wrap
// [ErrEnvelope]; the envelope then holds ID and ResponseTopic if they could be
// read, so that the sender can be told.
func Decode(payload []byte) (Envelope, error) {
	text, err := Inflate(payload)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' {
		return Envelope{}, fmt.Errorf("%w: not a JSON object", ErrEnvelope)
	}
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return addressOf(text), fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	e := w.Envelope
	if e.ResponseTopic == "" {
		e.ResponseTopic = w.ResponseID
	}
	if e.ResponseTopic == "" {
		e.ResponseTopic = w.ResponseDash
	}
	return e, nil
}

// addressOf reads what an answer needs from an envelope whose rest is wrong.
func addressOf(text []byte) Envelope {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return Envelope{}
	}
	read := func(keys ...string) (s string) {
		for _, key := range keys {
			if json.Unmarshal(members[key], &s) == nil && s != "" {
				return s
			}
		}
		return ""
	}
	return Envelope{ID: read("id"), ResponseTopic: read("response_topic", "response-id", "response-topic")}
}

// Encode writes the envelope as JSON, not compressed.
func (e Envelope) Encode() ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode envelope %s: %w", e.ID, err)
	}
	return text, nil
}

// ErrorText gives the error of an answer as a text, "" when there is none. An
// error may be a string or an object device id -> reason.
func (e Envelope) ErrorText() string {
	if len(e.Error) == 0 || string(e.Error) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(e.Error, &s) == nil {
		return s
	}
	return string(e.Error)
}

// Text is s as a JSON string, for the Error of an envelope.
func Text(s string) json.RawMessage {
	text, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return json.RawMessage(`"?"`)
	}
	return text
}
