// Package mail tells people of alerts by e-mail, over SMTP (RFC 5321).
//
// A message goes as text and as HTML, without anything that a mail program would
// have to fetch. Its Message-ID, its Date and all other bytes are made of the
// [notify.Message] alone, so that one that is sent again, since the answer to the
// first was lost, is the same message to every server and mail program that looks.
//
// # Encryption
//
// STARTTLS (RFC 3207) is the rule and is not given up when a server does not offer
// it; certificates are verified. Passwords go over TLS only, to this machine
// excepted.
//
// # Several recipients
//
// Those whom the server accepts get the message at once, whatever it says of the
// others. The sender remembers them by the message's key, and when the message is
// sent again it goes only to those who do not have it. Only a restart between two
// attempts forgets; the Message-ID then tells who gets a second one that it is the
// first.
//
// A queue waits for its message, so nobody may hold it up for the others. When some
// have the message, a recipient whom the server refuses is given up, with a warning
// and an entry in [Sender.Unreached]; one whom it wants to hear of later is waited
// for a quarter of an hour, which is enough for greylisting, and then given up
// likewise. Each next message is offered to all again, but nobody waits for one who
// was given up until he is accepted once.
//
// # What an error means
//
// Answers 4xx, no answer, and any refusal before the message is offered (the
// greeting, TLS, the password) mean later: a message must not be lost because a
// password has expired. 5xx to the message itself, or to every recipient, is an
// [*Error] with Refused true: asking again soon gets the same answer.
//
// # Bounds
//
// Whatever the server does, [Sender.Send] ends: connecting, each command and the
// whole have limits of time, and what a server says in one conversation one of
// bytes. That is why net/smtp speaks here, behind a connection that is bounded,
// and no larger library: those renew their deadline once a message, read answers of
// any length and give a message up when one recipient is refused.
package mail
