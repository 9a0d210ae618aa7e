// Package broker is the MQTT broker inside wattline-cloud, for sites that have
// none of their own: mochi-mqtt on loopback, with limits around it. It owns that
// library; everybody else speaks to it over MQTT.
//
// It keeps nothing on disk and no session beyond its connection. That loses
// nothing: publishers of retained messages publish them again after each
// reconnect, and a batch of readings is its gateway's until the receipt.
//
// # Limits
//
// No client can make the broker grow without bound, wait or panic. A connection
// that does not say CONNECT in ten seconds, or that begins a packet and does not
// go on with it, is closed; of those that have said nothing yet only the newest
// few hundred are kept. Large packets share one budget of memory while they
// arrive. What a client is sent waits in a bounded buffer that is written by a
// goroutine of its own, because mochi 2.7.9 holds the client's lock while it
// writes, and a publisher that wants to reach a client that no longer reads
// would wait with it. When that buffer or what the client has not acknowledged
// is too large, further messages to it are dropped and counted; a client that
// takes nothing for ten seconds is closed. Retained messages are bounded in
// number and size, subscriptions in number and depth. Two connections with one
// client id never overlap: the older has gone, its will published, before the
// newer is welcomed.
//
// # Who may do what
//
// [Allowed] holds the rules, as a function of nothing but who, what and where.
// Who a client is depends on the listener.
//
// With TLS (Config.TLS) everybody shows a certificate that the site's authority
// has issued, and is what it says: a gateway, whose client id must be
// <gateway>-<epoch>, or a role of the cloud. A gateway's certificate must be one of
// those that the registry has told to be in force ([Broker.Trust]): until it has
// spoken, nobody comes in, and who is revoked is thrown out at once. A connection
// ends with its certificate.
//
// The plain listener is on loopback and nowhere else; there everybody says who he
// is:
//
//   - a role of the cloud gives the user name "wattline" and Config.Password. With
//     no password configured every client that claims to be nobody else counts as
//     one;
//   - a gateway is a client whose will is on gateways/<gateway>/status; its id must
//     be <gateway>-<epoch>. The broker believes the claim and holds it to it, unless
//     the registry has enrolled that gateway: such a one comes with TLS;
//   - everybody else is a guest: agents of other makers, IoToad's clients, somebody
//     with mosquitto_sub. Guests send data under every name but those of enrolled
//     gateways, queries, commands and answers, and topics that are not ours; they
//     cannot publish receipts, registry, configuration, commands to gateways, states
//     and alerts, nor ask the registry or the alerting; nor can they hear the
//     registry, what these two are asked, and what the api is answered, where new
//     tokens pass. Alerts they hear.
//
// Two boxes with one certificate have two epochs and so two client ids: both stay
// connected and both are heard. The ledger tells of them.
//
// Breaches are counted, logged sparingly and handed to [OnRefusal].
package broker
