package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/wattline/wattline/cloud/influx/influxd"
)

// startInflux runs the InfluxDB that is measured and measured against.
func (b *bench) startInflux(ctx context.Context) (*influxd.Server, error) {
	config := influxd.DefaultConfig()
	config.Dir, config.Binary = filepath.Join(b.dir, "influxdb"), filepath.Join(b.bin, "influxd")
	return influxd.Start(ctx, config, quiet)
}

// ask sends one statement to InfluxDB and reads the answer to its end, unread.
func ask(ctx context.Context, server *influxd.Server, database, statement string) (bytesRead int64, err error) {
	form := url.Values{"db": {database}, "epoch": {"u"}, "q": {statement}}
	return post(ctx, server, "/query?"+form.Encode(), nil)
}

func post(ctx context.Context, server *influxd.Server, path string, body []byte) (n int64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Token "+server.Token())
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	n, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("InfluxDB: %s", answer.Status)
	}
	return n, err
}

// countPower is how many points of the measurement power a database has.
func countPower(ctx context.Context, server *influxd.Server, database string) (n int, err error) {
	var answer struct {
		Results []struct {
			Series []struct{ Values [][2]float64 }
		}
	}
	form := url.Values{"db": {database}, "epoch": {"u"}, "q": {"SELECT count(value) FROM power"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+"/query?"+form.Encode(), http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Token "+server.Token())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	for _, r := range answer.Results {
		for _, s := range r.Series {
			for _, v := range s.Values {
				n += int(v[1])
			}
		}
	}
	return n, nil
}

// writeBare has two writers write requests as fast as InfluxDB takes them.
func writeBare(ctx context.Context, server *influxd.Server, database string, requests [][]byte) (time.Duration, error) {
	const writers = 2
	if _, err := ask(ctx, server, "", "CREATE DATABASE "+database); err != nil {
		return 0, err
	}
	next := make(chan []byte, len(requests))
	for _, r := range requests {
		next <- r
	}
	close(next)
	begin := time.Now()
	var errs [writers]error
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for lines := range next {
				if _, err := post(ctx, server, "/write?precision=u&db="+database, lines); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs[:]...)
}
