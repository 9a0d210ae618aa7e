// Package onboard brings a factory-new plug into the building's Wi-Fi: it looks
// at the plug at the plug's own access point, gives it a name and a time zone,
// sends it into the network and waits until it is found there.
//
// It is the one place from which commands go to a plug that can make it
// unreachable or worse. [Plug] sends set_stainfo, [Reset] sends reset; the others
// of that kind (set_mac_addr, set_test_mode, set_vgain_igain, start_calibration,
// download_firmware, flash_firmware) have no use in a building and are sent by
// nobody. None of them is repeated by itself.
//
// The passphrase of the Wi-Fi goes to the plug only: no error and no line that is
// told has it. The plug's protocol hides nothing, so whoever listens near the
// access point learns it; that is the plug's doing.
package onboard
