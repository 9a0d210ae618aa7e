package inventory

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/wattline/wattline/shared/contract"
)

const (
	etcdDepth = 8 // of directories; IoToad's keys have three levels
	etcdKind  = "sp_"
)

// etcdNode is a key or a directory of the keys API, version 2.
type etcdNode struct {
	Key   string     `json:"key"`
	Dir   bool       `json:"dir"`
	Value string     `json:"value"`
	Nodes []etcdNode `json:"nodes"`
}

// parseETCD reads what GET /v2/keys/smartplugs?recursive=true answers, or any
// part of it: mac_to_id tells the plug of a place, id_to_userid its owner and
// ip_cache where the plug was last.
func parseETCD(text []byte) (*File, *contract.Problem) {
	var dump struct {
		etcdNode
		Node    *etcdNode `json:"node"`
		Code    int       `json:"errorCode"`
		Message string    `json:"message"`
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		return nil, whole("the file is no JSON as etcd answers it: %v", err)
	}
	if dump.Code != 0 {
		return nil, whole("the file holds an error of etcd (%d, %.100s) instead of its keys; ask for /v2/keys/smartplugs?recursive=true", dump.Code, dump.Message)
	}
	root := &dump.etcdNode
	if dump.Node != nil {
		root = dump.Node
	}
	e := &etcd{places: map[string]*entry{}}
	e.walk(root, 0)
	if p := e.problem(); p != nil {
		return nil, p
	}
	if len(e.places) == 0 {
		return nil, whole("there is no mac_to_id, id_to_userid or ip_cache in the file; ask etcd for /v2/keys/smartplugs?recursive=true")
	}
	f := &File{}
	for _, id := range slices.Sorted(maps.Keys(e.places)) {
		f.places = append(f.places, *e.places[id])
	}
	return f, nil
}

// etcd is a dump that is being read.
type etcd struct {
	mistakes
	places map[string]*entry
}

func (e *etcd) walk(n *etcdNode, depth int) {
	if depth > etcdDepth {
		e.addAt(0, n.Key, "nested deeper than %d levels", etcdDepth)
		return
	}
	for i := range n.Nodes {
		e.walk(&n.Nodes[i], depth+1)
	}
	if n.Dir || len(n.Nodes) > 0 {
		return
	}
	levels := strings.Split(strings.Trim(n.Key, "/"), "/")
	if len(levels) < 2 {
		return
	}
	switch last := levels[len(levels)-1]; levels[len(levels)-2] {
	case "mac_to_id":
		if last == "" {
			return
		}
		e.note(n, n.Value, "mac", last)
	case "id_to_userid":
		e.note(n, last, "owner", n.Value)
	case "ip_cache":
		e.note(n, last, "address", n.Value)
	}
}

// note adds a value to the place that an id names. Ids without a device type,
// as the oldest installations have them, are smart plugs.
func (e *etcd) note(n *etcdNode, id, name, value string) {
	if id = strings.TrimSpace(id); !strings.Contains(id, "_") {
		id = etcdKind + id
	}
	p := e.places[id]
	if p == nil {
		if len(e.places) >= MaxPlaces {
			e.addAt(0, n.Key, "more than %d places", MaxPlaces)
			return
		}
		p = &entry{key: id, values: map[string]string{}, at: origin{names: map[string]string{"": n.Key, "device": n.Key}}, hints: true}
		e.places[id] = p
	}
	if before, twice := p.values[name]; twice {
		e.addAt(0, n.Key, "%.80s has two plugs here, %.40s and %.40s: leave one in the file", id, before, value)
		return
	}
	p.values[name], p.at.names[name] = clean(value), n.Key
}
