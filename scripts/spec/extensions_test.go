package spec_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/bus"
)

// extensions is the folder of those that are written against the specification.
const extensions = "../../docs/examples"

// python is Debian's, which has Debian's packages.
const python = "/usr/bin/python3"

// TestExtensionsWork runs the example extensions on both brokers.
func TestExtensionsWork(t *testing.T) {
	csvHook := buildHook(t)
	for _, kind := range brokers {
		t.Run(kind, func(t *testing.T) {
			s := start(t, kind)
			t.Run("a ranking in Python", func(t *testing.T) { s.of(t).rank() })
			t.Run("an agent as a shell script", func(t *testing.T) { s.of(t).measure() })
			t.Run("a hook in Go from outside", func(t *testing.T) { s.of(t).log(csvHook) })
			_, breaches := s.heard.breaches(asyncAPI(t), schemas(t), func(m bus.Message) bool { return toItself(m) || bytes.Contains(m.Payload, []byte("by mistake")) })
			for _, b := range breaches {
				t.Error(b)
			}
		})
	}
}

// of is the system for a part of its test.
func (s *system) of(t *testing.T) *system {
	part := *s
	part.t = t
	return &part
}

// child is a program that runs beside the test.
type child struct {
	mu     sync.Mutex // protects lines
	lines  []string
	stderr *os.File
	stop   func()
}

// run starts a program, in a process group that ends with the test.
func run(t *testing.T, environment []string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{stderr: log}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, lines.Text())
			c.mu.Unlock()
		}
	}()
	c.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-read:
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end within 10 s of SIGTERM", args[0])
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
		<-read
		if err := cmd.Wait(); err != nil && t.Failed() {
			t.Logf("%s: %v", args[0], err)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], c.said())
		}
		_ = log.Close()
	})
	t.Cleanup(c.stop)
	return c
}

// said is what came on its standard error.
func (c *child) said() string {
	text, err := os.ReadFile(c.stderr.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (c *child) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

func (s *system) address() (host, port string) {
	s.t.Helper()
	u, err := url.Parse(s.mqtt)
	if err != nil {
		s.t.Fatal(err)
	}
	host, port, err = net.SplitHostPort(u.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	return host, port
}

// rank asks the ranking about three places of which the order is known.
func (s *system) rank() {
	if err := exec.Command(python, "-c", "import paho.mqtt.client").Run(); err != nil {
		s.t.Fatal("Debian's package python3-paho-mqtt is missing: make deps-test installs it")
	}
	guest := s.client("guest", "", nil)
	for place, watts := range map[string]int{"sp_f8.g0": 10, "sp_f8.w.r0.c1": 30, "sp_f8.p0": 20} {
		s.publish(guest, "data/ranked/influx_data/sp", fmt.Appendf(nil,
			`{"data":[{"bn":"%s/power","bu":"W","bt":1705320000,"v":%d},{"t":3600,"v":%d}]}`, place, watts, watts))
	}
	host, port := s.address()
	c := run(s.t, nil, python, filepath.Join(extensions, "ranking-component", "ranking.py"), "--host", host, "--port", port)
	s.until("the ranking is ready", func() bool { return strings.Contains(c.said(), "ready") })
	const period = `"floor": "8", "from": "2024-01-15T12:00:00Z", "to": "2024-01-15T13:00:00Z"`
	want := `[{"rank": 1, "id": "sp_f8.w.r0.c1", "energy_wh": 30.0}, {"rank": 2, "id": "sp_f8.p0", "energy_wh": 20.0}]`
	same := func(got []byte) bool { return reflect.DeepEqual(plain(s.t, got), plain(s.t, []byte(want))) }
	s.until("the ranking is right", func() bool { // the readings may be on their way
		return same(s.ranked(guest, `{"n": "2", `+period+`}`).Data)
	})
	if status, body := s.get("/api/out/ranking/energy?n=2&floor=8&from=1705320000&to=1705323600"); status != http.StatusOK || !same([]byte(body)) {
		s.t.Errorf("over REST: %d %s", status, body)
	}
	if e := s.ranked(guest, `{"n": "0", "colour": "red"}`); !strings.Contains(e.ErrorText(), "n: ") || !strings.Contains(e.ErrorText(), "colour: ") || !strings.Contains(e.ErrorText(), "from: ") {
		s.t.Errorf("mistakes: %s", e.ErrorText())
	}
	if e := s.ranked(guest, `{"from": "yesterday"}`); !strings.Contains(e.ErrorText(), "yesterday") {
		s.t.Errorf("a mistake that influx_query finds: %s", e.ErrorText())
	}
	for _, garbage := range []string{``, `by mistake`, `["by mistake"]`, `{"response_topic":"state/by mistake/x","data":{}}`, `{"response_topic":7,"id":"by mistake"}`, strings.Repeat("[", 1e5) + "by mistake"} {
		s.publish(guest, "query/ranking/energy", []byte(garbage))
	}
	if got := s.ranked(guest, `{"n": 2, `+period+`}`).Data; !same(got) {
		s.t.Errorf("after garbage: %s", got)
	}
	if s.lostBroker() {
		s.until("the ranking is back", func() bool {
			answer := s.ask(guest, `{"n": 2, `+period+`}`)
			time.Sleep(500 * time.Millisecond) // it may not have been there to hear
			heard := s.heard.on(answer)
			return len(heard) > 0 && bytes.Contains(heard[0].Payload, []byte("sp_f8.w.r0.c1"))
		})
	}
}

// lostBroker kills the broker and starts it again; false where it is part of the
// cloud.
func (s *system) lostBroker() bool {
	s.t.Helper()
	if s.broker == nil {
		return false
	}
	s.broker.Kill()
	s.broker.Start()
	return true
}

// ranked asks the ranking, as anybody may, and gives the answer.
func (s *system) ranked(link *bus.Link, data string) bus.Envelope {
	s.t.Helper()
	response := s.ask(link, data)
	s.until("an answer on "+response, func() bool { return len(s.heard.on(response)) > 0 })
	e, err := bus.Decode(s.heard.on(response)[0].Payload)
	if err != nil || !strings.HasSuffix(response, "/"+e.ID) {
		s.t.Fatalf("id %q on %s: %v", e.ID, response, err)
	}
	return e
}

// ask asks the ranking, and gives the topic of the answer.
func (s *system) ask(link *bus.Link, data string) (response string) {
	s.t.Helper()
	id := bus.NewID()
	response = "responses/spec-asker/" + id
	payload, err := bus.Envelope{ID: id, ResponseTopic: response, Data: json.RawMessage(data)}.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(link, "query/ranking/energy", payload)
	return response
}

// measure runs the shell agent, first where no broker is: what it measures waits,
// and is handed in once there is one.
func (s *system) measure() {
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			s.t.Fatal("Debian's package mosquitto-clients is missing: make deps-test installs it")
		}
	}
	spool, script := s.t.TempDir(), filepath.Join(extensions, "shell-agent", "temperature.sh")
	value := filepath.Join(s.t.TempDir(), "value")
	if err := os.WriteFile(value, []byte("21.5\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	waiting := func() []string {
		files, err := filepath.Glob(filepath.Join(spool, "*.json"))
		if err != nil {
			s.t.Fatal(err)
		}
		return files
	}
	environment := []string{"SOURCE=lab", "DEVICE=thermo_f2.x0", "EVERY=1", "SPOOL=" + spool, "MEASURE=cat " + value}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	_, nowhere, _ := strings.Cut(nobody, ":")
	first := run(s.t, append(environment, "BROKER_HOST=127.0.0.1", "BROKER_PORT="+nowhere), script)
	s.until("two readings wait", func() bool { return len(waiting()) >= 2 })
	first.stop()
	kept := waiting()
	if len(kept) < 2 {
		s.t.Fatalf("%d readings wait after the end, want 2", len(kept))
	}
	host, port := s.address()
	second := run(s.t, append(environment, "BROKER_HOST="+host, "BROKER_PORT="+port), script)
	s.until("those that waited are receipted", func() bool {
		for _, file := range kept {
			if _, err := os.Stat(file); err == nil {
				return false
			}
		}
		return true
	})
	second.stop()
	want := 21.5
	for _, file := range kept {
		_, at, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), "-")
		p := point{Database: "sp", Measurement: "temperature", Time: json.Number(at), Tags: map[string]string{"id": "thermo_f2.x0", "unit": "Cel", "floor": "2"}, Value: &want}
		if !s.has(p) {
			s.t.Errorf("%s was receipted and is not stored", file)
		}
	}
}

