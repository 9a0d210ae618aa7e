package enrolment

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"github.com/wattline/wattline/cloud/registry/audit"
	"github.com/wattline/wattline/shared/contract"
	"github.com/wattline/wattline/shared/pki"
)

// betweenRenewals keeps a box gone wild from filling the audit log.
const betweenRenewals = time.Minute

// decode reads what a box sends and checks its request for a certificate.
func decode(r contract.RegistryRequest) (contract.EnrolmentRequest, *pki.Request, error) {
	var e contract.EnrolmentRequest
	if err := json.Unmarshal(r.Content, &e); err != nil {
		return e, nil, problem(contract.Invalid, "the enrolment is not an object with gateway, csr, and join_token or signature")
	}
	if !contract.IsGatewayID(e.Gateway) || reserved[e.Gateway] {
		return e, nil, problem(contract.Invalid, "gateway: %.80q is not the id of a gateway", e.Gateway)
	}
	csr, err := pki.ParseRequest([]byte(e.CSR), pki.Gateway, e.Gateway)
	if err != nil {
		return e, nil, problem(contract.Invalid, "csr: %v", err)
	}
	return e, csr, nil
}

// Why a box is sent away. A stranger learns no more than that: whether a gateway
// exists, and which of its tokens are in force, is nobody's business.
const (
	badToken   = "the join token is not in force for this gateway: it is another's or another site's, it has expired, or a newer one was made; make one with wattline gateways join-token"
	usedToken  = "another box has used this join token: make a new one for this box, and refuse or revoke the other if it is not yours"
	badRenewal = "the renewal is not signed by a key in force: the certificate has expired or was revoked; enrol again with a new join token"
)

// request is a box with a join token. It may come as often as it likes: only the
// first time changes anything.
func (s *Store) request(r contract.RegistryRequest) (any, error) {
	e, csr, err := decode(r)
	if err != nil {
		return nil, err
	}
	var out contract.EnrolmentAnswer
	err = s.change(e.Gateway, func(record *record) (entry *contract.Audited, err error) {
		out, entry, err = s.admitBox(r, e, csr, record)
		return entry, err
	})
	return out, s.noted(r, e.Gateway, "enrol", err)
}

func (s *Store) admitBox(r contract.RegistryRequest, e contract.EnrolmentRequest, csr *pki.Request, record *record) (contract.EnrolmentAnswer, *contract.Audited, error) {
	none, key, now := contract.EnrolmentAnswer{}, csr.Fingerprint(), micros(s.options.Clock())
	token := record.Join
	if token == nil || subtle.ConstantTimeCompare([]byte(token.Hash), []byte(hash(e.JoinToken))) != 1 {
		return none, nil, problem(contract.Denied, badToken)
	}
	if token.Key != "" && token.Key != key {
		return none, nil, problem(contract.Denied, usedToken)
	}
	if given, ok := record.held(key); ok && token.Key == key {
		return s.certificate(given), nil, nil // asks again for what it was given
	}
	pending := contract.EnrolmentAnswer{State: contract.Pending}
	if record.Asked != nil && record.Asked.Key == key {
		return pending, nil, nil
	}
	if token.Key != "" || token.Expires <= now { // used up, or too old
		return none, nil, problem(contract.Denied, badToken)
	}
	public, err := pki.EncodePublicKey(csr.Key)
	if err != nil {
		return none, nil, err
	}
	token.Key, record.Asked = key, &asked{Key: key, Public: public, At: now}
	if len(record.InForce) == 0 {
		record.Trust = contract.Pending
	}
	entry := by(r, e.Gateway, "ask to enrol")
	entry.Who, entry.Detail = "box of "+e.Gateway, "key "+key
	return pending, &entry, nil
}

func (s *Store) certificate(i issued) contract.EnrolmentAnswer {
	a := contract.EnrolmentAnswer{State: contract.Trusted, Certificate: i.PEM}
	if s.authority != nil {
		a.CA = string(s.authority.PEM())
	}
	return a
}

