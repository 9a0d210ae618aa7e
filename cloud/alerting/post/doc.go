// Package post tells alerts to a receiver over HTTP: any webhook, and the chat and
// push services that have one.
//
// Without a template the body is the [notify.Message] as JSON. With one it is what
// an operator's text/template makes of it; each template is tried on sample
// messages with awkward names before anything is sent, so that a quotation mark in
// the label of a desk is a mistake in the configuration and not a lost alarm.
// Executing is bounded in steps and in bytes, whatever the template does.
//
// Signing, trying again and judging answers are shared/webhook's. The key of a
// message is its webhook-id, the same whenever it is sent again.
package post
