package registry

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// encode is a record in JSON.
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and text: a bug of ours
	}
	return string(text)
}

// differences tells in words how a record has changed, as its JSON shows it.
func differences[T any](before, after *T) string {
	var was, is map[string]json.RawMessage
	if before != nil {
		_ = json.Unmarshal([]byte(encode(before)), &was) // what encode has written
	}
	_ = json.Unmarshal([]byte(encode(after)), &is)
	var words []string
	all := maps.Clone(is)
	maps.Copy(all, was)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		from, to := cmp.Or(string(was[name]), "-"), cmp.Or(string(is[name]), "-")
		switch {
		case from == to || name == "revision":
		case before == nil:
			words = append(words, name+": "+to)
		default:
			words = append(words, name+": "+from+" → "+to)
		}
	}
	return strings.Join(words, ", ")
}
