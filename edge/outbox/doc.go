// Package outbox is the gateway's durable buffer: it accepts readings, keeps
// them on disk in batches, and forgets a batch only for a receipt.
//
// The guarantee: a reading is accepted when its batch is committed with fsync,
// before anybody tries to send it; from then on it survives any end of the
// process and, as far as the disk keeps its word, of the power. A batch has an
// id that is never given to another content. When the disk or the limit is full
// the oldest batches make room, and a tombstone in their place says which.
//
// The file is one bbolt database:
//
//	meta       newest time, counts of what waits
//	epochs     ordinal -> epoch, last sequence     (one per run; old ones go when nothing of them waits)
//	batches    ordinal, sequence -> block          (in the order of sending)
//	aside      ordinal, sequence -> time set aside
//	marks      ordinal, sequence -> what the status says of a tombstone or a batch dated before earlier ones
//	boots      boot id -> newest time known when it began
//	unclocked  boot id, number -> readings whose time is not known yet
//
// A block is the payload as it goes over the wire, behind a header by which
// salvage finds it in a broken file:
//
//	magic "WLB1" | epoch 8 | sequence 8 | readings 4 | length 4 | CRC-32C 4 | payload
package outbox
