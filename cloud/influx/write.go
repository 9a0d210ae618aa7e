package influx

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/influxdata/influxdb-client-go/v2/api"

	"github.com/wattline/wattline/cloud/influx/line"
)

// minBodyLimit is the smallest request size, in bytes, that is learned from a
// 413: a single odd answer must not make all later writes tiny.
const minBodyLimit = 64 << 10

// Write stores lines, line protocol with times in microseconds, in database and
// returns nil when InfluxDB said that all of them are stored. A database that
// does not exist is created. Lines that are too many for one request go in
// several. The bytes may be reused after the return.
//
// Its errors are of type *Error; whether lines are stored that went with those
// it complains of is not known. Write blocks while MaxConcurrentWrites others
// are under way.
func (c *Client) Write(ctx context.Context, database string, lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	op := "write " + database
	if err := checkDatabase(database); err != nil {
		return &Error{Op: op, cause: err, operator: true}
	}
	if err := c.writes.take(ctx); err != nil {
		return noAnswer(ctx, op, err)
	}
	defer c.writes.giveBack()
	// Not "return c.write()": a nil *Error is no nil error.
	if err := c.write(ctx, op, database, lines); err != nil {
		return err
	}
	return nil
}

func (c *Client) write(ctx context.Context, op, database string, lines []byte) *Error {
	if limit := c.bodyLimit.Load(); limit > 0 && int64(len(lines)) > limit {
		if first, second, ok := line.Halve(lines); ok {
			return c.writeBoth(ctx, op, database, first, second)
		}
	}
	err := c.post(ctx, op, database, lines)
	if err != nil && err.Status == http.StatusNotFound {
		if ensured := c.EnsureDatabase(ctx, database); ensured != nil {
			return c.notCreated(op, ensured)
		}
		err = c.post(ctx, op, database, lines)
	}
	if err != nil && err.Status == http.StatusRequestEntityTooLarge {
		return c.split(ctx, op, database, lines, err)
	}
	if err != nil && (err.Status == 0 || err.Status >= http.StatusInternalServerError) {
		c.forget() // another server may stand there next time
		if containsAny(err.Message, stuck...) {
			c.whenStuck()
		}
	}
	return err
}

// split sends lines that were too many for one request in two.
func (c *Client) split(ctx context.Context, op, database string, lines []byte, tooLarge *Error) *Error {
	first, second, ok := line.Halve(lines)
	if !ok {
		// One line that can never fit is refused for what it is. As pieces in
		// the quarantine it fits.
		tooLarge.refused = true
		tooLarge.Message = fmt.Sprintf("one line of %d bytes: %s", len(lines), tooLarge.Message)
		return tooLarge
	}
	limit := max(int64(len(lines)/2), minBodyLimit)
	if known := c.bodyLimit.Load(); known == 0 || limit < known {
		c.bodyLimit.Store(limit)
	}
	return c.writeBoth(ctx, op, database, first, second)
}

func (c *Client) writeBoth(ctx context.Context, op, database string, first, second []byte) *Error {
	if err := c.write(ctx, op, database, first); err != nil {
		return err
	}
	return c.write(ctx, op, database, second)
}

// post sends one request. The library's blocking writer neither batches nor
// retries; it is made anew each time because the library would keep one for
// every database name ever used.
func (c *Client) post(ctx context.Context, op, database string, lines []byte) *Error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.WriteTimeout, errTimeout)
	defer cancel()
	writer := api.NewWriteAPIBlocking(c.cfg.Org, database, c.service, c.options)
	// The copy is what lets the caller reuse the bytes: after a timeout the
	// connection may still read them.
	if err := writer.WriteRecord(ctx, string(lines)); err != nil {
		return fromLibrary(ctx, op, err)
	}
	return nil
}

// notCreated tells why a missing database could not be made.
func (c *Client) notCreated(op string, cause error) *Error {
	e := &Error{Op: op, cause: fmt.Errorf("the database is missing: %w", cause)}
	if inner, ok := errors.AsType[*Error](cause); ok {
		e.operator, e.retryAfter = inner.operator, inner.retryAfter
	} else {
		e.operator = true
	}
	return e
}
