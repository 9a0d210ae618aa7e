package inventory

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/wattline/wattline/shared/contract"
)

// Load reads a YAML file that has a whole site: its default floor and at least
// one gateway, and what else there is. All its mistakes come back at once, each
// with its key and line.
func Load(filename string) (Records, error) {
	f, err := os.Open(filename)
	if err != nil {
		return Records{}, fmt.Errorf("read inventory: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return Records{}, fmt.Errorf("read inventory: %w", err)
	}
	file, problem := Parse(YAML, text)
	if file == nil {
		return Records{}, inWords(filename, problem)
	}
	problem = nil // Make tells it again
	if len(file.gateways) == 0 {
		problem = &contract.Problem{Mistakes: []contract.Mistake{{Field: "gateways", Detail: "required, one for each floor"}}}
	}
	plan, more := Make(Records{}, file, false)
	if problem != nil && more != nil {
		problem.Mistakes = append(problem.Mistakes, more.Mistakes...)
	} else if more != nil {
		problem = more
	}
	if problem != nil {
		return Records{}, inWords(filename, problem)
	}
	return plan.Records, nil
}

// inWords makes an error of a problem, a line for each mistake.
func inWords(filename string, p *contract.Problem) error {
	if len(p.Mistakes) == 0 {
		return fmt.Errorf("%s: %w", filename, p)
	}
	errs := make([]error, 0, len(p.Mistakes)+1)
	for _, m := range p.Mistakes {
		errs = append(errs, errors.New("  "+Sentence(m)))
	}
	return fmt.Errorf("%s: %s:\n%w", filename, p.Detail, errors.Join(errs...))
}

// Sentence is a mistake in a line of text: "places[3].mac (line 12): ...".
func Sentence(m contract.Mistake) string {
	switch {
	case m.Line > 0 && m.Field != "":
		return fmt.Sprintf("%s (line %d): %s", m.Field, m.Line, m.Detail)
	case m.Line > 0:
		return fmt.Sprintf("line %d: %s", m.Line, m.Detail)
	case m.Field != "":
		return m.Field + ": " + m.Detail
	default:
		return m.Detail
	}
}
