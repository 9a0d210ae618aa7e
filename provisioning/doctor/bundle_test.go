package doctor_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattline/wattline/provisioning/doctor"
)

// secrets are texts that must not be in a bundle, however they come in.
var secrets = []string{"hunter2", "p4ss phrase", "wattline_join_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_abcde", "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RFRg", "my-own-token"}

// unpack reads a bundle.
func unpack(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(h.Name, "/") || strings.Contains(h.Name, "..") || h.Mode != 0o600 {
			t.Errorf("entry %s of mode %o", h.Name, h.Mode)
		}
		files[h.Name] = string(text)
	}
}

// leaky is a machine full of secrets.
func leaky(t *testing.T) (b *doctor.Bundle, key string) {
	t.Helper()
	dir := t.TempDir()
	private, certificate := keyAndCertificate(t, now.AddDate(1, 0, 0))
	o := box(t, strings.Replace(page, `"plugs":[]`, `"note":"password=hunter2","plugs":[]`, 1), "ok")
	s := well()
	s.answers["/api/v1/audit"] = `200 {"items":[{"what":"create token","detail":"secret: \"p4ss phrase\" and ` + secrets[2] + `"}]}`
	s.answers["/api/v1/enrolments"] = `200 {"items":[{"gateway":"edge-f1","join_token":"hunter2","asked":{"key":"` + strings.Repeat("ab", 32) + `"}}]}`
	s.answers["/"] = `200 {"authorization":"Bearer my-own-token","cure":"wattline gateways join-token edge-f9"}`
	o.Server, o.Data = s, []string{dir}
	return &doctor.Bundle{
		Options: o,
		Configs: []string{
			write(t, filepath.Join(dir, "edge.yaml"), 0o600, []byte("gateway: edge-f1\nbroker:\n  url: tls://me:hunter2@cloud:8883 # p4ss phrase\n  password: |\n    p4ss phrase\n    hunter2\nstatus: {listen: 127.0.0.1:8081}\n")),
			write(t, filepath.Join(dir, "cloud.yaml"), 0o600, []byte("influx: {url: 'http://x', token: hunter2}\nhttp: {tls: {key: /etc/x.key}}\ninfluxd:\n  environment: {A: hunter2}\nextra: &x "+secrets[3]+"\n")),
			write(t, filepath.Join(dir, "broken.yaml"), 0o600, []byte("password: hunter2\n\t[")),
			filepath.Join(dir, "none.yaml"),
		},
		Logs: []string{
			write(t, filepath.Join(dir, "a.log"), 0o600, []byte(`{"msg":"x","password":"p4ss phrase","url":"http://h/?token=hunter2&x=1"}`+"\n"), private, certificate,
				[]byte("\nAuthorization: Basic bWU6aHVudGVyMg==\nusing "+secrets[3]+" now, my-own-token\n")),
			dir,
		},
		Programs: map[string][]string{"machine/echo.txt": {"echo", "PASSWORD=hunter2"}, "machine/none.txt": {"no-such-program-here"}},
		Secrets:  []string{"my-own-token", ""},
	}, strings.Split(string(private), "\n")[1]
}

func TestNoSecretGetsIntoABundle(t *testing.T) {
	b, key := leaky(t)
	var packed bytes.Buffer
	if err := b.Write(t.Context(), &packed); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed.Bytes())
	for name, text := range files {
		for _, s := range append(secrets, key, "bWU6aHVudGVyMg") {
			if strings.Contains(text, s) {
				t.Errorf("%s holds %q:\n%s", name, s, text)
			}
		}
	}
	all := ""
	for name, text := range files {
		all += name + "\n" + text + "\n"
	}
	for _, want := range []string{
		"cloud/gateways.json", "cloud/metrics.txt", "gateway/status.json", "doctor/site.txt", "doctor/cloud.json", // what helps
		"listen: '127.0.0.1:8081'", "edge-f1", "BEGIN CERTIFICATE", strings.Repeat("ab", 32), // and what is no secret
		"wattline gateways join-token edge-f9",
		"broken.yaml", "no-such-program-here", "is no file", // what is left out is named
	} {
		if !strings.Contains(all, want) {
			t.Errorf("missing %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "none.yaml") {
		t.Error("a file that is not there is named")
	}
}

func TestABundleOfACloudThatIsAwayHasTheRest(t *testing.T) {
	b, _ := leaky(t)
	b.Server = &cloud{away: true}
	var packed bytes.Buffer
	if err := b.Write(t.Context(), &packed); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed.Bytes())
	if !strings.Contains(files["left-out.txt"], "nobody listens there") || files["gateway/status.json"] == "" {
		t.Errorf("left out: %s", files["left-out.txt"])
	}
}

// full takes a few bytes.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestAFullDiskIsAnError(t *testing.T) {
	b, _ := leaky(t)
	if err := b.Write(t.Context(), &full{room: 100}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("a password: x")
	f.Add(`{"token":"abcdefgh12"`)
	f.Fuzz(func(t *testing.T, before string) {
		// A token of ours does not come through, whatever stands around it.
		token := "wattline_Ab1dEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg"
		if got := doctor.Scrub(before + " " + token + " " + before); strings.Contains(got, token[9:]) {
			t.Errorf("%q lets it through: %q", before, got)
		}
	})
}
