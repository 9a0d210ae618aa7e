// Package registry is the cloud's record of places, plugs and gateways, and of
// who may do what. It is changed over the bus, on command/registry/<resource>,
// asked on query/registry/<resource>, and says what others must know in retained
// topics: registry/... for the roles of the cloud, gateways/<gateway>/config for
// each gateway.
//
// One bbolt file has it all. A change is checked against everything else, written
// as a whole together with its entry in the audit log, and answered when it is on
// the disk; a change that is refused leaves nothing behind, and what it clashes
// with is named. Ids are never renamed and never mean something else. Deleting a
// place deletes no reading.
//
// What is on the bus becomes what is in the registry, whatever was there before:
// after each connect the registry first hears what the broker has kept, then
// publishes what differs and clears what is no more.
//
// The version of a gateway's configuration grows whenever its content changes and
// never goes back: it is in the file, and when that is lost it goes on above what
// the broker has retained and what the gateways say in their statuses.
package registry
