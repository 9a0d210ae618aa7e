package doctor

import (
	"regexp"
	"strings"

	"github.com/wattline/wattline/shared/config"
)

// hidden stands where a secret was.
const hidden = "[secret]"

// secretWords are parts of the names of things that nobody else should see.
var secretWords = []string{"password", "passwd", "passphrase", "secret", "token", "credential", "psk", "authorization", "cookie", "private", "signature", "environment", "api_key", "apikey"}

// secretName tells whether what is called so may be a secret. A number of tokens
// is none, but it is no loss either.
func secretName(name string) bool {
	name = strings.ToLower(name)
	if name == "tokens" { // whether they are asked for
		return false
	}
	if name == "key" || name == "hash" || strings.HasSuffix(name, "_key") {
		return true
	}
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// patterns are the forms that secrets have in texts of any kind, and what
// becomes of them.
var patterns = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`), hidden},
	// Wattline's own tokens, people's and gateways'. Names of figures begin so,
	// too, and have no capitals.
	{regexp.MustCompile(`wattline_[a-z0-9_-]*[A-Z][A-Za-z0-9_-]{4,}`), hidden},
	{regexp.MustCompile(`\b([Bb]earer|Basic|Token)(\s+)[A-Za-z0-9._~+/=:-]{6,}`), "$1$2" + hidden},
	// The password of a URL.
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#"'<>@]*@`), "$1" + hidden + "@"},
	// "password": "..." and password=... with whatever stands around the word.
	{regexp.MustCompile(`(?i)(["']?[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|credential|psk|api_?key|authorization|signature|"hash)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&}\])]+)`), "${1}\"" + hidden + "\""},
	{regexp.MustCompile(`(?i)([?&][a-z_]*(?:password|token|secret|p|u)=)[^\s&"']+`), "$1" + hidden},
}

// wordlike are runs that may be a secret whatever stands around them: 32 and
// more letters and digits, base64 or not. Numbers in hex, such as the ids of
// plugs and the digests of batches, are none.
var (
	wordlike = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}={0,2}`)
	plainHex = regexp.MustCompile(`^(?:[0-9a-f-]+|[0-9A-F-]+)$`)
)

// Scrub is text without what may be a secret: private keys, tokens, passwords in
// URLs and behind names that say so, and long random words. It takes too much
// rather than too little.
func Scrub(text string) string {
	for _, p := range patterns {
		text = p.form.ReplaceAllString(text, p.with)
	}
	return wordlike.ReplaceAllStringFunc(text, scrubWord)
}

// scrubWord hides a word that may be drawn at random. A path is words between
// slashes, of which base64 has one in 64.
func scrubWord(word string) string {
	if strings.Count(word, "/")*16 > len(word) {
		parts := strings.Split(word, "/")
		for i, part := range parts {
			if wordlike.MatchString(part) {
				parts[i] = scrubWord(part)
			}
		}
		return strings.Join(parts, "/")
	}
	if plainHex.MatchString(word) || !random(word) {
		return word
	}
	return hidden
}

// random tells a word that is drawn from one that is written: with capitals,
// small letters and digits all mixed.
func random(word string) bool {
	return strings.ContainsAny(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(word, "abcdefghijklmnopqrstuvwxyz") &&
		strings.ContainsAny(word, "0123456789")
}

// scrubConfig is a configuration file without secrets and comments.
func scrubConfig(text []byte) ([]byte, error) {
	out, err := config.Redact(text, secretName, Scrub)
	if err != nil {
		return nil, err
	}
	return []byte(Scrub(string(out))), nil
}
