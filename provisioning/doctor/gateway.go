package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	pageTimeout = 5 * time.Second
	maxPage     = 16 << 20
)

// pageView is a gateway's own page, /status.json. Its times are POSIX seconds.
type pageView struct {
	Status struct {
		Gateway       string `json:"gateway"`
		Version       string `json:"version"`
		ConfigVersion uint64 `json:"config_version"`
		ConfigRefused *struct {
			Version uint64 `json:"version"`
			Reason  string `json:"reason"`
		} `json:"config_refused"`
		Time  float64 `json:"time"`
		Clock struct {
			Set     bool `json:"set"`
			Rebased int  `json:"rebased"`
		} `json:"clock"`
		Outbox struct {
			outboxView

			SetAside []string `json:"set_aside"`
			Damaged  string   `json:"damaged"`
		} `json:"outbox"`
		Plugs struct {
			Configured int           `json:"configured"`
			Reachable  int           `json:"reachable"`
			Problems   []plugProblem `json:"problems"`
		} `json:"plugs"`
	} `json:"status"`
	Cloud struct {
		Reachable   bool     `json:"reachable"`
		Since       float64  `json:"since"`
		Broker      string   `json:"broker"`
		Err         string   `json:"err"`
		LastReceipt *float64 `json:"last_receipt"`
	} `json:"cloud"`
	DiskFree    int64 `json:"disk_free_bytes"`
	DiskReserve int64 `json:"disk_reserve_bytes"`
}

// Gateway looks at the gateway of this machine: its own page, its disk, its
// certificate, the clock.
func Gateway(ctx context.Context, o Options) *Report {
	r := &Report{}
	body, status, err := fetch(ctx, o.Page+"/status.json")
	var v pageView
	switch {
	case err != nil:
		r.add(Fail, "gateway", "runs", "systemctl status wattline-edge; journalctl -u wattline-edge says why; or say with --page where its page is (status.listen)",
			"its page %s cannot be read: %v", o.Page, err)
	case status != http.StatusOK || json.Unmarshal(body, &v) != nil:
		r.add(Fail, "gateway", "runs", "is --page the page of wattline-edge?", "%s/status.json answers %d and no status", o.Page, status)
	default:
		o.page(r, &v)
		o.healthy(ctx, r, v.Status.Gateway)
	}
	o.machine(r)
	return r
}

// fetch reads a page of this machine.
func fetch(ctx context.Context, address string) (body []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxPage))
	return body, response.StatusCode, err
}

func (o Options) page(r *Report, v *pageView) {
	about := v.Status.Gateway
	r.add(OK, about, "runs", "", "version %s, configuration %d", orUnknown(v.Status.Version), v.Status.ConfigVersion)
	if o.Version != "" && v.Status.Version != "" {
		r.verdict(v.Status.Version != o.Version, Warn, about, "version", "install the same version everywhere", "it runs %s, this wattline is %s", v.Status.Version, o.Version)
	}
	broker := v.Cloud.Broker
	if v.Cloud.Reachable {
		r.add(OK, about, "cloud", "", "connected to %s", Scrub(broker))
	} else {
		r.add(Fail, about, "cloud", "see that "+hostOf(broker)+" can be reached from here, that the broker runs, and that this gateway is trusted (wattline gateways requests)",
			"not connected to %s: %s", Scrub(broker), Scrub(v.Cloud.Err))
	}
	if v.Cloud.Reachable && v.Status.Outbox.Readings > 0 && v.Status.Clock.Set {
		o.receipts(r, about, v)
	}
	if refused := v.Status.ConfigRefused; refused != nil {
		r.add(Fail, about, "configuration", "correct what it names; it runs the last good one", "it refuses version %d: %s", refused.Version, refused.Reason)
	}
	r.verdict(!v.Status.Clock.Set, Warn, about, "clock", "give the box a time server; until then its readings wait on its disk", "%s", yesNo(v.Status.Clock.Set, "set", "not set yet"))
	judgePlugs(r, about, v.Status.Plugs.Configured, v.Status.Plugs.Reachable, v.Status.Plugs.Problems)
	judgeOutbox(r, about, v.Status.Outbox.outboxView, v.Status.Outbox.SetAside, v.Status.Outbox.Damaged)
	if v.DiskFree > 0 {
		r.verdict(v.DiskFree <= v.DiskReserve, Fail, about, "disk", "make room: the oldest readings are dropped otherwise",
			"%s free, %s are left to others", bytesText(v.DiskFree), bytesText(v.DiskReserve))
	}
}

// receipts tells when readings wait and nobody answers for them.
func (o Options) receipts(r *Report, about string, v *pageView) {
	if v.Cloud.LastReceipt == nil {
		r.add(Warn, about, "receipts", "see that the role hooks runs in the cloud, and InfluxDB with it", "connected, and no receipt has come since the start")
		return
	}
	age := time.Duration((v.Status.Time - *v.Cloud.LastReceipt) * float64(time.Second)).Round(time.Second)
	r.verdict(age > 2*time.Minute, Warn, about, "receipts", "see that the role hooks runs in the cloud, and InfluxDB with it", "the last one came %v ago", age)
}

func hostOf(broker string) string {
	_, host, ok := strings.Cut(broker, "://")
	if !ok {
		host = broker
	}
	if _, after, found := strings.Cut(host, "@"); found {
		host = after
	}
	if host == "" {
		return "the broker"
	}
	return host
}

func (o Options) healthy(ctx context.Context, r *Report, about string) {
	body, status, err := fetch(ctx, o.Page+"/healthz")
	text := strings.TrimSpace(string(body[:min(len(body), 300)]))
	bad := err != nil || status != http.StatusOK
	if err != nil {
		text = err.Error()
	}
	r.verdict(bad, Fail, about, "healthy", "its log says more: journalctl -u wattline-edge", "%s", text)
}

// bytesText is a size as people read it.
func bytesText(n int64) string {
	size, unit := float64(n), 0
	for size >= 1000 && unit < 4 {
		size, unit = size/1000, unit+1
	}
	return fmt.Sprintf("%.3g %s", size, []string{"B", "kB", "MB", "GB", "TB"}[unit])
}
