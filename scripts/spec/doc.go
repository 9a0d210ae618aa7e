// Package spec holds the specification of the bus in docs/hooks to what is true.
//
// Its tests read asyncapi.yaml and the JSON Schemas and compare them with the
// topics of shared/bus, the types of shared/contract and the access rules of the
// broker. Then they run everything: each example of docs/hooks/examples is sent
// to a cloud with a gateway, on the embedded broker and on Mosquitto, and what
// comes of it is compared with what the example says; meanwhile every message on
// the bus is checked against the schema of its channel. The extensions of
// docs/examples, which know nothing but the specification, run on both as well.
package spec
