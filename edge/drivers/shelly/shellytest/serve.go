package shellytest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds a question.
const maxBody = 8 << 10

// question is what was asked, by either way.
type question struct {
	ID     json.RawMessage `json:"id"`
	Src    string          `json:"src"`
	Method string          `json:"method"`
	Params struct {
		ID *int  `json:"id"`
		On *bool `json:"on"`
	} `json:"params"`
}

// rpcError is how a device says no.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// serve answers one question.
func (p *Plug) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.busy++
	p.requests++
	p.maxBusy = max(p.maxBusy, p.busy)
	closed := p.closed
	p.mu.Unlock()
	p.one.Lock()
	defer func() {
		p.one.Unlock()
		p.mu.Lock()
		p.busy--
		p.mu.Unlock()
	}()
	q, framed, ok := read(w, r)
	if !ok {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	if p.o.OnRequest != nil {
		p.o.OnRequest(q.Method)
	}
	p.mu.Lock()
	f := p.fault
	p.mu.Unlock()
	if !f.hold(r, closed) {
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
	if p.o.Password && q.Method != "Shelly.GetDeviceInfo" {
		w.Header().Set("WWW-Authenticate", `Digest qop="auth", realm="`+p.ID()+`", nonce="60dc1c2c", algorithm=SHA-256`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	result, no := p.do(&q, f)
	if f.spoil(w) {
		return
	}
	p.answer(w, &q, framed, f, result, no)
}

// read takes a question from either kind of request.
func read(w http.ResponseWriter, r *http.Request) (q question, framed, ok bool) {
	method, named := strings.CutPrefix(r.URL.Path, "/rpc/")
	switch {
	case r.Method == http.MethodGet && named:
		args := map[string]json.RawMessage{}
		for key := range r.URL.Query() {
			args[key] = json.RawMessage(r.URL.Query().Get(key))
		}
		text, err := json.Marshal(map[string]any{"method": method, "params": args})
		return q, false, err == nil && json.Unmarshal(text, &q) == nil
	case r.Method == http.MethodPost && r.URL.Path == "/rpc":
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		return q, true, err == nil && json.Unmarshal(text, &q) == nil
	}
	return q, false, false
}

// hold waits as long as the fault says; false where no answer will come.
func (f *Fault) hold(r *http.Request, closed chan struct{}) bool {
	wait := f.Delay
	if f.Silent {
		wait = time.Hour
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return !f.Silent
	case <-r.Context().Done():
	case <-closed:
	}
	return false
}

// spoil answers otherwise than in frames, where the fault says so.
func (f *Fault) spoil(w http.ResponseWriter) bool {
	switch {
	case f.Close:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		w.WriteHeader(f.Status)
	case f.Raw != "":
		conn, out, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // a bug of the simulation
		}
		_, _ = out.WriteString(f.Raw)
		_ = out.Flush()
		_ = conn.Close()
	case f.Body != "":
		_, _ = io.WriteString(w, f.Body)
	default:
		return false
	}
	return true
}

// do carries out what was asked.
func (p *Plug) do(q *question, f Fault) (result any, no *rpcError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case q.Method == "Shelly.GetDeviceInfo":
		return p.info(f), nil
	case q.Method != "Switch.GetStatus" && q.Method != "Switch.Set":
		return nil, &rpcError{404, "No handler for " + q.Method}
	case f.Error != "":
		return nil, &rpcError{-114, f.Error}
	case q.Params.ID == nil:
		return nil, &rpcError{-103, "Missing required 'id'"}
	case *q.Params.ID != 0:
		return nil, &rpcError{-105, "Bad id"}
	case q.Method == "Switch.GetStatus":
		return p.status(f), nil
	case q.Params.On == nil:
		return nil, &rpcError{-103, "Missing required 'on'"}
	}
	was := p.on
	if !f.Stuck {
		p.flip(*q.Params.On)
	}
	return map[string]any{"was_on": was}, nil
}

func (p *Plug) info(f Fault) map[string]any {
	mac := p.o.MAC
	if f.Another != "" {
		mac = f.Another
	}
	return map[string]any{
		"name": nil, "id": idOf(mac), "mac": mac, "slot": 0, "model": "SNPL-00112EU", "gen": 2,
		"fw_id": "20241011-114449/1.4.4-g6d2a586", "ver": "1.4.4", "app": "PlusPlugS", "auth_en": p.o.Password, "auth_domain": nil,
	}
}

// volts is what the simulated mains have.
const volts = 230.5

// status is the state of the switch; the caller holds the lock.
func (p *Plug) status(f Fault) any {
	p.count()
	power := 0.0
	if p.on {
		power = p.o.Load
	}
	switch {
	case f.Result != "":
		return json.RawMessage(f.Result)
	case p.o.NoMeter:
		return map[string]any{"id": 0, "source": "HTTP_in", "output": p.on, "temperature": map[string]any{"tC": 41.2, "tF": 106.2}}
	}
	return map[string]any{
		"id": 0, "source": "HTTP_in", "output": p.on, "apower": power, "voltage": volts, "current": power / volts,
		"aenergy":     map[string]any{"total": p.energy, "by_minute": []float64{0, 0, 0}, "minute_ts": p.since.Unix()},
		"temperature": map[string]any{"tC": 41.2, "tF": 106.2},
	}
}

// answer writes a frame, or the bare result to those who asked without one.
func (p *Plug) answer(w http.ResponseWriter, q *question, framed bool, f Fault, result any, no *rpcError) {
	src := p.ID()
	if f.Another != "" {
		src = idOf(strings.ToUpper(f.Another))
	}
	if f.Nameless {
		src = ""
	}
	w.Header().Set("Content-Type", "application/json")
	if f.Farewell {
		w.Header().Set("Connection", "close")
	}
	var out any
	switch {
	case framed && no != nil:
		out = map[string]any{"id": q.ID, "src": src, "dst": q.Src, "error": no}
	case framed:
		out = map[string]any{"id": q.ID, "src": src, "dst": q.Src, "result": result}
	case no != nil:
		w.WriteHeader(http.StatusInternalServerError)
		out = no
	default:
		out = result
	}
	text, err := json.Marshal(out)
	if err != nil { // a result that a test made up
		text = []byte(err.Error())
	}
	if f.Vanish {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(text)
}
