package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/wattline/wattline/shared/contract"
)

// edge is a gateway: the real program on a directory of its own.
type edge struct {
	bench  *bench
	name   string
	dir    string
	status string
	conf   string
	*process
}

// newEdge writes the configuration of a gateway; run starts it.
func (b *bench) newEdge(name, broker string) (*edge, error) {
	status, err := freeAddress()
	if err != nil {
		return nil, err
	}
	e := &edge{bench: b, name: name, dir: filepath.Join(b.dir, name), status: status, conf: filepath.Join(b.dir, name+".yaml")}
	if err := os.MkdirAll(e.dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the gateway's directory: %w", err)
	}
	text := fmt.Sprintf("gateway: %s\ndata: %s\nbroker: {url: %q}\noutbox: {limit_bytes: 1000000000000}\nstatus: {listen: %q}\n", name, e.dir, "tcp://"+broker, status)
	if err := os.WriteFile(e.conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the gateway's configuration: %w", err)
	}
	return e, nil
}

func (e *edge) outboxPath() string { return filepath.Join(e.dir, "outbox.db") }

func (e *edge) run() (err error) {
	e.process, err = e.bench.startProgram(e.name, "wattline-edge", e.conf)
	return err
}

func (e *edge) stop() {
	if e.process != nil {
		e.process.stop()
	}
}

// view is what the gateway's status page says in JSON.
func (e *edge) view() (s contract.Status, err error) {
	var v struct {
		Status contract.Status `json:"status"`
	}
	err = getJSON("http://"+e.status+"/status.json", &v)
	return v.Status, err
}

func getJSON(url string, into any) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
