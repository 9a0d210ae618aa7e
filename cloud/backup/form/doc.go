// Package form is what a backup is made of: the manifest, the names of files, and
// how a file is compressed, encrypted and checked. It touches neither disk nor
// network.
//
// A store of backups looks like this:
//
//	wattline-backup.json                      whose store it is
//	backups/<sequence>-<time>-<sha256>.json.zst   one manifest per backup
//	objects/<2 hex>/<sha256>                  a file, named after its own bytes
//
// A backup exists when its manifest does, and the manifest is written last. Its
// name and those of the objects say what their bytes are, so that whatever a disk
// or a store has made of them shows. Several manifests name the same object: a day
// that has not changed is kept once.
//
// A day is line protocol with times in nanoseconds, of one database, one group of
// measurements and one day of UTC, sorted by measurement, series and time, so that
// the same points are the same bytes, whichever InfluxDB they come from.
package form
