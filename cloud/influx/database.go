package influx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/wattline/wattline/cloud/influx/influxql"
)

// maxName is how long the name of a database may be, in bytes.
const maxName = 64

// checkDatabase refuses names that mean something else somewhere: a slash
// separates the retention policy in the name of a bucket, and InfluxDB makes
// folders of names.
func checkDatabase(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("database name of %d bytes, want 1 to %d", len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return fmt.Errorf("database name %q, want letters, digits, _ and -, a letter first", name)
		}
	}
	return nil
}

// EnsureDatabase makes the database if it is missing: on InfluxDB 1.8 a
// database, on 2.x a bucket of that name, kept for ever, and the mapping by
// which InfluxQL finds it. It is no error if all of that exists.
func (c *Client) EnsureDatabase(ctx context.Context, name string) error {
	op := "create database " + name
	if err := checkDatabase(name); err != nil {
		return &Error{Op: op, cause: err, operator: true}
	}
	s, err := c.server(ctx)
	if err != nil {
		return err
	}
	switch s.major {
	case 1:
		ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.QueryTimeout, errTimeout)
		defer cancel()
		return c.query(ctx, name, "CREATE DATABASE "+influxql.Ident(name), ignoreRows)
	case 2:
		ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.WriteTimeout, errTimeout)
		defer cancel()
		return c.ensureBucket(ctx, op, name)
	default:
		return nil // 3 makes them by itself on the first write
	}
}

func ignoreRows(string, map[string]string, []string, [][]any) error { return nil }

type bucket struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (c *Client) ensureBucket(ctx context.Context, op, name string) error {
	org, err := c.orgID(ctx, op)
	if err != nil {
		return err
	}
	b, err := c.findBucket(ctx, op, org, name)
	if err != nil {
		return err
	}
	if b.ID == "" {
		in := map[string]any{"orgID": org, "name": name, "retentionRules": []any{}}
		err := c.call(ctx, op, http.MethodPost, "api/v2/buckets", nil, in, &b)
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusUnprocessableEntity {
			b, err = c.findBucket(ctx, op, org, name) // somebody else was faster
		}
		if err != nil {
			return err
		}
	}
	return c.ensureMapping(ctx, op, org, name, b)
}

// orgID finds the id of the configured organization.
func (c *Client) orgID(ctx context.Context, op string) (string, error) {
	var found struct {
		Orgs []struct {
			ID string `json:"id"`
		} `json:"orgs"`
	}
	if err := c.call(ctx, op, http.MethodGet, "api/v2/orgs", url.Values{"org": {c.cfg.Org}}, nil, &found); err != nil {
		return "", err
	}
	if len(found.Orgs) == 0 {
		return "", &Error{Op: op, cause: fmt.Errorf("no organization %q", c.cfg.Org), operator: true}
	}
	return found.Orgs[0].ID, nil
}

// findBucket gives a bucket without id where there is none.
func (c *Client) findBucket(ctx context.Context, op, org, name string) (bucket, error) {
	var found struct {
		Buckets []bucket `json:"buckets"`
	}
	err := c.call(ctx, op, http.MethodGet, "api/v2/buckets", url.Values{"orgID": {org}, "name": {name}}, nil, &found)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
		return bucket{}, nil
	}
	if err != nil {
		return bucket{}, err
	}
	for _, b := range found.Buckets {
		if b.Name == name {
			return b, nil
		}
	}
	return bucket{}, nil
}

// ensureMapping makes the database-retention-policy mapping of a bucket, unless
// there is one already, by hand or by the bucket's name.
func (c *Client) ensureMapping(ctx context.Context, op, org, name string, b bucket) error {
	var found struct {
		Content []struct {
			ID string `json:"id"`
		} `json:"content"`
	}
	query := url.Values{"orgID": {org}, "db": {name}}
	if err := c.call(ctx, op, http.MethodGet, "api/v2/dbrps", query, nil, &found); err != nil {
		return err
	}
	if len(found.Content) > 0 {
		return nil
	}
	in := map[string]any{"orgID": org, "bucketID": b.ID, "database": name, "retention_policy": "autogen", "default": true}
	return c.call(ctx, op, http.MethodPost, "api/v2/dbrps", nil, in, &struct{}{})
}

// mapDatabase makes the mapping of an existing bucket; ok is false where there
// is nothing to map.
func (c *Client) mapDatabase(ctx context.Context, op, name string) (ok bool, err error) {
	s, err := c.server(ctx)
	if err != nil || s.major != 2 {
		return false, err
	}
	org, err := c.orgID(ctx, op)
	if err != nil {
		return false, err
	}
	b, err := c.findBucket(ctx, op, org, name)
	if err != nil || b.ID == "" {
		return false, err
	}
	return true, c.ensureMapping(ctx, op, org, name, b)
}
