package hs110

import (
	"strconv"
	"time"
)

// request is one question: the frame that goes out, and how errors name it.
type request struct {
	name  string
	frame []byte
}

func newRequest(name, body string) request {
	return request{name: name, frame: AppendFrame(nil, []byte(body))}
}

const infoBody = `{"system":{"get_sysinfo":{}}}`

// The questions that are asked over and over are enciphered once. Arguments are
// integers everywhere: plugs answer "state":"1" with err_code -3.
//
//nolint:gochecknoglobals // constants that Go cannot write as such
var (
	askInfo     = newRequest("get_sysinfo", infoBody)
	askRealtime = newRequest("get_realtime", `{"emeter":{"get_realtime":{}}}`)
	askPoll     = newRequest("get_sysinfo and get_realtime", `{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`)
	askOn       = newRequest("set_relay_state 1", `{"system":{"set_relay_state":{"state":1}}}`)
	askOff      = newRequest("set_relay_state 0", `{"system":{"set_relay_state":{"state":0}}}`)
	askTime     = newRequest("get_time", `{"time":{"get_time":{}}}`)
)

func askDayStat(year int, month time.Month) request {
	b := strconv.AppendInt([]byte(`{"emeter":{"get_daystat":{"month":`), int64(month), 10)
	b = strconv.AppendInt(append(b, `,"year":`...), int64(year), 10)
	return newRequest("get_daystat", string(append(b, `}}}`...)))
}

func askMonthStat(year int) request {
	b := strconv.AppendInt([]byte(`{"emeter":{"get_monthstat":{"year":`), int64(year), 10)
	return newRequest("get_monthstat", string(append(b, `}}}`...)))
}

// InfoDatagram is the payload of the UDP datagram that asks a plug, or by
// broadcast every plug, for its [Info]; [ParseInfoDatagram] reads the answers.
// Nothing else may be broadcast: some models crash on a question for the meter.
func InfoDatagram() []byte { return AppendDatagram(nil, []byte(infoBody)) }
