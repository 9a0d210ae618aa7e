// Package enrolment is the registry's room of trust in gateways: one-time join
// tokens, requests of boxes, their approval, certificates, renewal and
// revocation.
//
//	           join            request            approve
//	(nothing) -----> expected ---------> pending ---------> trusted
//	                    ^       refuse      |                  |
//	                    +-------------------+      revoke      v
//	                    +---------------- join ----------- revoked
//
// A join token is 256 random bits, shown once, kept as SHA-256, and bound to the
// first key that comes with it: nobody gets a certificate with a token that
// somebody else has used. A box repeats its request until it is answered, so a
// lost answer costs nothing. A gateway that is trusted may be given a new token
// for a new box; what its older certificates may is not changed by that, for an
// older box may still hold readings, until a person revokes it.
//
// Each change and its entry in the audit log are one transaction. In the file it
// is the bucket enrolment, gateway to JSON; nothing in it is secret.
package enrolment
