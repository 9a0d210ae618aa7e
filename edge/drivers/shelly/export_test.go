package shelly

// ParseStatus and ParseInfo read what comes from outside: the fuzzer reaches them
// without a network.
var (
	ParseStatus = parseStatus
	ParseInfo   = parseInfo
)
