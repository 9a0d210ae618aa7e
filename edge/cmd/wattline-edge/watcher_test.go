package main // run is not exported

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What systemd would hear, of a gateway that has no cloud and never had one.
func TestSystemdHearsTheGatewayWithoutACloud(t *testing.T) {
	for name, address := range map[string]string{"a file": filepath.Join(t.TempDir(), "notify"), "no file": fmt.Sprintf("@wattline-%d", os.Getpid())} {
		t.Run(name, func(t *testing.T) {
			socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			t.Setenv("NOTIFY_SOCKET", address)
			dir := t.TempDir()
			file := filepath.Join(dir, "edge.yaml")
			text := fmt.Sprintf("gateway: edge-f2\ndata: %q\nbroker: {url: 'tcp://127.0.0.1:1'}\nstatus: {listen: ''}\n", dir)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, []string{"-config", file}, io.Discard, io.Discard) }()
			hear := func(want string) {
				t.Helper()
				buf := make([]byte, 512)
				if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
					t.Fatal(err)
				}
				for {
					n, err := socket.Read(buf)
					if err != nil {
						t.Fatalf("%s was not said: %v", want, err)
					}
					if strings.Contains(string(buf[:n]), want) {
						return
					}
				}
			}
			hear("READY=1")
			cancel()
			hear("STOPPING=1")
			if err := <-ended; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestAWatcherThatIsAwayCostsNothing(t *testing.T) {
	if w, err := openWatcher(""); w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
	w, err := openWatcher(filepath.Join(t.TempDir(), "nobody"))
	if err == nil || w != nil {
		t.Errorf("%v, %v", w, err)
	}
	w.say(alive)
	w.close()
}
