#!/bin/sh
# An agent: measures a temperature every minute and hands it in by mosquitto_pub.
# A reading is a file until the receipt for exactly these bytes has come, so that
# neither a broker that is away nor a restart loses one.
set -eu

: "${BROKER_HOST:=127.0.0.1}" "${BROKER_PORT:=1883}"
: "${SOURCE:=thermometer}"  # the agent's name: one level of the topic
: "${DEVICE:=thermo_x0}"    # what is measured
: "${DATABASE:=sp}"
: "${EVERY:=60}"            # seconds
: "${SPOOL:=/var/tmp/$SOURCE}"
: "${KEEP:=10000}"          # most readings that wait
: "${MEASURE:=awk '{ print \$1 / 1000 }' /sys/class/thermal/thermal_zone0/temp}"

receipts=responses/$SOURCE/receipts
mkdir -p "$SPOOL"
rm -f "$SPOOL/fifo"
mkfifo "$SPOOL/fifo"

# forget deletes the readings that a receipt names by id and digest. Answers that
# name no digest, errors among them, delete nothing.
forget() {
	for file in "$SPOOL"/*.json; do
		[ -e "$file" ] || continue
		id=$(basename "$file" .json)
		case $1 in *"\"$id\""*) ;; *) continue ;; esac
		digest=$(sha256sum "$file" | cut -c 1-16)
		case $1 in *"\"$digest\""*) rm -f "$file" ;; esac
	done
}

# listen hears the receipts; when mosquitto_sub ends it is started again.
listen() {
	while :; do
		mosquitto_sub -h "$BROKER_HOST" -p "$BROKER_PORT" -q 1 -t "$receipts" >"$SPOOL/fifo" 2>/dev/null &
		echo $! >"$SPOOL/listener"
		while read -r receipt; do forget "$receipt"; done <"$SPOOL/fifo"
		sleep 1
	done
}

# measure makes a file of one reading; the rename makes it whole or not at all.
measure() {
	value=$(sh -c "$MEASURE") || return 0
	case $value in '' | *[!0-9.-]*) echo "no number: $value" >&2 && return 0 ;; esac
	now=$(date +%s)
	id=$DEVICE-$now
	printf '{"id":"%s","response_topic":"%s","data":[{"bn":"%s/","n":"temperature","u":"Cel","t":%s,"v":%s}]}' \
		"$id" "$receipts" "$DEVICE" "$now" "$value" >"$SPOOL/new"
	mv "$SPOOL/new" "$SPOOL/$id.json"
}

# trim drops the oldest readings when too many wait, and says so.
trim() {
	set -- "$SPOOL"/*.json
	while [ $# -gt "$KEEP" ]; do
		echo "dropped $1" >&2
		rm -f "$1"
		shift
	done
}

# send publishes all that waits, the oldest first. What was on its way already is
# sent again: storing twice is harmless.
send() {
	for file in "$SPOOL"/*.json; do
		[ -e "$file" ] || continue
		mosquitto_pub -h "$BROKER_HOST" -p "$BROKER_PORT" -q 1 -t "data/$SOURCE/influx_data/$DATABASE" -f "$file" 2>/dev/null || return 0
	done
}

listen &
listening=$!
trap 'kill "$listening" $(cat "$SPOOL/listener") 2>/dev/null || :' EXIT
trap 'exit 0' INT TERM

while :; do
	measure
	trim
	send
	sleep "$EVERY" &
	wait $! || :
done
