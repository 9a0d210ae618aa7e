// Package spcommand is the component sp_command: it switches places. It takes
// commands on command/sp_command/..., finds out which places are meant and which
// gateways they are at, sends each gateway its share and answers with one result
// per place.
//
// # Targets
//
// The rest of the topic is one of
//
//	<device id>                                sp_f2.w.r1.c1; w.r1.c1 means sp_w.r1.c1
//	row/<n>, column/<n>                        workplaces of the default floor
//	floor/<f>, floor/<f>/row/<n>, floor/<f>/column/<n>
//	type/<t>, floor/<f>/type/<t>
//	select                                     with the data's member "select"
//
// or nothing, or any of the beginnings, when the envelope has subtopics, which
// are put behind it.
//
// # Payloads and answers
//
// The data is IoToad's, {"status": 1}, {"status": "OFF"} or either as the text of
// a JSON string, and is answered in IoToad's form: data.successful lists ids and
// error has a reason for each of the others; the api's relay adds a member "who".
// Or it is a contract.SwitchRequest,
// with the member "on", and is answered by a contract.SwitchAnswer. A payload
// that does not say clearly what to do is an error and switches nothing.
//
// # What it guarantees
//
// A protected place is refused here, before anything is sent, and again at its
// gateway. A gateway that is not heard is not waited for: without a live status
// for 30 s, or after its will, its places are unreachable at once; right after
// the component's own start it waits for one beat. A command that says no time
// leaves each gateway enough to switch its places on one after the other, five
// minutes at most. The deadline of a command is
// in the gateway's own clock, reckoned from its last live status, so that a
// command that comes late is not carried out. A place from which no result comes
// in time is unknown: it may have happened.
//
// Who switched what, why and how it ended goes to the measurement audit of the
// database wattline: the intent while the command is sent, the result when it is
// known. An answer waits for the intent, 150 ms at most and not at all while
// InfluxDB is away; switching waits for neither. While InfluxDB is away the
// newest accounts wait in memory, and those dropped are counted (the gateway
// keeps its own).
//
// Nothing is kept, so any number of instances may run: they share the commands.
// What is known of the site comes from the retained registry topics, and that of
// before a lost connection is used until the registry speaks again.
package spcommand
