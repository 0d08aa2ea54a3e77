#!/bin/sh
# postrm of mailapp: purge removes configuration and caches. Mail, queue, keys and accounts stay.
set -e

if [ "$1" = purge ]; then
  rm -rf /var/cache/mailapp
  rm -f /etc/mailapp/config.toml
  if [ -d /etc/mailapp ]; then rmdir --ignore-fail-on-non-empty /etc/mailapp; fi
  # Also what mailapp install has written for this configuration.
  for unit in @UNITS@ mailapp-certificate.service mailapp-alert@.service; do
    rm -f "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.new" \
      "/etc/systemd/system/multi-user.target.wants/$unit" "/etc/systemd/system/timers.target.wants/$unit"
  done
  for file in /etc/sysusers.d/mailapp.conf /etc/logrotate.d/mailapp /etc/letsencrypt/renewal-hooks/deploy/mailapp; do
    rm -f "$file" "$file.new"
  done
  for left in /var/lib/mailapp /etc/mailapp; do
    [ ! -e "$left" ] || echo "mailapp: $left is left as it is"
  done
  echo "mailapp: mail in /var/mail is left as it is"
fi
if [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload || true
fi
