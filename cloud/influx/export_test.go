package influx

import (
	"io"
	"net/http"
)

// Decode and Classify open to the tests what reads bytes from outside, so that
// they can be fuzzed without a server in between.

// Decode reads the body of an answer to a query.
func Decode(r io.Reader, each eachFunc) error { return newDecoder(r, each).run() }

// Classify sorts an answer that is not yes.
func Classify(status int, header http.Header, body string) *Error {
	return classify("test", status, header, body)
}
