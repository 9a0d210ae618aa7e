// Package restore brings a backup back: days into InfluxDB, files of roles below a
// data directory.
//
// All files are read and compared before anything is written; a backup that is
// damaged is passed over for the one before, and that is said. What is there
// already stays, unless the caller says otherwise. Points that are brought back
// twice are the same points, so that a restore that was killed goes on where it
// was. The ledger comes after the readings: at no moment it claims what is not
// there.
package restore
