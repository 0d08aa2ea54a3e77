#!/bin/sh
# Runs a command apart from the rest of the machine, as root: in a network of its own, where ports 25 and 53 are free; with
# $TMPDIR in a folder that goes at the end; and so that no process of it is left, however it ends.
set -eu

if [ "${MAILAPP_APART-}" = yes ]; then
  ip link set lo up
  # OpenSMTPD looks up no IPv4 address on a machine that has none but 127.0.0.1.
  ip address add 192.0.2.1/32 dev lo
  # Postfix logs nowhere else.
  mkdir "$TMPDIR/log"
  mount --bind "$TMPDIR/log" /var/log
  # Without exec: this is process 1, with whose end the others are killed.
  "$@"
  exit
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/mailapp-compare-XXXXXX")
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
MAILAPP_APART=yes TMPDIR=$folder unshare --net --pid --fork --kill-child --mount-proc sh "$0" "$@"
