#!/bin/sh
# Puts the gateway in place at the first start of a flashed box. cloud-init runs
# it once, with the SHA-256 of the program; what it did not finish it does when run
# again.
# ROOT is for trying it out.
set -eu

want=$1
root=${ROOT:-}
say() { echo "wattline first-boot: $*" >&2; }

# The program lies where the seed was: in the boot partition, or on what the box
# was given.
found=
for dir in /boot/firmware /boot/efi /boot /var/lib/cloud/seed/nocloud; do
	if [ -f "$root$dir/wattline-edge" ]; then
		found=$root$dir
		break
	fi
done
mounted=
if [ -z "$found" ]; then
	for label in CIDATA cidata; do
		[ -e "$root/dev/disk/by-label/$label" ] || continue
		mounted=$root/run/wattline-seed
		mkdir -p "$mounted"
		mount -o ro "$root/dev/disk/by-label/$label" "$mounted"
		found=$mounted
		break
	done
fi
if [ -z "$found" ] || [ ! -f "$found/wattline-edge" ]; then
	say "the program is neither in the boot partition nor on a medium labelled CIDATA; install the package wattline-edge by hand"
	exit 1
fi
if ! echo "$want  $found/wattline-edge" | sha256sum -c - >/dev/null 2>&1; then
	say "$found/wattline-edge is damaged: flash the card again, or try another card"
	exit 1
fi

mkdir -p "$root/usr/bin"
install -m 0755 "$found/wattline-edge" "$root/usr/bin/wattline-edge.new"
mv "$root/usr/bin/wattline-edge.new" "$root/usr/bin/wattline-edge"
[ -z "$mounted" ] || umount "$mounted" || true

id wattline >/dev/null 2>&1 ||
	useradd --system --user-group --home-dir /var/lib/wattline --no-create-home --shell /usr/sbin/nologin wattline
mkdir -p "$root/var/lib/wattline"
chmod 0750 "$root/var/lib/wattline"
if [ -f "$root/etc/wattline/join.token" ]; then
	# The gateway deletes it once it is trusted, so it must be the owner.
	mv "$root/etc/wattline/join.token" "$root/var/lib/wattline/join.token"
	chmod 0600 "$root/var/lib/wattline/join.token"
fi
chown -R wattline:wattline "$root/var/lib/wattline"
chgrp wattline "$root/etc/wattline/edge.yaml"
chmod 0640 "$root/etc/wattline/edge.yaml"

systemctl enable wattline-edge.service
systemctl daemon-reload || true
systemctl try-restart systemd-timesyncd.service || true
systemctl restart wattline-edge.service

# What is secret need not stay where everybody with a card reader sees it. The
# instance is the same, so nothing runs again.
if [ -z "$mounted" ] && [ -w "$found/user-data" ]; then
	printf '#cloud-config\n{}\n' >"$found/user-data" || true
	rm -f "$found/wattline-edge" || true
	sync
fi
say "the gateway is installed"
