#!/bin/sh
# Unpacks the mail servers that Debian's packages would not let stand beside Postfix, for tests/interop and bench.
# Nothing is installed or started. Run as root; running it again changes nothing.
set -eu

root=${MAILAPP_PEERS:-/var/cache/mailapp-test}

for account in Debian-exim opensmtpd opensmtpq; do
  getent passwd "$account" >/dev/null ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$account"
done

# OpenSMTPD has its helpers and two folders compiled in; over the latter each test mounts its own.
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd /usr/libexec/opensmtpd
chmod 711 /var/spool/smtpd

if [ ! -e "$root/unpacked" ]; then
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  # apt downloads as the account _apt where that can write.
  chmod 777 "$fresh"
  (cd "$fresh" && apt-get download -qq exim4-daemon-light exim4-base opensmtpd)
  mkdir -p "$root"
  for package in "$fresh"/*.deb; do dpkg -x "$package" "$root"; done
  touch "$root/unpacked"
fi
cp -a "$root/usr/libexec/opensmtpd/." /usr/libexec/opensmtpd/
