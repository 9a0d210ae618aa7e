// Package webhook hands one message, signed, to a receiver over HTTP. It owns
// go-retryablehttp.
//
// The form is that of Standard Webhooks (standardwebhooks.com, specification
// 1.0.0), for which receivers find libraries in many languages: a POST with the
// headers
//
//	webhook-id         names the message; the same when it is sent again
//	webhook-timestamp  POSIX seconds of this attempt
//	webhook-signature  v1,<base64 of HMAC-SHA256(secret, id.timestamp.body)>
//
// and a secret that is written whsec_<base64 of 24 to 64 bytes>. Without a secret
// the signature is left out.
//
// [Sender.Send] returns nil only when the receiver answered 2xx. What may pass by
// itself is tried again a few times; what does not is an *Error that says whether
// the receiver refused the message. Nothing is kept here: whoever has the message
// still has it. A receiver may get a message twice, for its answer may get lost.
//
// However the receiver behaves, a call ends: each attempt is bounded in time,
// answers in bytes, redirects are not followed, environment variables for proxies
// are not looked at. Neither secrets nor addresses appear in errors.
package webhook
