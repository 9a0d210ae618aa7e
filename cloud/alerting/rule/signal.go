package rule

import "slices"

// Kind is what a signal is about.
type Kind string

// The kinds of subjects.
const (
	OfDevice  Kind = "device"
	OfGateway Kind = "gateway"
	OfSite    Kind = "site"
)

// Signal is something that can be watched, one number at a time. A text, such as
// a firmware, is watched for changes only.
type Signal struct {
	Name string
	Kind Kind
	Unit string
	Text bool // no numbers
	// Doc says what the number is.
	Doc string
}

// Facts are the signals beside the measurements of devices. Their names have a
// point, those of measurements stored by Wattline's gateways have none.
var Facts = []Signal{
	{Name: "plug.reached", Kind: OfDevice, Doc: "1 when the gateway reads the plug, 0 when it does not; unknown while the gateway is away"},
	{Name: "plug.locked", Kind: OfDevice, Doc: "1 when the plug's firmware refuses local control"},
	{Name: "plug.firmware", Kind: OfDevice, Text: true, Doc: "the firmware that the plug tells"},
	{Name: "plug.suspects", Kind: OfDevice, Doc: "implausible values since the gateway's start"},
	{Name: "gateway.online", Kind: OfGateway, Doc: "1 while it beats, 0 after its last will or 30 s of silence"},
	{Name: "gateway.data_age", Kind: OfGateway, Unit: "s", Doc: "time since its newest reading came, while it is online and has plugs that it reaches"},
	{Name: "gateway.outbox", Kind: OfGateway, Unit: "%", Doc: "how full its outbox is"},
	{Name: "gateway.oldest", Kind: OfGateway, Unit: "s", Doc: "age of the oldest reading that waits in its outbox"},
	{Name: "gateway.dropped", Kind: OfGateway, Doc: "readings that its outbox dropped or could not take"},
	{Name: "gateway.set_aside", Kind: OfGateway, Doc: "batches that nobody receipts although others are"},
	{Name: "gateway.damaged", Kind: OfGateway, Doc: "1 when it moved a damaged outbox aside"},
	{Name: "gateway.clock_offset", Kind: OfGateway, Unit: "s", Doc: "its clock less the cloud's, as a number without sign; the way of the message included"},
	{Name: "gateway.clock_unset", Kind: OfGateway, Doc: "1 while its clock was never set"},
	{Name: "gateway.config_refused", Kind: OfGateway, Doc: "1 while it does not run the newest configuration"},
	{Name: "gateway.certificate", Kind: OfGateway, Unit: "d", Doc: "days until its certificate expires; none without one"},
	{Name: "gateway.missing", Kind: OfGateway, Doc: "batches that the ledger misses"},
	{Name: "gateway.clones", Kind: OfGateway, Doc: "runs that grow beside the newest one: two boxes with one identity"},
	{Name: "site.store", Kind: OfSite, Doc: "1 when the cloud answers a question from InfluxDB, 0 when it does not"},
	{Name: "site.store_time", Kind: OfSite, Unit: "s", Doc: "how long such an answer takes"},
	{Name: "site.quarantine", Kind: OfSite, Doc: "batches in the quarantine"},
	{Name: "site.disk", Kind: OfSite, Unit: "%", Doc: "how full the disk of the cloud's data is"},
	{Name: "site.backup_age", Kind: OfSite, Unit: "h", Doc: "time since the newest good backup; none where no backups are set up"},
	{Name: "site.backup_verified_age", Kind: OfSite, Unit: "h", Doc: "time since a backup was last restored for trial"},
	{Name: "site.receivers_failing", Kind: OfSite, Doc: "receivers of notifications that do not take them"},
}

// SignalOf finds a fact by its name. Any other name is a measurement of devices.
func SignalOf(name string) (s Signal, fact bool) {
	i := slices.IndexFunc(Facts, func(s Signal) bool { return s.Name == name })
	if i < 0 {
		return Signal{Name: name, Kind: OfDevice}, false
	}
	return Facts[i], true
}
