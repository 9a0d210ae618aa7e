// Package signals turns what is on the bus into the samples that alerting
// watches, and knows the house meanwhile: the site, its places and gateways.
//
// It is handed messages, answers and the time, and gives back samples; it has no
// clock, no goroutine and no connection. Readings keep their measurement time.
// Facts are dated by the cloud's clock, for a gateway whose clock is wrong must
// not lose its alarms with it.
//
// What is not known makes no sample: a gateway of which nothing was heard for as
// long as it may be silent, a plug behind a gateway that is away, everything
// while there is no connection to the broker. So neither a restart of the cloud
// nor an outage of the broker looks like trouble of something else.
//
// What comes in is bounded in size and number; what does not decode is counted,
// logged once per source and minute, and changes nothing.
package signals
