#!/bin/sh
# prerm of mailapp: stops the servers before they are removed; messages in flight have 30 seconds.
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  for server in @UNITS@; do
    deb-systemd-invoke stop "$server" || true
  done
fi
