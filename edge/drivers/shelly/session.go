package shelly

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/wattline/wattline/edge/drivers"
	"github.com/wattline/wattline/shared/device"
)

// Bounds on what is read of an answer. Those of a Plus Plug S have some hundred
// bytes.
const (
	maxBody    = 16 << 10
	maxHeaders = 8 << 10
)

const (
	methodInfo   = "Shelly.GetDeviceInfo"
	methodStatus = "Switch.GetStatus"
	methodSet    = "Switch.Set"

	ourName = "wattline" // src of questions, dst of answers
)

// session is a conversation with a plug: one connection, or, with a plug that
// closes it after each answer as HTTP allows, one after the other. It is used by
// one goroutine.
type session struct {
	address   string
	dialer    net.Dialer
	conn      net.Conn
	transport *http.Transport
	asked     int
	deviceID  string // who answers, once that is known
	// over is set when the plug has announced the end of the connection; several,
	// when that has happened in this conversation: only the sender that an answer
	// names tells then whose it is.
	over, several bool
}

var errBroken = errors.New("the plug has closed the connection")

// connect opens the connection of a turn. All of the turn has to happen before
// the time of one attempt is over.
func (p *Plug) connect(ctx context.Context) (*session, error) {
	deadline := time.Now().Add(p.opts.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	s := &session{
		address: p.address,
		dialer:  net.Dialer{Timeout: p.opts.DialTimeout, Deadline: deadline, KeepAlive: -1},
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) open(ctx context.Context) error {
	conn, err := s.dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return s.unreached(ctx, err)
	}
	if err := conn.SetDeadline(s.dialer.Deadline); err != nil {
		_ = conn.Close()
		return s.fail(methodInfo, drivers.Offline, err)
	}
	var given atomic.Bool
	s.conn, s.over = conn, false
	s.transport = &http.Transport{
		// Another connection might reach another plug: the transport gets none by
		// itself.
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if given.Swap(true) {
				return nil, errBroken
			}
			return conn, nil
		},
		MaxConnsPerHost:        1,
		MaxResponseHeaderBytes: maxHeaders,
		DisableCompression:     true,
	}
	return nil
}

func (s *session) close() {
	s.transport.CloseIdleConnections()
	_ = s.conn.Close()
}

// question is a request frame.
type question struct {
	ID     int    `json:"id"`
	Src    string `json:"src"`
	Method string `json:"method"`
	Params any    `json:"params,omitempty"`
}

// frame is a response frame.
type frame struct {
	ID     number          `json:"id"`
	Src    text            `json:"src"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    number `json:"code"`
		Message text   `json:"message"`
	} `json:"error"`
}

// call asks one question and gives the result of the answer.
func (s *session) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	s.asked++
	body, err := json.Marshal(question{ID: s.asked, Src: ourName, Method: method, Params: params})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	if s.over {
		s.close()
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		s.several = true
	}
	answer, err := s.post(ctx, method, body)
	if err != nil {
		return nil, err
	}
	var f frame
	if err := json.Unmarshal(answer, &f); err != nil {
		return nil, s.fail(method, drivers.Garbage, fmt.Errorf("%w: %q", errNoFrame, clip(answer)))
	}
	switch {
	case s.deviceID != "" && string(f.Src) != s.deviceID && (f.Src != "" || s.several):
		return nil, s.fail(method, drivers.WrongPlug, fmt.Errorf("answered by %q, asked was %q", clip([]byte(f.Src)), s.deviceID))
	case !f.ID.is(float64(s.asked)):
		return nil, s.fail(method, drivers.Garbage, fmt.Errorf("answer %q to question %d", f.ID.raw(), s.asked))
	case f.Error != nil:
		return nil, s.fail(method, drivers.Unsupported, &DeviceError{Code: f.Error.Code.raw(), Message: clip([]byte(f.Error.Message))})
	case len(f.Result) == 0:
		return nil, s.fail(method, drivers.Garbage, errNoFrame)
	}
	return f.Result, nil
}

var errNoFrame = errors.New("neither a result nor an error")

// post sends a request frame and reads the body of the answer, whole.
func (s *session) post(ctx context.Context, method string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address+"/rpc", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", s.address, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Connection", "keep-alive") // the default of HTTP/1.1, for servers that want to hear it
	// Not a Client: it would follow redirects, to anywhere.
	answer, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, s.unanswered(ctx, method, err)
	}
	defer answer.Body.Close()
	s.over = answer.Close
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return nil, s.unanswered(ctx, method, err)
	}
	if len(text) > maxBody {
		return nil, s.fail(method, drivers.Garbage, fmt.Errorf("more than %d bytes", maxBody))
	}
	switch answer.StatusCode {
	case http.StatusOK, http.StatusInternalServerError: // an error frame may come with either
		return text, nil
	case http.StatusUnauthorized:
		return nil, s.fail(method, drivers.Locked, errPassword)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return nil, s.fail(method, drivers.Refused, errStatus(answer.StatusCode))
	}
	return nil, s.fail(method, drivers.Garbage, errStatus(answer.StatusCode))
}

var errPassword = errors.New("the plug asks for a password: take it off, or read the plug another way")

func errStatus(code int) error { return fmt.Errorf("HTTP status %d", code) }

// info asks the plug who it is.
func (s *session) info(ctx context.Context) (Info, error) {
	result, err := s.call(ctx, methodInfo, nil)
	if err != nil {
		return Info{}, err
	}
	i, err := parseInfo(result)
	if err != nil {
		return Info{}, s.fail(methodInfo, drivers.Garbage, err)
	}
	if i.Protected {
		return Info{}, s.fail(methodInfo, drivers.Locked, errPassword)
	}
	s.deviceID = i.DeviceID
	return i, nil
}

// first is the parameter that names the only switch of a plug.
type first struct {
	ID int `json:"id"`
}

// status asks for the relay and the meter.
func (s *session) status(ctx context.Context, maxPower device.Watts) (device.Measurement, error) {
	result, err := s.call(ctx, methodStatus, first{})
	if err != nil {
		return device.Measurement{}, err
	}
	m, err := parseStatus(result, maxPower)
	if err != nil {
		return device.Measurement{}, s.fail(methodStatus, drivers.Garbage, err)
	}
	return m, nil
}

// set switches. The state is absolute, so asking twice does no harm.
func (s *session) set(ctx context.Context, on bool) error {
	_, err := s.call(ctx, methodSet, struct {
		first

		On bool `json:"on"`
	}{On: on})
	return err
}
