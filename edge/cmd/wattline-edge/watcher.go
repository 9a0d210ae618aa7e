package main

import (
	"fmt"
	"net"
	"strings"
)

// What systemd is told (sd_notify(3)). Alive starts the service's watchdog anew;
// that the service is ready is not news after the first time, and may be said
// again.
const (
	alive    = "READY=1\nWATCHDOG=1"
	stopping = "STOPPING=1"
)

// watcher is the socket on which systemd hears how a service is; nil where nobody
// listens.
type watcher struct{ conn net.Conn }

// openWatcher opens the socket that NOTIFY_SOCKET names, if it names one.
func openWatcher(address string) (*watcher, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // nobody listens, which is no mistake
	}
	if rest, ok := strings.CutPrefix(address, "@"); ok {
		address = "\x00" + rest // a name without a file, unix(7)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("open NOTIFY_SOCKET: %w", err)
	}
	return &watcher{conn}, nil
}

// say tells systemd. What does not arrive is not repeated: the next beat follows.
func (w *watcher) say(state string) {
	if w != nil {
		_, _ = w.conn.Write([]byte(state))
	}
}

func (w *watcher) close() {
	if w != nil {
		_ = w.conn.Close()
	}
}
