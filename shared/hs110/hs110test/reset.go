package hs110test

import "encoding/json"

// factoryReset takes the order to forget name and network. The plug stays at its
// address, where a real one goes back to its own access point; p.mu is held.
func (p *Plug) factoryReset(args json.RawMessage) string {
	if n, ok := intArg(args, "delay"); !ok || n < 0 || n > 60 {
		return badArg
	}
	p.state.name("plug")
	p.joined = ""
	p.resets++
	return succeeded
}

// Resets is how often the plug was set back to what it was in the factory.
func (p *Plug) Resets() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resets
}
