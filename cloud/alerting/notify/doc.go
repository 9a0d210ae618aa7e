// Package notify tells people what the engine found: each receiver once, in as
// few messages as possible, whatever dies in between.
//
// What a receiver is to be told waits in a queue of its own, in the same file and
// the same transaction as the alert itself. A message is made of all that waits
// when it is its turn: after the receiver's waiting time, not more often than the
// receiver wants, what is only for information once a day. So a thousand alerts,
// or those of a night in which the mail server was away, are one message. From
// then on the message stays as it is, with its key, until the receiver has taken
// it; a receiver may see a message twice, when its answer was lost, and knows it
// by the key. Nobody is told that something is over of which he was never told.
package notify
