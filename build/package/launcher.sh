#!/bin/sh
# mailapp @VERSION@, as the Debian package has it.
set -u
home=/usr/lib/mailapp/@APP@
@LINK_NAMES@DENO_DIR=${DENO_DIR:-/var/cache/mailapp/@APP@}
export DENO_DIR DENO_NO_UPDATE_CHECK=1 DENO_NO_PACKAGE_JSON=1 MAILAPP_SELF=/usr/bin/mailapp
@LAUNCH@