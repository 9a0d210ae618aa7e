// Package flash makes the SD-card image, or the seed, that turns a bare box into
// the gateway of a floor without anybody logging in: the program, its systemd
// unit, its configuration, the site's certificate and a one-time join token, the
// time zone and the network.
//
// [Image] copies a Debian or Raspberry Pi OS image and puts a seed for cloud-init
// (data source NoCloud) into its FAT partition, without mounting anything;
// [Directory] and [ISO] write the same seed for boxes that take one. An output
// appears under its name only when it is whole: it is written beside it, synced,
// read back and compared byte by byte with the base image and the changes that
// were meant, and only then renamed. Whatever goes wrong before leaves nothing.
//
// Secrets (join token, Wi-Fi key) are in the output and nowhere else: in no
// error, log line or progress.
//
// How systems find the seed: Raspberry Pi OS from Debian 13 on and Ubuntu for the
// Pi look in the root of their boot partition; Debian's cloud images look for a
// file system labelled CIDATA, so their EFI partition gets that label, which
// nothing else of theirs goes by.
package flash
