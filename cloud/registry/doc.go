// Package registry is the cloud's record of places, plugs and gateways. It reads
// them from one YAML inventory and publishes them, retained: registry/site,
// registry/gateways/<gateway> and registry/places/<device id> for the roles of
// the cloud, gateways/<gateway>/config for each gateway.
//
// What is on the bus becomes what is in the inventory, whatever was there
// before: after each connect the registry first hears what the broker has kept,
// then publishes what differs and clears what is no more. The inventory is read
// again when the file changes. A file with mistakes changes nothing.
//
// The version of a gateway's configuration grows whenever its content changes
// and never goes back: the registry keeps the last one on disk, and when that is
// lost it goes on above what the broker has retained and what the gateways say
// in their statuses.
package registry
