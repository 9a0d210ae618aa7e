package enrolment

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/device"
	"github.com/wattline/wattline/shared/pki"
)

var bucket = []byte("enrolment")

const (
	maxInForce = 4 // certificates of one gateway: that in use and what renewals left
	// maxOutlawed is when renewals stop. None of the outlawed is forgotten before it
	// expires: for a broker that reads the list it would be good again.
	maxOutlawed = 64
)

// record is what is kept of one gateway.
type record struct {
	Trust    contract.Trust `json:"trust"`
	Join     *join          `json:"join,omitempty"`
	Asked    *asked         `json:"asked,omitempty"`
	InForce  []issued       `json:"in_force,omitempty"` // newest last
	Outlawed []outlawed     `json:"outlawed,omitempty"` // newest last
}

// join is a join token. Key is that of the box that used it first; it stays
// after approval, so that the box may ask again for what it was given.
type join struct {
	Hash    string        `json:"hash"`
	Expires device.Micros `json:"expires"`
	Key     string        `json:"key,omitempty"`
}

// asked is a request that waits, already checked.
type asked struct {
	Key    string        `json:"key"`
	Public []byte        `json:"public"`
	At     device.Micros `json:"at"`
}

// issued is a certificate in force, with what it takes to show and to renew it.
type issued struct {
	contract.Certificate

	Public []byte `json:"public"`
	PEM    string `json:"pem"`
}

func (i issued) publicKey() (*ecdsa.PublicKey, error) { return pki.ParsePublicKey(i.Public) }

// outlawed is a certificate that is not in force any more but has not expired.
type outlawed struct {
	contract.Certificate

	At device.Micros `json:"at"`
}

// read gives the record of a gateway, an empty one when there is none.
func read(tx *bbolt.Tx, gateway string) (r record, err error) {
	text := tx.Bucket(bucket).Get([]byte(gateway))
	if text == nil {
		return record{}, nil
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("enrolment of %s in the file: %w", gateway, err)
	}
	return r, nil
}

// put keeps a record and tells the audit log.
func put(tx *bbolt.Tx, gateway string, r record, e contract.Audited) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the enrolment of %s: %w", gateway, err)
	}
	if err := tx.Bucket(bucket).Put([]byte(gateway), text); err != nil {
		return fmt.Errorf("keep the enrolment of %s: %w", gateway, err)
	}
	return audit.Append(tx, e)
}

// expire leaves out what time has taken from the record.
func (r *record) expire(now device.Micros) {
	r.InForce = slices.DeleteFunc(r.InForce, func(i issued) bool { return i.Expires <= now })
	r.Outlawed = slices.DeleteFunc(r.Outlawed, func(o outlawed) bool { return o.Expires <= now })
	if r.Join != nil && r.Join.Key == "" && r.Join.Expires <= now {
		r.Join = nil
	}
}

// outlaw takes certificates out of force.
func (r *record) outlaw(now device.Micros, which func(issued) bool) (serials []string) {
	for _, i := range r.InForce {
		if which(i) {
			r.Outlawed = append(r.Outlawed, outlawed{i.Certificate, now})
			serials = append(serials, i.Serial)
		}
	}
	r.InForce = slices.DeleteFunc(r.InForce, which)
	return serials
}

// admit puts a certificate into force; beyond a few the oldest goes out of it.
func (r *record) admit(i issued, now device.Micros) {
	r.InForce = append(r.InForce, i)
	for len(r.InForce) > maxInForce {
		oldest := r.InForce[0].Serial
		r.outlaw(now, func(o issued) bool { return o.Serial == oldest })
	}
}

// held is the newest certificate in force of a key.
func (r *record) held(key string) (issued, bool) {
	for _, i := range slices.Backward(r.InForce) {
		if i.Key == key {
			return i, true
		}
	}
	return issued{}, false
}

// view is the record for people.
func (r *record) view(gateway string, now device.Micros) contract.Enrolment {
	r.expire(now)
	e := contract.Enrolment{Gateway: gateway, Trust: r.Trust, Certificates: r.certificates()}
	if r.Join != nil && r.Join.Key == "" {
		e.JoinExpires = &r.Join.Expires
	}
	if r.Asked != nil {
		e.Asked = &contract.Asked{Key: r.Asked.Key, At: r.Asked.At}
	}
	for _, o := range r.Outlawed {
		e.Revoked = append(e.Revoked, o.Certificate)
	}
	return e
}

func (r *record) certificates() []contract.Certificate {
	var all []contract.Certificate
	for _, i := range r.InForce {
		all = append(all, i.Certificate)
	}
	return all
}

func micros(t time.Time) device.Micros { return device.MicrosOf(t) }
