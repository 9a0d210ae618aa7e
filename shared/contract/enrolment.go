package contract

import "github.com/wattline/wattline/shared/device"

// Certificate is one that is in force, or was.
type Certificate struct {
	// Serial is the number in lower-case hex digits, by which the broker knows it.
	Serial string `json:"serial"`
	// Key is the SHA-256 of the public key (SubjectPublicKeyInfo), hex digits.
	Key     string        `json:"key"`
	Issued  device.Micros `json:"issued"`
	Expires device.Micros `json:"expires"`
}

// Enrolment is how far a gateway's trust has come, as the registry lists it.
type Enrolment struct {
	Gateway string `json:"gateway"`
	Trust   Trust  `json:"trust"`
	// JoinExpires is when the join token ends that no box has used up; nil when
	// there is none.
	JoinExpires *device.Micros `json:"join_expires,omitempty"`
	// Asked is the request that waits for approval; nil when none does.
	Asked *Asked `json:"asked,omitempty"`
	// Certificates are in force, the newest last.
	Certificates []Certificate `json:"certificates,omitempty"`
	// Revoked are the newest that are not, though they have not expired.
	Revoked []Certificate `json:"revoked,omitempty"`
}

// Asked is a box's request for a certificate. Key is what a person compares with
// what the box shows before approving.
type Asked struct {
	Key string        `json:"key"`
	At  device.Micros `json:"at"`
}

// Join is a one-time join token, shown once.
type Join struct {
	Gateway string        `json:"gateway"`
	Token   string        `json:"join_token"`
	Expires device.Micros `json:"expires"`
}

// EnrolmentRequest is what a box sends: with JoinToken to enrol, repeated until
// it is answered with a certificate; with Signature to renew.
type EnrolmentRequest struct {
	Gateway   string `json:"gateway"`
	JoinToken string `json:"join_token,omitempty"`
	// CSR is a certificate request (RFC 2986) as PEM.
	CSR string `json:"csr"`
	// Signature is that of the request by the key in force, base64; see
	// pki.SignRenewal.
	Signature string `json:"signature,omitempty"`
}

// EnrolmentAnswer answers an [EnrolmentRequest]: Pending while a person has to
// approve, then Trusted, with the certificate and that of the site as PEM.
type EnrolmentAnswer struct {
	State       Trust  `json:"state"`
	Certificate string `json:"certificate,omitempty"`
	CA          string `json:"ca,omitempty"`
}
