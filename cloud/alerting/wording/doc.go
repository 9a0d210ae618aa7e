// Package wording puts what a receiver is told into the few words that every kind
// of message needs: a headline, a place, a point in time, a value.
//
// What comes out is one line each, without control characters, however the names
// were written that went in: names are chosen by people and devices, and end up in
// headers of mail and in bodies of webhooks.
package wording
