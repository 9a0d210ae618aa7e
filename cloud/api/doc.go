// Package api is the REST server. It turns a request into a message on the bus,
// waits for the answer and turns that into a response; it decides nothing and
// keeps nothing but what the retained topics tell ([directory]). So any number
// of it may run side by side, each hearing only the answers to its own
// questions.
//
// Two families of routes: /api/in and /api/out relay to any agent and any
// component, known or not, as IoToad did; /api/v1 speaks of devices, readings,
// commands, gateways, what the registry keeps and what is wrong, with every mistake
// of a request named at once (RFC 9457). Beside them /healthz, /readyz and /metrics.
//
// # Who may what
//
// Beyond loopback, or where the configuration wants it, clients show a token
// (Authorization: Bearer). Its role says what it opens: viewers look, operators
// switch and hush alerts too, admins change the registry, the rules of alerts,
// tokens and gateways and see the audit log. A token with floors sees and switches
// these only; routes about the whole site are closed to it, and alerts of other
// floors are invisible to it. A token that is shown counts even where none is
// needed. Tokens come as hashes on retained topics, so that one which is deleted opens
// nothing as soon as the api hears of it. Wrong ones are throttled by address;
// refusals are told to the audit log, sparingly.
//
// # What it costs
//
// Whatever a client sends, it costs a bounded amount: connections, headers,
// bodies, parameters and questions under way have limits, and a client that is
// slow to send or to take is cut off. The package owns the HTTP library.
//
// # How an answer becomes a status
//
// A component that does not answer in time is 504 and named. An error that
// begins with the name of a parameter and a colon is the asker's mistake, 400;
// several are joined by "; ". One that ends in "try again" is 503, any other
// 502. A switch of one place has the status of its outcome, a switch of many is
// 200 with an outcome for each.
package api
