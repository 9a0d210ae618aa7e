// Package interop tries Wattline with software that others wrote, and with
// input that nobody should have sent.
//
//   - plugs_*: the npm packages tplink-smarthome-simulator and
//     tplink-smarthome-api. Each side of the plug's protocol meets a stranger:
//     our gateway reads and switches their plugs, their command line reads,
//     switches and discovers ours.
//   - mosquitto_*: Mosquitto as the broker, its command-line clients as a foreign
//     hook and a foreign agent, and the cloud's roles in several processes.
//   - iotoad_*: IoToad's features by number, each shown on a running site, and
//     what is different by the rows of docs/iotoad.md; the requests of its clients,
//     agents and components, one row each, as its documentation and code had them.
//   - hostile_*: wrong configurations, wrong queries, wrong messages, and two
//     hundred clients that mean harm, while readings flow. Each must get a clear
//     error, move a counter, and harm nobody: nothing lost, nothing grown.
//
// Everything is a black box: processes of the real programs, spoken to over
// their ports. make interop runs it all (WATTLINE_LONG=1); plain go test leaves
// out what needs npm, waits long or takes long. WATTLINE_INTEROP_LOGS names a
// directory that keeps the logs of the programs.
package interop
