// Package doctor looks a gateway, a cloud or a site over and says what is wrong
// and what to do about it; and it packs what others need to help, without
// secrets.
//
// It looks from outside, over REST and a gateway's own page, and at the files of
// the machine it runs on. It changes nothing, and one thing that cannot be
// looked at is a finding and keeps it from none of the others. A support bundle
// holds only texts that went through [Scrub] or, for configuration files,
// through shared/config.Redact: what cannot be read so is left out and named.
package doctor
