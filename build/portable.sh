#!/bin/sh
# mailapp @VERSION@ for @TARGET@, portable form: this text, and behind it an archive of the runtime and the program. It
# unpacks once into a cache, checked by its SHA-256, and from then on starts from there.
set -u
payload_sha256=@SHA256@
payload_offset=@OFFSET@

fail() {
  printf 'mailapp: %s\n' "$1" >&2
  [ $# -lt 3 ] || printf 'mailapp: %s\n' "$3" >&2
  exit "$2"
}

# As "sh mailapp" is understood: the file here comes before one on PATH.
self=$0
case $self in
  */*) ;;
  *) if [ -f "./$self" ]; then self=./$self; else self=$(command -v "$self") || self=$0; fi ;;
esac
[ -r "$self" ] || fail "cannot read $self" 77 "the program reads itself to start: chmod a+r $self"

uid=$(id -u)
system=/var/cache/mailapp
# A relative one counts as none (XDG Base Directory Specification).
case ${XDG_CACHE_HOME:-} in /*) xdg=$XDG_CACHE_HOME ;; *) xdg= ;; esac
if [ -n "${MAILAPP_CACHE:-}" ]; then cache=$MAILAPP_CACHE
elif [ "$uid" = 0 ]; then cache=$system
elif [ -n "${CACHE_DIRECTORY:-}" ]; then cache=${CACHE_DIRECTORY%%:*}
elif [ -n "$xdg" ]; then cache=$xdg/mailapp
elif [ -n "${HOME:-}" ]; then cache=$HOME/.cache/mailapp
else cache=
fi

# What another account may write, another account may have written; a link counts with what it leads to.
trusted() {
  owners=$(stat -c %u -- "$@" 2>/dev/null) && folders=$(stat -L -c '%u %A' -- "$@" 2>/dev/null) || return 1
  for owner in $owners; do
    case $owner in "$uid" | 0) ;; *) return 1 ;; esac
  done
  set -- $folders
  while [ $# -gt 0 ]; do
    case "$1 $2" in "$uid d"????-??-?* | "0 d"????-??-?*) ;; *) return 1 ;; esac
    shift 2
  done
}

unpack() {
  (umask 022; mkdir -p -- "$cache") 2>/dev/null && [ -w "$cache" ] ||
    fail "cannot write to $cache, where the program unpacks itself once" 73 \
      "set MAILAPP_CACHE to a folder that can be written, or run it once as root to unpack into $system"
  trusted "$cache" || fail "$cache belongs to another account, or others can write to it" 77 \
    "set MAILAPP_CACHE to a folder that only this account can write to"
  # What a start left that was killed. Process ids repeat in containers, so the names are random.
  now=$(date +%s)
  for old in "$cache"/.unpacking.*; do
    made=$(stat -c %Y -- "$old" 2>/dev/null) && [ $((now - made)) -gt 3600 ] && rm -rf -- "$old"
  done
  found=$(tail -c "+$payload_offset" -- "$self" | sha256sum)
  [ "${found%% *}" = "$payload_sha256" ] ||
    fail "$self is damaged: its archive's SHA-256 is not what it should be" 65 \
      "copy the file again, and compare it with its .sha256"
  fresh=$(umask 022; mktemp -d -- "$cache/.unpacking.XXXXXXXX") || fail "cannot write to $cache" 73
  trap 'rm -rf -- "$fresh"' EXIT
  trap 'exit 130' INT TERM HUP
  (
    umask 022
    tail -c "+$payload_offset" -- "$self" | gzip -dc | tar -x -C "$fresh" -f - && [ -s "$fresh/app/entry.js" ] &&
      : >"$fresh/complete" && chmod 755 "$fresh" && sync "$fresh"/app/* "$fresh"/* "$fresh"
  ) || fail "cannot unpack into $cache" 73 "it needs 110 MB there: df -h $cache"
  [ -x "$fresh/deno" ] || cannot_run
  "$fresh/deno" --version >/dev/null ||
    fail "the runtime does not run here; it is for @TARGET@, and this is $(uname -m)" 69
  # Whoever comes second finds the first one's, which is the same.
  mv -T -- "$fresh" "$home" 2>/dev/null || [ -e "$home/complete" ] ||
    fail "cannot rename $fresh to $home" 73 "if $home is there, remove it"
  rm -rf -- "$fresh"
  trap - EXIT INT TERM HUP
}

cannot_run() {
  fail "programs cannot run from $cache; is it on a file system mounted noexec?" 73 \
    "set MAILAPP_CACHE to a folder on another file system"
}

# What root unpacked serves every account.
home=$system/$payload_sha256
if [ -n "${MAILAPP_CACHE:-}" ] || ! [ -e "$home/complete" ] || ! trusted "$system" "$home"; then
  case $cache in
    /*) ;;
    '') fail "no place to unpack: HOME, XDG_CACHE_HOME and MAILAPP_CACHE are not set" 73 \
      "set MAILAPP_CACHE to a folder of this account, or run it once as root to unpack into $system" ;;
    *) fail "$cache, where the program would unpack itself, is not an absolute path" 64 ;;
  esac
  home=$cache/$payload_sha256
  [ -e "$home/complete" ] || unpack
  trusted "$cache" "$home" || fail "$home belongs to another account, or others can write to it" 77 \
    "set MAILAPP_CACHE to a folder of this account, or run it once as root to unpack into $system"
else
  cache=$system
fi
[ -x "$home/deno" ] || cannot_run

# Called by such a name, through a link, it is that program.
@LINK_NAMES@DENO_DIR=${DENO_DIR:-$home/cache}
export DENO_DIR DENO_NO_UPDATE_CHECK=1 DENO_NO_PACKAGE_JSON=1 MAILAPP_SELF="$self"
@LAUNCH@