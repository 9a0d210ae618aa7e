package alerting

import "io"

// Copy writes the file of alerts and rules as it is at this moment, for a backup.
func (a *Alerting) Copy(w io.Writer) error { return a.archive.Copy(w) }
