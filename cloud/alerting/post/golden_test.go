package post_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattline/wattline/cloud/alerting/alertmanager"
	"github.com/wattline/wattline/cloud/alerting/mail"
	"github.com/wattline/wattline/cloud/alerting/post"
	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

// page is the one that tells operators how to configure receivers.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/alerts/receivers.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// receiver is one as the page shows it. The settings around the blocks are not
// this package's.
type receiver struct {
	Name         string               `yaml:"name"`
	Kind         string               `yaml:"kind"`
	From         string               `yaml:"from"`
	Wait         string               `yaml:"wait"`
	MostPerHour  int                  `yaml:"most_per_hour"`
	Digest       string               `yaml:"digest"`
	Over         bool                 `yaml:"over"`
	Email        *mail.Config         `yaml:"email"`
	Webhook      *post.Config         `yaml:"webhook"`
	Alertmanager *alertmanager.Config `yaml:"alertmanager"`
}

type file struct {
	Alerting struct {
		Link      string     `yaml:"link"`
		Receivers []receiver `yaml:"receivers"`
	} `yaml:"alerting"`
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// documented are the receivers of the page, by name. Files that it names exist.
func documented(t *testing.T) map[string]receiver {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("WATTLINE_TEST", webhook.NewSecret())
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("https://chat.example.org/hook"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`\{file: [^}]*webhook-key\}`)
	files := regexp.MustCompile(`\{file: [^}]*\}`)
	ca := regexp.MustCompile(`(?m)^ +ca: .*\n`)
	all := make(map[string]receiver)
	for _, block := range yamlBlock.FindAllStringSubmatch(page(t), -1) {
		text := secret.ReplaceAllString(block[1], "{env: WATTLINE_TEST}")
		text = files.ReplaceAllString(text, fmt.Sprintf("{file: %q}", filepath.Join(dir, "token")))
		text = ca.ReplaceAllString(text, "")
		var f file
		if err := config.Decode(strings.NewReader(text), "receivers.md", &f); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		for _, r := range f.Alerting.Receivers {
			all[r.Name] = r
		}
	}
	return all
}

func TestThePageHasReceiversThatCanBeUsed(t *testing.T) {
	kinds := map[string]int{}
	for name, r := range documented(t) {
		kinds[r.Kind]++
		var err error
		switch r.Kind {
		case "email":
			err = r.Email.Validate()
		case "webhook":
			err = r.Webhook.Validate()
		case "alertmanager":
			err = r.Alertmanager.Validate()
		default:
			t.Errorf("%s: kind %q", name, r.Kind)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if kinds["email"] == 0 || kinds["alertmanager"] == 0 || kinds["webhook"] < 4 {
		t.Errorf("the page shows %v", kinds)
	}
}

func TestThePageShowsWhatMessagesLookLike(t *testing.T) {
	text := page(t)
	for _, name := range []string{"../mail/testdata/alarm.txt", "../mail/testdata/recovery.txt"} {
		golden, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(golden), "\n\n")
		if name == "../mail/testdata/alarm.txt" && !strings.Contains(text, body) {
			t.Errorf("the page does not show %s as it is", name)
		}
		for line := range strings.SplitSeq(string(golden), "\n") {
			if subject, is := strings.CutPrefix(line, "Subject: "); is && !strings.Contains(text, subject) {
				t.Errorf("the page does not show the subject %q", subject)
			}
		}
	}
}

// TestServicesGetWhatTheyTake executes the page's templates against what is known
// of the services.
func TestServicesGetWhatTheyTake(t *testing.T) {
	receivers := documented(t)
	for name, check := range map[string]func(t *testing.T, body map[string]any){
		"slack": func(t *testing.T, body map[string]any) {
			t.Helper()
			if text, ok := body["text"].(string); !ok || text == "" || strings.ContainsAny(text, "<>") && !strings.Contains(text, "<https://") {
				t.Errorf("text %q", text)
			}
		},
		"teams": func(t *testing.T, body map[string]any) {
			t.Helper()
			list, _ := body["attachments"].([]any)
			if body["type"] != "message" || len(list) != 1 {
				t.Fatalf("body %v", body)
			}
			card, _ := list[0].(map[string]any)
			if card["contentType"] != "application/vnd.microsoft.card.adaptive" {
				t.Errorf("card %v", card)
			}
		},
		"ntfy": func(t *testing.T, body map[string]any) {
			t.Helper()
			priority, _ := body["priority"].(float64)
			if body["topic"] == "" || body["message"] == "" || priority < 1 || priority > 5 {
				t.Errorf("body %v", body)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, there := receivers[name]
			if !there {
				t.Fatal("the page has no such receiver")
			}
			for what, m := range map[string]func() string{"alarm": func() string { return send(t, *r.Webhook, alarm()) }, "recovery": func() string { return send(t, *r.Webhook, recovery()) }} {
				text := m()
				var body map[string]any
				if err := json.Unmarshal([]byte(text), &body); err != nil {
					t.Fatal(err)
				}
				check(t, body)
				indented, _ := json.MarshalIndent(body, "", "  ")
				golden(t, name+"-"+what+".json", string(indented)+"\n")
				if len(text) > 28<<10 {
					t.Errorf("%d bytes", len(text))
				}
			}
			// A night of trouble stays small as well.
			night := alarm()
			for len(night.Items) < 200 {
				night.Items = append(night.Items, night.Items[0])
			}
			if text := send(t, *r.Webhook, night); len(text) > 28<<10 {
				t.Errorf("200 alerts are %d bytes, more than Teams takes", len(text))
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
