package influx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxErrorBody is how much of an error's body is read: InfluxDB repeats
	// the line it could not parse, and a proxy may send whole pages.
	maxErrorBody = 64 << 10
	// expectAbove is the request size from which the server is asked first
	// whether it takes the body. Without that, a server that answers 413 and
	// closes while we are still sending shows as a broken connection.
	expectAbove = 1 << 20
)

// transport makes answers safe before influxdb-client-go sees them: it reads
// the bodies of errors without a limit, decodes some of them, and takes every
// 2xx for a yes.
type transport struct{ base http.RoundTripper }

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	// All that is sent here may be sent twice, so that net/http may repeat what
	// it sent on a kept connection that turns out to be dead. The header itself
	// is not sent.
	req.Header["X-Idempotency-Key"] = nil
	if req.ContentLength > expectAbove {
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		if strings.HasSuffix(req.URL.Path, "/api/v2/write") && resp.StatusCode != http.StatusNoContent {
			_ = resp.Body.Close()
			return nil, fmt.Errorf("%w: it answers a write with %s", errNotInflux, resp.Status)
		}
		return resp, nil
	}
	if err := shorten(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

var errNotInflux = errors.New("the server is no InfluxDB")

// shorten replaces the body of an error by its beginning, read from the
// network, as text that the library passes on as it is. A body that breaks off
// is as good as a whole one: the status and a header tell most.
func shorten(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err == nil {
		// Little is left as a rule, and a connection is worth more than that.
		_, err = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	_ = resp.Body.Close()
	if err != nil && resp.Request != nil && resp.Request.Context().Err() != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return nil
}
