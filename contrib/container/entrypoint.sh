#!/bin/sh
# The entry point of the image: mailapp with its arguments. Where there is no configuration, MAILAPP_HOSTNAME and
# MAILAPP_MAILBOXES make one first. See docs/guide/containers.md.
set -euf

config=${MAILAPP_CONFIG:-/etc/mailapp/config.toml}
directory=$(dirname -- "$config")
# What the configuration was made from, and its text then.
made=$directory/.made

say() { printf 'mailapp: %s\n' "$1" >&2; }
fail() {
  say "$1"
  exit 78
}

make_config() {
  if [ -e "$config" ] && ! [ -e "$made" ]; then
    say "$config is there, and used: MAILAPP_HOSTNAME and the like are ignored"
    return
  fi
  [ -n "${MAILAPP_MAILBOXES-}" ] || fail "MAILAPP_HOSTNAME needs MAILAPP_MAILBOXES beside it, such as \"alice bob\""
  [ -w "$directory" ] ||
    fail "cannot write $config: mount a volume at $directory that belongs to uid $(id -u), or a configuration"
  # The servers of one pod start together, with the same volume.
  exec 9>"$directory/.lock"
  flock 9
  set -- --hostname "$MAILAPP_HOSTNAME" --data-dir /var/lib/mailapp --mail-path '/var/mail/{domain}/{user}'
  # Unquoted: several words.
  # shellcheck disable=SC2086
  set -- "$@" --mailbox $(printf %s "$MAILAPP_MAILBOXES" | tr ',\n' '  ')
  # shellcheck disable=SC2046
  [ -z "${MAILAPP_DOMAINS-}" ] || set -- "$@" --domain $(printf %s "$MAILAPP_DOMAINS" | tr ',\n' '  ')
  [ -z "${MAILAPP_CERT-}" ] || set -- "$@" --cert "$MAILAPP_CERT"
  [ -z "${MAILAPP_KEY-}" ] || set -- "$@" --key "$MAILAPP_KEY"
  case ${MAILAPP_SUBMISSION-no} in
    yes | true | 1) set -- "$@" --submission ;;
    no | false | 0 | '') ;;
    *) fail "MAILAPP_SUBMISSION is yes or no, not $MAILAPP_SUBMISSION" ;;
  esac
  if [ -e "$config" ]; then
    [ "$(head -n 1 "$made")" != "# $*" ] || return 0
    if ! tail -n +2 "$made" | cmp -s - "$config"; then
      say "the environment has changed, and so has $config, which is used: remove it to have it made anew"
      return
    fi
  fi
  rm -f "$config.new"
  mailapp init --yes --config "$config.new" "$@" >/dev/null || fail "no configuration could be made from the environment"
  { printf '# %s\n' "$*" && cat "$config.new"; } >"$made.new"
  mv "$made.new" "$made"
  mv "$config.new" "$config"
  say "$config: made from the environment; mailapp dns prints the records to publish"
}

case ${1-} in
  init | completion | help | -*) ;;
  *) [ -z "${MAILAPP_HOSTNAME-}" ] || make_config ;;
esac
# A server would keep the lock for as long as it runs.
exec 9>&-
exec mailapp "$@"