// issue makes a certificate for a gateway's key.
func (s *Store) issue(gateway string, public []byte) (issued, error) {
	if s.authority == nil {
		return issued{}, problem(contract.NotNow, "%v", pki.ErrNoAuthority)
	}
	key, err := pki.ParsePublicKey(public)
	if err != nil {
		return issued{}, err
	}
	now := s.options.Clock()
	text, c, err := s.authority.Issue(pki.Gateway, gateway, key, nil, now)
	if err != nil {
		return issued{}, err
	}
	return issued{
		Certificate: contract.Certificate{Serial: pki.Serial(c), Key: pki.KeyFingerprint(key), Issued: micros(now), Expires: micros(c.NotAfter)},
		Public:      public, PEM: string(text),
	}, nil
}

// renew is a box whose certificate comes of age. The one it has stays in force
// until it expires: the answer may be lost.
func (s *Store) renew(r contract.RegistryRequest) (any, error) {
	e, csr, err := decode(r)
	if err != nil {
		return nil, err
	}
	var out contract.EnrolmentAnswer
	err = s.change(e.Gateway, func(record *record) (entry *contract.Audited, err error) {
		out, entry, err = s.admitRenewal(r, e, csr, record)
		return entry, err
	})
	return out, s.noted(r, e.Gateway, "renew certificate", err)
}

func (s *Store) admitRenewal(r contract.RegistryRequest, e contract.EnrolmentRequest, csr *pki.Request, record *record) (contract.EnrolmentAnswer, *contract.Audited, error) {
	none, now := contract.EnrolmentAnswer{}, micros(s.options.Clock())
	signed := false
	for _, i := range record.InForce {
		if key, err := i.publicKey(); err == nil && pki.VerifyRenewal(key, []byte(e.CSR), e.Signature) {
			signed = true
		}
	}
	if !signed {
		return none, nil, problem(contract.Denied, badRenewal)
	}
	if given, ok := record.held(csr.Fingerprint()); ok && now < given.Expires-(given.Expires-given.Issued)/3 {
		return s.certificate(given), nil, nil // asks again for what it was given
	}
	if newest := record.InForce[len(record.InForce)-1]; now < newest.Issued.Add(betweenRenewals) {
		return none, nil, problem(contract.NotNow, "a certificate of %s was issued less than %v ago", e.Gateway, betweenRenewals)
	}
	if len(record.Outlawed) >= maxOutlawed {
		return none, nil, problem(contract.NotNow, "%s has renewed its certificate %d times before it was due: whoever has its key runs wild; revoke it and enrol the box again", e.Gateway, len(record.Outlawed))
	}
	public, err := pki.EncodePublicKey(csr.Key)
	if err != nil {
		return none, nil, err
	}
	fresh, err := s.issue(e.Gateway, public)
	if err != nil {
		return none, nil, err
	}
	record.admit(fresh, now)
	entry := by(r, e.Gateway, "renew certificate")
	entry.Who, entry.Detail = "gateway "+e.Gateway, "key "+fresh.Key+", certificate "+fresh.Serial
	return s.certificate(fresh), &entry, nil
}

// noted enters it into the audit log when a box is sent away.
func (s *Store) noted(r contract.RegistryRequest, gateway, what string, err error) error {
	p, ok := errors.AsType[*contract.Problem](err)
	if !ok || s.options.Note == nil || p.Kind != contract.Denied && p.Kind != contract.NotFound {
		return err
	}
	entry := by(r, gateway, what)
	entry.Who, entry.Result, entry.Detail = "box of "+gateway, audit.Refused, p.Detail
	if p.Kind == contract.NotFound { // a stranger does not learn which gateways there are
		err = problem(contract.Denied, badToken)
	}
	return errors.Join(err, s.options.Note(entry))
}
