package alerting

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/cloud/alerting/archive"
	"github.com/wattline/wattline/cloud/alerting/engine"
	"github.com/wattline/wattline/cloud/alerting/notify"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/hook"
)

// queries are the verbs that change nothing; all others are commands.
var queries = []string{"list", "get", "export"}

// verb does one thing of one resource.
type verb func(ctx context.Context, a *Alerting, r contract.RegistryRequest) (contract.RegistryAnswer, error)

var resources = map[string]map[string]verb{
	"alerts":      {"list": listAlerts, "get": getAlert, "acknowledge": acknowledge, "snooze": snooze, "wake": wake},
	"statistics":  {"get": statistics},
	"rules":       {"list": listRules, "get": getRule, "create": createRule, "change": changeRule, "delete": deleteRule, "import": importRules, "export": exportRules},
	"maintenance": {"list": listWindows, "create": createWindow, "delete": deleteWindow},
	"receivers":   {"list": listReceivers, "test": testReceiver},
	"audit":       {"list": listAudit},
}

// handle answers the requests of one family.
func (a *Alerting) handle(family hook.Family) func(context.Context, hook.Request, *hook.Answer) error {
	return func(ctx context.Context, request hook.Request, w *hook.Answer) error {
		var r contract.RegistryRequest
		var answer contract.RegistryAnswer
		switch err := json.Unmarshal(request.Data, &r); {
		case err != nil:
			answer.Problem = problem(contract.Invalid, "not a request to the alerting: %s", misread(err))
		case slices.Contains(queries, r.Verb) != (family == hook.Queries):
			answer.Problem = problem(contract.Invalid, "%.40q is no %s", r.Verb, family)
		default:
			answer = a.answer(ctx, request.Subpath, r)
		}
		w.Send(text(answer), nil)
		return nil
	}
}

// answer does what is asked. What is wrong is in the answer's Problem, and then
// nothing was done.
func (a *Alerting) answer(ctx context.Context, resource string, r contract.RegistryRequest) contract.RegistryAnswer {
	verbs, known := resources[resource]
	if !known {
		return contract.RegistryAnswer{Problem: problem(contract.NotFound, "the alerting has no %.40q; there are %s", resource, names(resources))}
	}
	do, known := verbs[r.Verb]
	if !known {
		return contract.RegistryAnswer{Problem: problem(contract.Invalid, "%s have no %.40q; there are %s", resource, r.Verb, names(verbs))}
	}
	answer, err := do(ctx, a, r)
	if err == nil {
		return answer
	}
	p, ok := errors.AsType[*contract.Problem](err)
	switch {
	case ok:
	case errors.Is(err, archive.ErrUnknown), errors.Is(err, engine.ErrNotFiring), errors.Is(err, notify.ErrUnknown):
		p = problem(contract.NotFound, "%v", err)
	case errors.Is(err, archive.ErrCursor):
		p = problem(contract.Invalid, "cursor: %v", err)
	default:
		p = a.broken(ctx, resource, r.Verb, err)
	}
	return contract.RegistryAnswer{Problem: p}
}

// broken is the problem of an error that is about the cloud's own files: who asks
// gets a name by which it is found in the log, and no paths.
func (a *Alerting) broken(ctx context.Context, resource, verb string, err error) *contract.Problem {
	id := hook.Instance()
	a.log.ErrorContext(ctx, "request not done, nothing was changed",
		slog.String("resource", resource), slog.String("verb", verb), slog.String("id", id), slog.Any("err", err))
	return problem(contract.NotNow, "%s of %s was not done and nothing was changed: an internal error, see the cloud's log for %s", verb, resource, id)
}

func names[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

func problem(kind contract.ProblemKind, format string, args ...any) *contract.Problem {
	return &contract.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// mistaken is a problem that names every mistake of an error that was joined.
func mistaken(err error) *contract.Problem {
	mistakes := mistakesOf(err)
	if len(mistakes) == 0 {
		return problem(contract.Invalid, "%v", err)
	}
	p := problem(contract.Invalid, "%s: %s", mistakes[0].Field, mistakes[0].Detail)
	if len(mistakes) > 1 {
		p.Detail = fmt.Sprintf("%d mistakes; the first is %s", len(mistakes), p.Detail)
	}
	p.Mistakes = mistakes
	return p
}

// mistakesOf takes what was joined apart, however deep; nothing of what was not.
func mistakesOf(err error) (mistakes []contract.Mistake) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, e := range joined.Unwrap() {
		if inner := mistakesOf(e); inner != nil {
			mistakes = append(mistakes, inner...)
		} else {
			mistakes = append(mistakes, mistakeOf(e.Error()))
		}
	}
	return mistakes
}

// inLine is how shared/config says where a key stands.
var inLine = regexp.MustCompile(`^(.*) \(line (\d+)\)$`)

// mistakeOf takes "key (line 3): what is wrong" apart.
func mistakeOf(text string) contract.Mistake {
	field, detail, found := strings.Cut(text, ": ")
	if !found {
		return contract.Mistake{Detail: text}
	}
	m := contract.Mistake{Field: field, Detail: detail}
	if parts := inLine.FindStringSubmatch(field); parts != nil {
		m.Field = parts[1]
		m.Line, _ = strconv.Atoi(parts[2]) // digits
	}
	return m
}

// content reads what a request brings, strictly.
func content(r contract.RegistryRequest, into any) error {
	d := json.NewDecoder(strings.NewReader(string(r.Content)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return problem(contract.Invalid, "the content: %s", misread(err))
	}
	return nil
}

// misread says what encoding/json does not like, without names of the program.
func misread(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s: a %s does not belong there", cmp.Or(e.Field, "all of it"), e.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// audited is what a request did, for the log.
func (a *Alerting) audited(r contract.RegistryRequest, what, object string) contract.Audited {
	return contract.Audited{At: a.micros(), Who: r.Who, What: what, Object: object, Reason: r.Reason, From: r.From, Result: "done"}
}
