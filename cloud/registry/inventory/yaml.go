package inventory

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wattline/wattline/shared/config"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
)

// document is a YAML file: docs/samples/inventory.yaml. All values are texts
// here, as they are in the other formats.
type document struct {
	Site     map[string]string   `yaml:"site"`
	Gateways []map[string]string `yaml:"gateways"`
	// Series are places whose ids and addresses count upwards.
	Series []map[string]string `yaml:"series"`
	// Places are single places. One that is also in a series, and has no address
	// here, adds what it says to that of the series.
	Places []map[string]string `yaml:"places"`
}

// located is the form of a mistake that shared/config has found.
var located = regexp.MustCompile(`^(?s)(.*?) \(line (\d+)\)[:;]? (.*)$`)

// notYAML is the form of a mistake of the syntax.
var notYAML = regexp.MustCompile(`^(?s)(?:not YAML: )?line (\d+): (.*)$`)

// parseYAML reads a whole site, or a part of one.
func parseYAML(text []byte) (*File, *contract.Problem) {
	y := &yamlFile{file: &File{}}
	var doc document
	lines, err := config.DecodeLines(text, "the inventory", &doc)
	if err != nil {
		y.syntax(err)
		return nil, y.problem()
	}
	y.lines = lines
	if doc.Site != nil {
		e := y.entry("site", doc.Site, names(siteFields))
		y.file.site = &e
	}
	y.file.whole = doc.Gateways != nil
	for i, values := range doc.Gateways {
		e := y.entry(fmt.Sprintf("gateways[%d]", i), values, names(gatewayFields, "id"))
		e.key = values["id"]
		delete(values, "id")
		y.file.gateways = append(y.file.gateways, e)
	}
	for i, values := range doc.Series {
		y.series(y.entry(fmt.Sprintf("series[%d]", i), values, seriesKeys))
	}
	inSeries := y.index()
	for i, values := range doc.Places {
		e := y.entry(fmt.Sprintf("places[%d]", i), values, columns)
		e.key = values["device"]
		delete(values, "device")
		y.place(e, inSeries)
	}
	return y.found(y.file)
}

// yamlFile is a YAML file that is being read.
type yamlFile struct {
	mistakes
	file  *File
	lines map[string]int
}

// syntax notes what shared/config has found, line and key apart from the rest.
func (y *yamlFile) syntax(err error) {
	wrong, ok := errors.AsType[*config.Error](err)
	if !ok {
		y.addAt(0, "", "%v", err)
		return
	}
	for _, m := range wrong.Mistakes {
		text := m.Error()
		if parts := located.FindStringSubmatch(text); parts != nil {
			line, _ := strconv.Atoi(parts[2]) // digits
			y.addAt(line, parts[1], "%s", parts[3])
		} else if parts := notYAML.FindStringSubmatch(text); parts != nil {
			line, _ := strconv.Atoi(parts[1]) // digits
			y.addAt(line, "", "not YAML: %s", parts[2])
		} else {
			y.addAt(0, "", "%s", text)
		}
	}
}

// entry is one group of keys; keys that nobody asks for are noted.
func (y *yamlFile) entry(path string, values map[string]string, known []string) entry {
	at := origin{line: y.lines[path], path: path, lines: y.lines}
	var strange []string
	for name, v := range values {
		values[name] = clean(v)
		if !slices.Contains(known, name) {
			strange = append(strange, name)
		}
	}
	slices.SortFunc(strange, func(a, b string) int { return cmp.Compare(y.lines[path+"."+a], y.lines[path+"."+b]) })
	for _, name := range strange {
		y.add(at, name, "unknown key; known here: %s", strings.Join(known, ", "))
		delete(values, name)
	}
	return entry{values: values, at: at}
}

// index finds the places of the series by their ids.
func (y *yamlFile) index() map[string]int {
	byID := make(map[string]int, len(y.file.places))
	for i, e := range y.file.places {
		if _, twice := byID[e.key]; !twice {
			byID[e.key] = i
		}
	}
	return byID
}

// place takes a single place in, or adds what it says to one of a series.
func (y *yamlFile) place(e entry, inSeries map[string]int) {
	i, known := inSeries[e.key]
	if !known || e.values["address"] != "" || !y.file.places[i].bare {
		if len(y.file.places) < MaxPlaces {
			y.file.places = append(y.file.places, e)
		} else {
			y.add(e.at, "", "more than %d places", MaxPlaces)
		}
		return
	}
	before := y.file.places[i]
	if said, g := before.values["gateway"], e.values["gateway"]; said != "" && g != "" && g != said {
		y.add(e.at, "gateway", "%s says that %.80s is at %s", before.at, e.key, said)
	}
	delete(e.values, "address")
	merged := maps.Clone(before.values)
	maps.Copy(merged, e.values)
	e.values = merged
	e.at.names = map[string]string{"address": before.at.path + ".first_address"}
	y.file.places[i] = e
}

// formatYAML writes a whole site. Each record stands on a line, so that two
// exports compare line by line.
func formatYAML(r Records) []byte {
	var b bytes.Buffer
	b.WriteString("# The inventory of the site: `wattline import` reads it again.\n")
	if r.Site != nil {
		b.WriteString("\nsite:\n")
		for _, f := range siteFields {
			if v := f.get(r.Site); v != "" {
				fmt.Fprintf(&b, "  %s: %s\n", f.name, scalar(v))
			}
		}
	}
	if len(r.Gateways) > 0 {
		b.WriteString("\ngateways:\n")
	}
	for i := range r.Gateways {
		writeLine(&b, "id", r.Gateways[i].ID, gatewayFields, &r.Gateways[i])
	}
	if len(r.Places) > 0 {
		b.WriteString("\nplaces:\n")
	}
	for i := range r.Places {
		writeLine(&b, "device", r.Places[i].Device.String(), placeFields, &r.Places[i])
	}
	if r.Site == nil && len(r.Gateways) == 0 && len(r.Places) == 0 {
		b.WriteString("places: []\n")
	}
	return b.Bytes()
}

func writeLine[T any](b *bytes.Buffer, name, key string, fields []field[T], record *T) {
	fmt.Fprintf(b, "  - {%s: %s", name, scalar(key))
	for _, f := range fields {
		if v := f.get(record); v != "" {
			fmt.Fprintf(b, ", %s: %s", f.name, scalar(v))
		}
	}
	b.WriteString("}\n")
}

var (
	plainForm  = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)
	numberForm = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,8})$`)
	// taken are words that YAML 1.1 or 1.2 read as something else than text.
	taken = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
)

// scalar writes a value so that it reads back as the same text.
func scalar(v string) string {
	if plainForm.MatchString(v) && !slices.Contains(taken, v) || numberForm.MatchString(v) {
		return v
	}
	return strconv.Quote(v) // its escapes are YAML's, too (YAML 1.2 section 5.7)
}

// idOf parses an id of the file, and says what is wrong with it.
func (m *mistakes) idOf(e *entry, name string) (device.ID, bool) {
	if e.key == "" {
		m.add(e.at, name, "required, an id such as sp_f1.w.r0.c0")
		return device.ID{}, false
	}
	id, err := device.Parse(e.key)
	if err != nil {
		m.add(e.at, name, "%v", err)
	}
	return id, err == nil
}
