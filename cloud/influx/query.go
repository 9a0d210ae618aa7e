package influx

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// chunkRows is how many rows of a series are handed over at once, at most.
const chunkRows = 10_000

// Query runs one or more InfluxQL statements on database and calls each for
// every chunk of every series, in the order of the answer. Times are int64
// microseconds as json.Number, other numbers are json.Number too, the rest is
// string, bool or nil. A chunk has 1 to 10,000 rows, each as long as columns;
// a long series comes in several chunks with the same name and tags. What each
// is given it may keep. Its error ends the query and is returned as it is.
//
// A statement that InfluxDB refuses is a *QueryError, any other failure an
// *Error; both can come after rows were handed over, which then are not all.
// Query blocks while MaxConcurrentQueries others are under way. An InfluxDB that
// gives no rows for QueryTimeout is an *Error that is TimedOut; while each runs
// that clock stands still, so only ctx bounds the whole. Names and
// values inside of influxql are the caller's to quote, with package influxql.
func (c *Client) Query(ctx context.Context, database, influxql string, each func(name string, tags map[string]string, columns []string, rows [][]any) error) error {
	op := "query " + database
	if err := c.queries.take(ctx); err != nil {
		return noAnswer(ctx, op, err)
	}
	defer c.queries.giveBack()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clock := time.AfterFunc(c.cfg.QueryTimeout, func() { cancel(errTimeout) })
	defer clock.Stop()
	take := each
	each = func(name string, tags map[string]string, columns []string, rows [][]any) error {
		clock.Stop() // the time that rows wait for their reader is not InfluxDB's
		defer clock.Reset(c.cfg.QueryTimeout)
		return take(name, tags, columns, rows)
	}

	err := c.query(ctx, database, influxql, each)
	if qe, ok := errors.AsType[*QueryError](err); ok && strings.Contains(qe.Message, noMapping) {
		mapped, mapErr := c.mapDatabase(ctx, op, database)
		switch {
		case mapErr != nil:
			return mapErr
		case mapped:
			err = c.query(ctx, database, influxql, each)
		}
	}
	return err
}

// Exec runs statements of which only success matters.
func (c *Client) Exec(ctx context.Context, database, influxql string) error {
	return c.Query(ctx, database, influxql, ignoreRows)
}

func (c *Client) query(ctx context.Context, database, influxql string, each eachFunc) error {
	op := "query " + database
	form := url.Values{
		"q": {influxql}, "db": {database}, "epoch": {c.epoch},
		// Not chunked, 1.8 builds the whole answer in memory, and cuts it
		// silently at max-row-limit.
		"chunked": {"true"}, "chunk_size": {strconv.Itoa(chunkRows)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.service.ServerURL()+"query", strings.NewReader(form.Encode()))
	if err != nil {
		return &Error{Op: op, cause: err, operator: true}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := c.do(op, req)
	if err != nil {
		return c.queryFailed(database, err)
	}
	defer resp.Body.Close()

	d := newDecoder(resp.Body, each)
	switch err := d.run(); {
	case err == nil:
		return nil
	case d.failed != "":
		return &QueryError{Database: database, Message: clean(d.failed)}
	case d.stopped != nil:
		return d.stopped
	default:
		c.forget()
		return noAnswer(ctx, op, err)
	}
}

// queryFailed tells statements that are wrong from servers that are.
func (c *Client) queryFailed(database string, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if e.refused || e.Status == http.StatusNotFound && strings.Contains(e.Message, noMapping) {
		return &QueryError{Database: database, Message: e.Message}
	}
	if e.Status == 0 || e.Status >= http.StatusInternalServerError {
		c.forget()
	}
	return err
}
