// Package enrolment is a box's side of becoming a gateway that the site trusts,
// and of staying one.
//
// The box draws its own key, which never leaves it, asks for a certificate with
// its one-time join token, and repeats the request until a person has approved
// it; later it renews the certificate from two thirds of its life. Meanwhile the
// plugs are polled and their readings kept as ever: nothing here touches the
// backlog or waits for anybody.
//
// It may be cut off at any moment. In its directory are
//
//	next.key      the key of the request under way, mode 0600
//	identity.pem  the key and its certificate, replaced in one step, mode 0600
//	ca.pem        the site's authority, where the configuration names none
//	joined        the hash of the join token that has been used up
//
// and each step leaves what the next start needs: the same key asks again, and
// the cloud answers the same key with the same certificate.
package enrolment
