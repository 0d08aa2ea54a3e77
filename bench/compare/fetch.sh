#!/bin/sh
# Gets the servers that `deno task compare` runs beside ours and that are no installed packages. Nothing is installed or
# started. Run as root; running it again changes nothing.
set -eu

root=${MAILAPP_PEERS:-/var/cache/mailapp-test}
"$(dirname "$0")/../../.ci/unpack_peers.sh"

# procmail is what chasquid delivers by.
if [ ! -e "$root/usr/bin/chasquid" ]; then
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  # apt downloads as the account _apt where that can write.
  chmod 777 "$fresh"
  (cd "$fresh" && apt-get download -qq chasquid procmail)
  for package in "$fresh"/*.deb; do dpkg -x "$package" "$root"; done
fi
if [ ! -e "$root/haraka/node_modules/Haraka" ]; then
  mkdir -p "$root/haraka"
  npm install --prefix "$root/haraka" --omit=optional --ignore-scripts --no-audit --no-fund \
    Haraka@3.3.4 haraka-plugin-dkim@1.3.1
fi
