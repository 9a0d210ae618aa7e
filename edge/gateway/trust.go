package gateway

import (
	"path/filepath"

	"github.com/wattline/wattline/edge/enrolment"
	"github.com/wattline/wattline/shared/bus"
)

// identityDir has the box's key and certificate, below the data directory.
const identityDir = "enrolment"

// openBox sees to the gateway's identity, where it enrols.
func (g *Gateway) openBox() (err error) {
	if !g.config.Enrolment.Enabled() {
		return nil
	}
	g.box, err = enrolment.Open(enrolment.Options{
		Config: g.config.Enrolment, Gateway: g.config.Gateway, Dir: filepath.Join(g.config.Data, identityDir), CA: g.config.Broker.TLS.CA,
	}, g.log)
	return err
}

// secure says what the connection to the broker shows and trusts: the operator's
// certificate where one is configured, else that of the enrolment.
func (g *Gateway) secure(options *bus.Options) {
	files := g.config.Broker.TLS
	switch {
	case g.box != nil && files.Cert == "":
		options.TLS = g.box.TLS
	case !files.IsZero():
		options.TLS = files.Client
	}
}

// trouble says why there is no connection, for the page: what the enrolment waits
// for comes first, for nothing else can be done about it.
func (g *Gateway) trouble(err string) string {
	if g.box != nil && g.config.Broker.TLS.Cert == "" && !g.box.Trusted() {
		return g.box.State()
	}
	return err
}
