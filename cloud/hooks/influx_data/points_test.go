package influxdata_test

import (
	"strings"
	"testing"

	influxdata "github.com/wattline/wattline/cloud/hooks/influx_data"
	"github.com/wattline/wattline/shared/senml"
)

// These lines are for ever: a batch that is stored again years later must
// become the same points. A change here doubles history.
func TestGoldenLines(t *testing.T) {
	for name, tc := range map[string]struct{ pack, want string }{
		"a workplace": {
			`[{"bver":26,"bn":"sp_f2.w.r1.c3/","bt":1700000000.123456,"n":"power","u":"W","v":61.753},{"n":"energy","u":"Wh","v":16323},{"n":"status","u":"/","v":1}]`,
			"power,column=3,floor=2,id=sp_f2.w.r1.c3,row=1,type=w,unit=W value=61.753 1700000000123456\n" +
				"energy,column=3,floor=2,id=sp_f2.w.r1.c3,row=1,type=w,unit=Wh value=16323 1700000000123456\n" +
				"status,column=3,floor=2,id=sp_f2.w.r1.c3,row=1,type=w,unit=/ value=1 1700000000123456\n",
		},
		"IoToad's form, without floor": {
			`[{"bn":"sp_w.r0.c0/power","bu":"W","t":1593599018.0395682,"v":0}]`,
			"power,column=0,id=sp_w.r0.c0,row=0,type=w,unit=W value=0 1593599018039568\n",
		},
		"a name split between bn and n": {`[{"bn":"sp_","n":"g7/power","bu":"W","t":1593599018,"v":1.5}]`, "power,id=sp_g7,type=g,unit=W value=1.5 1593599018000000\n"},
		"an id without device type":     {`[{"n":"w.r1.c2/power","u":"W","t":1593599018,"v":1}]`, "power,column=2,id=sp_w.r1.c2,row=1,type=w,unit=W value=1 1593599018000000\n"},
		"another device":                {`[{"n":"echo-dot_x.r1.c0/volume","t":1593599018,"v":1}]`, "volume,column=0,id=echo-dot_x.r1.c0,row=1,type=x value=1 1593599018000000\n"},
		"a basement":                    {`[{"n":"sp_f-1.p0/power","u":"W","t":1593599018,"v":-1}]`, "power,floor=-1,id=sp_f-1.p0,type=p,unit=W value=-1 1593599018000000\n"},
		"booleans are numbers": {
			`[{"n":"sp_g1/door","t":1593599018,"vb":true},{"n":"sp_g1/door","t":1593599019,"vb":false}]`,
			"door,id=sp_g1,type=g value=1 1593599018000000\ndoor,id=sp_g1,type=g value=0 1593599019000000\n",
		},
		"texts": {
			`[{"n":"sp_g1/suspect","t":1593599018,"vs":"a \"b\" \\ c,=\u00e4"},{"n":"sp_g1/blob","t":1593599018,"vd":"AQI"}]`,
			`suspect,id=sp_g1,type=g text="a \"b\" \\ c,=ä" 1593599018000000` + "\n" + `blob,id=sp_g1,type=g text="AQI" 1593599018000000` + "\n",
		},
		"a unit with odd characters": {`[{"n":"sp_g1/x","u":"a b,c=d","t":1593599018,"v":1}]`, `x,id=sp_g1,type=g,unit=a\ b\,c\=d value=1 1593599018000000` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			records, err := senml.Decode([]byte(tc.pack), 100)
			if err != nil {
				t.Fatal(err)
			}
			got, err := influxdata.Points(nil, records)
			if err != nil || string(got) != tc.want {
				t.Errorf("%v\ngot  %s\nwant %s", err, got, tc.want)
			}
		})
	}
}

func TestRecordsThatAreNoPoints(t *testing.T) {
	for name, pack := range map[string]string{
		"no measurement": `[{"n":"sp_g1/","t":1593599018,"v":1}]`, "no device": `[{"n":"power","t":1593599018,"v":1}]`,
		"no such id": `[{"n":"sp_g01/power","t":1593599018,"v":1}]`, "relative time": `[{"n":"sp_g1/power","t":-5,"v":1}]`, "no time": `[{"n":"sp_g1/power","v":1}]`,
		"a sum only": `[{"n":"sp_g1/power","t":1593599018,"s":1}]`, "too long a text": `[{"n":"sp_g1/x","t":1593599018,"vs":"` + strings.Repeat("x", 65<<10) + `"}]`,
		"a unit with a line break": `[{"n":"sp_g1/x","u":"a\nb","t":1593599018,"v":1}]`,
	} {
		records, err := senml.Decode([]byte(pack), 100)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := influxdata.Points(nil, records); err == nil {
			t.Errorf("%s became %s", name, got)
		}
	}
}

func TestDatabaseNames(t *testing.T) {
	for name, want := range map[string]string{"": "sp", "sp": "sp", "other_2": "other_2", strings.Repeat("a", 63): strings.Repeat("a", 63)} {
		if got, err := influxdata.Database(name); err != nil || got != want {
			t.Errorf("Database(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"wattline", "SP", "1sp", "_sp", "a-b", "a b", `a"b`, strings.Repeat("a", 64)} {
		if got, err := influxdata.Database(name); err == nil {
			t.Errorf("Database(%q) = %q", name, got)
		}
	}
}
