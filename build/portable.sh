#!/bin/sh
# mailapp @VERSION@, portable form: this text, and behind it an archive of the runtime and the program. It unpacks once
# into a cache, checked by its SHA-256, and from then on starts from there.
set -u
payload_sha256=@SHA256@
payload_offset=@OFFSET@

fail() {
  echo "mailapp: $1" >&2
  [ $# -lt 3 ] || echo "mailapp: $3" >&2
  exit "$2"
}

self=$0
case $self in */*) ;; *) self=$(command -v -- "$self" 2>/dev/null || echo "$self") ;; esac
[ -r "$self" ] || fail "cannot read $self" 77 "the program reads itself to start: chmod a+r $self"

uid=$(id -u)
system=/var/cache/mailapp
if [ -n "${MAILAPP_CACHE:-}" ]; then cache=$MAILAPP_CACHE
elif [ "$uid" = 0 ]; then cache=$system
elif [ -n "${CACHE_DIRECTORY:-}" ]; then cache=${CACHE_DIRECTORY%%:*}
elif [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/mailapp
elif [ -n "${HOME:-}" ]; then cache=$HOME/.cache/mailapp
else cache=
fi

# What another account may write, another account may have written.
trusted() {
  case $(stat -c '%u %A' "$1" 2>/dev/null) in
    "$uid "?????-??-?*|"0 "?????-??-?*) return 0 ;;
  esac
  return 1
}

# What root unpacked serves every account.
home=$system/$payload_sha256
if ! { [ -z "${MAILAPP_CACHE:-}" ] && [ -e "$home/complete" ] && trusted "$system" && trusted "$home"; }; then
  [ -n "$cache" ] || fail "no place to unpack: HOME, XDG_CACHE_HOME and MAILAPP_CACHE are not set" 73 \
    "set MAILAPP_CACHE to a folder of this account, or run it once as root"
  home=$cache/$payload_sha256
  if ! [ -e "$home/complete" ]; then
    fresh=$cache/.unpacking.$$
    (umask 022; mkdir -p "$cache") 2>/dev/null && [ -w "$cache" ] ||
      fail "cannot write to $cache, where the program unpacks itself once" 73 \
        "set MAILAPP_CACHE to a folder that can be written, or run it once as root to unpack into $system"
    trusted "$cache" || fail "$cache belongs to, or can be written by, another account" 77 \
      "set MAILAPP_CACHE to a folder that only this account can write"
    trap 'rm -rf "$fresh"' EXIT
    trap 'exit 130' INT TERM HUP
    found=$(tail -c "+$payload_offset" "$self" | sha256sum)
    [ "${found%% *}" = "$payload_sha256" ] ||
      fail "$self is damaged: its archive's SHA-256 is not what it should be" 65 "copy the file again, and compare its checksum"
    (
      umask 022
      mkdir "$fresh" && tail -c "+$payload_offset" "$self" | gzip -dc | tar -x -C "$fresh" -f - &&
        : >"$fresh/complete" && sync "$fresh"/* "$fresh"
    ) || fail "cannot unpack into $cache" 73 "it needs 110 MB there: df -h $cache"
    # Whoever comes second finds the first one's, which is the same.
    mv -T "$fresh" "$home" 2>/dev/null || [ -e "$home/complete" ] || fail "cannot rename $fresh to $home" 73
    rm -rf "$fresh"
    trap - EXIT INT TERM HUP
  fi
  trusted "$home" || fail "$home belongs to, or can be written by, another account" 77 "remove it, and start again"
fi
[ -x "$home/deno" ] || fail "programs cannot run from $home; is it on a file system mounted noexec?" 73 \
  "set MAILAPP_CACHE to a folder on another file system"

# Called as sendmail, through a link, it is sendmail.
case ${0##*/} in sendmail) set -- sendmail "$@" ;; esac
export DENO_NO_UPDATE_CHECK=1 MAILAPP_FORM=portable MAILAPP_SELF="$self"
DENO_DIR=${DENO_DIR:-$home/cache}
export DENO_DIR
exec "$home/deno" run --quiet --no-prompt --no-config --no-lock --cached-only @FLAGS@ "$home/mailapp.js" "$@"
