package api

import (
	"encoding/json"
	"strconv"
	"strings"
)

// inNanoseconds gives the times of a SenML pack in nanoseconds, as IoToad's
// deployed version did. A pack that is none comes back as it is.
func inNanoseconds(pack json.RawMessage) json.RawMessage {
	var records []map[string]json.RawMessage
	if json.Unmarshal(pack, &records) != nil {
		return pack
	}
	for _, r := range records {
		for _, key := range []string{"t", "bt"} {
			if text, ok := timesBillion(string(r[key])); ok {
				r[key] = json.RawMessage(text)
			}
		}
	}
	out, err := json.Marshal(records)
	if err != nil {
		return pack
	}
	return out
}

// timesBillion multiplies a JSON number by moving its decimal point, so that no
// digit is lost, and drops what is below one; false for what is no number.
func timesBillion(number string) (string, bool) {
	digits, exponentText, hasExponent := strings.Cut(strings.ToLower(number), "e")
	exponent := 9
	if hasExponent {
		e, err := strconv.Atoi(exponentText)
		if err != nil || e < -30 || e > 30 {
			return "", false
		}
		exponent += e
	}
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", false
	}
	point := len(whole) + exponent
	all := whole + fraction
	if point <= 0 {
		return "0", true
	}
	if missing := point - len(all); missing > 0 {
		all += strings.Repeat("0", missing)
	}
	all = strings.TrimLeft(all[:point], "0")
	switch {
	case all == "":
		return "0", true
	case negative:
		return "-" + all, true
	}
	return all, true
}
