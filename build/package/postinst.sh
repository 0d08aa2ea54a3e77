#!/bin/sh
# postinst of mailapp: the account and the directories; after an upgrade, restarts what runs.
set -e

units="@UNITS@"

case "$1" in
  configure) ;;
  *) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers mailapp.conf
elif ! getent passwd mailapp >/dev/null; then
  useradd --system --user-group --no-create-home --home-dir /var/lib/mailapp --shell /usr/sbin/nologin \
    --comment "mailapp mail server" mailapp
fi
if command -v systemd-tmpfiles >/dev/null; then
  systemd-tmpfiles --create mailapp.conf
fi

# What earlier versions have left there.
for old in /var/cache/mailapp/app-*; do
  [ "$old" = "/var/cache/mailapp/@APP@" ] || rm -rf "$old"
done

[ -d /run/systemd/system ] || exit 0
systemctl --system daemon-reload || true
# Units that mailapp install has written for this configuration; it keeps what was changed by hand.
if [ -e /etc/mailapp/config.toml ] && ls /etc/systemd/system/mailapp-*.service >/dev/null 2>&1; then
  mailapp install >/dev/null || echo "mailapp: the units in /etc/systemd/system were not renewed: run mailapp install"
fi
if [ -n "$2" ]; then
  for unit in $units; do
    # A server is "activating" until it answers.
    case $(systemctl show --property=ActiveState --value "$unit") in
      active | activating | reloading)
        deb-systemd-invoke restart "$unit" || echo "mailapp: $unit did not start again: journalctl -u $unit"
        ;;
    esac
  done
fi
