package enrolment

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

const (
	askTime   = 15 * time.Second // for one request
	maxAnswer = 64 << 10         // bytes
)

// refusal is a cloud that has understood and says no, or why it need not be
// asked: asking again soon is of no use.
type refusal struct {
	status int // 0 where nobody was asked
	detail string
}

func (r *refusal) Error() string {
	if r.status == 0 {
		return r.detail
	}
	return fmt.Sprintf("the cloud refuses (%d): %s", r.status, r.detail)
}

// ask sends a request for a certificate, on a connection of its own: the box asks
// a few times a year.
func (b *Box) ask(ctx context.Context, path string, request contract.EnrolmentRequest) (contract.EnrolmentAnswer, error) {
	var answer contract.EnrolmentAnswer
	client, err := b.client()
	if err != nil {
		return answer, err
	}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(request)
	if err != nil {
		return answer, fmt.Errorf("encode the enrolment: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	target := strings.TrimSuffix(b.config.URL, "/") + path
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return answer, fmt.Errorf("enrol at %s: %w", target, err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return answer, fmt.Errorf("enrol: %w", pki.Explain(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer, fmt.Errorf("enrol: read the answer: %w", err)
	}
	if len(text) > maxAnswer {
		return answer, errors.New("enrol: the answer is longer than 64 KiB")
	}
	return read(response.StatusCode, text)
}

// read understands an answer: a certificate, pending, or a problem (RFC 9457).
func read(status int, text []byte) (answer contract.EnrolmentAnswer, err error) {
	if status == http.StatusOK || status == http.StatusAccepted {
		if err := json.Unmarshal(text, &answer); err != nil {
			return answer, fmt.Errorf("enrol: the answer is no JSON: %w", err)
		}
		if answer.State != contract.Pending && answer.Certificate == "" {
			return answer, fmt.Errorf("enrol: the answer is neither pending nor a certificate, but %.40q", answer.State)
		}
		return answer, nil
	}
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	_ = json.Unmarshal(text, &problem) // what is no problem of ours has none
	detail := problem.Detail
	if detail == "" {
		detail = problem.Title
	}
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout && status != http.StatusNotFound {
		return answer, &refusal{status, clip(detail)}
	}
	return answer, fmt.Errorf("enrol: the cloud answers %d %s", status, clip(detail))
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 500)], "?") }

// client trusts the site's authority alone and follows no redirection: the token
// is for the configured address.
func (b *Box) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.config.CA != "" {
		var err error
		if config, err = (pki.Files{CA: b.config.CA}).Client(); err != nil {
			return nil, err
		}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