// buildHook builds the Go hook, in its own module.
func buildHook(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(extensions, "go-hook")
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mod, []byte("wattline")) || bytes.Contains(mod, []byte("replace")) {
		t.Errorf("the hook is not from outside:\n%s", mod)
	}
	binary := filepath.Join(t.TempDir(), "csv-hook")
	for _, args := range [][]string{{"vet", "./..."}, {"build", "-o", binary, "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, text)
		}
	}
	return binary
}

// log lets the hook write what the gateway and others publish.
func (s *system) log(binary string) {
	c := run(s.t, nil, binary, "-broker", s.mqtt)
	s.until("the hook is ready", func() bool { return strings.Contains(c.said(), "ready") })
	guest := s.client("guest", "", nil)
	payload := []byte(`{"data":[{"bn":"meter_x7/","bt":1705320000.25,"bu":"W","n":"power","v":12.5},{"n":"power","t":0.000001,"v":13},{"n":"note","vs":"a, b"}]}`)
	for range 2 { // as one who got no receipt
		s.publish(guest, "data/meter/influx_data/sp", payload)
	}
	s.publish(guest, "data/meter/influx_data/sp", []byte(`{"data": "by mistake"}`))
	s.publish(guest, "data/meter/influx_data/sp", []byte(`{"data":[{"n":"meter_x7/last","t":1705320001,"vb":true}]}`))
	count := func(line string) (n int) {
		for _, l := range c.all() {
			if l == line {
				n++
			}
		}
		return n
	}
	s.until("the last reading is written", func() bool { return count("1705320001.000000,meter_x7,last,true,") == 1 })
	for _, line := range []string{"1705320000.250000,meter_x7,power,12.5,W", "1705320000.250001,meter_x7,power,13,W", `1705320000.250000,meter_x7,note,"a, b",W`} {
		if count(line) != 1 {
			s.t.Errorf("%s is there %d times, want once", line, count(line))
		}
	}
	s.until("the gateway's readings are written", func() bool {
		for _, l := range c.all() {
			if strings.Contains(l, ",sp_f1.g0,voltage,2") && strings.HasSuffix(l, ",V") {
				return true
			}
		}
		return false
	})
	if s.lostBroker() {
		s.until("the hook is back", func() bool {
			s.publish(guest, "data/meter/influx_data/sp", []byte(`{"data":[{"n":"meter_x7/back","t":1705320002,"v":1}]}`))
			time.Sleep(500 * time.Millisecond) // it may not have been there to hear
			return count("1705320002.000000,meter_x7,back,1,") == 1
		})
	}
}
