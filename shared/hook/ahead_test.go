package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wattline/wattline/shared/hook"
)

// The component makes parts ahead while the asker looks at one: one that is
// held, one that waits for its turn, and no more.
func TestPartsAreMadeWhileTheAskerLooks(t *testing.T) {
	made := make(chan int, 10)
	_, asker := serve(t, hook.Component{Name: "ahead", Family: hook.Queries, Timeout: time.Minute, Handle: func(ctx context.Context, r hook.Request, w *hook.Answer) error {
		if r.Subpath == "up" {
			return nil
		}
		for n := range 5 {
			made <- n
			if err := w.Part(ctx, fmt.Appendf(nil, "[%d]", n)); err != nil {
				return err
			}
		}
		return nil
	}})
	var got []string
	_, err := asker.Once(t.Context(), "query/ahead", nil, func(part json.RawMessage) error {
		got = append(got, string(part))
		if len(got) > 1 {
			return nil
		}
		for range 3 {
			select {
			case <-made:
			case <-time.After(5 * time.Second):
				return errors.New("nothing is made meanwhile")
			}
		}
		if len(made) > 0 {
			return fmt.Errorf("%d parts more are made", len(made))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"[0]", "[1]", "[2]", "[3]", "[4]"}) {
		t.Errorf("%q, %v", got, err)
	}
}
