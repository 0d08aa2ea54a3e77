#!/bin/sh
# prerm of mailapp: stops what runs before it is removed; messages in flight have 30 seconds.
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  # The timer first: it starts the renewal.
  for unit in mailapp-certificate.timer mailapp-certificate.service @UNITS@; do
    case $(systemctl show --property=ActiveState --value "$unit") in
      active | activating | reloading) deb-systemd-invoke stop "$unit" || true ;;
    esac
  done
fi
