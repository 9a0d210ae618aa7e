// Package pki is the trust of one site: keys, the site's certificate authority,
// certificate requests, certificates and the TLS settings made of them.
//
// All keys are ECDSA P-256. The authority belongs to one site, so that what
// another site has issued never verifies here. Who a certificate is for stands
// in its subject: the common name is the gateway's id, the role's or the
// server's name, the organizational unit the [Kind]. Nothing but the public key
// and the claimed name is taken from a request; the issuer says the rest.
//
// Private keys are files of mode 0600 that are written once: nothing here
// overwrites a key.
package pki
