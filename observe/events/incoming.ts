/**
 * Events of sessions, mailboxes and checks. See `events.ts`.
 *
 * @module
 */
import type { EventGroup } from "../events.ts";

/** Accounts and guessing. */
export const ACCOUNT_EVENTS: EventGroup = {
  title: "Accounts and guessing",
  intro: "These come from serve-submit.",
  events: [
    [
      "accounts.read",
      "info",
      "`path`, `accounts`",
      "the file of accounts was read, at the start or because it has changed",
    ],
    [
      "accounts.kept",
      "error",
      "`path`, `error`, `accounts`",
      "the file has changed and cannot be used: the accounts of before stay in force",
    ],
    [
      "accounts.exposed",
      "warn",
      "`path`, `action`",
      "every account of the machine can read or change the file",
    ],
    [
      "login.paused",
      "warn",
      "`scope`, `what`, `login`, `failures`, `seconds`",
      "a pause has begun: `scope` is `address` (IPv6: /64), `network` (/24, /48) or `login`, `what` is which; `login` is the last one that was tried. Of a login under attack each address that has failed may try once in that many seconds",
    ],
    [
      "login.limited",
      "warn",
      "`login`, `limit`, `value`",
      "a login has reached a limit of `[serve-submit]`, and gets 450 until the limit allows more; logged once an hour",
    ],
    [
      "limits.not_kept",
      "warn",
      "`path`, `error`",
      "what logins have sent cannot be read or written: after a restart counting starts again",
    ],
  ],
};

/** Sessions and messages. */
export const SESSION_EVENTS: EventGroup = {
  title: "Sessions and messages",
  intro:
    "These come from the SMTP engine, which both servers share. Those of a session have `session` and `peer`.",
  events: [
    ["session.opened", "debug", "`local`", "a client has connected"],
    [
      "session.closed",
      "info",
      "`reason`, `messages`, `hello`, `tls`, `errors`, `refused_recipients`, `refusals`, `seconds`, `from`, `to`, `probe`",
      "how the session ended: `quit`, `closed by the peer`, `timeout`, `TLS handshake failed`, `too many errors`, `too many refusals` … `refusals` where there were more than the log has one by one; `from` and `to` where it ended within a transaction: a message that never came to its end; `probe` as in `command.refused`",
    ],
    ["login.accepted", "info", "`login`, `mechanism`", "a client logged in"],
    [
      "login.refused",
      "info",
      "`login`, `mechanism`, `reason`",
      "a login failed; the client does not learn why",
    ],
    [
      "login.put_off",
      "info",
      "`login`, `mechanism`, `reason`",
      "a login was not checked, as too many had failed before; the client got 454",
    ],
    [
      "login.unavailable",
      "error",
      "`login`, `mechanism`, `error`",
      "the accounts could not be read; the client got 454",
    ],
    [
      "command.refused",
      "info",
      "`command`, `reply`, `from`, `probe`",
      "a command was refused: what was typed, and what was answered; `from` is the sender, once there is one; `probe` where the client is a test by this machine: `doctor`, `explain`, `healthcheck`, `status`, `dashboard`, which count in no figure. Where a DNS list or greylisting refuses DATA, also `to` and what the checks found, as with `message.accepted`. The first hundred of a session",
    ],
    [
      "message.accepted",
      "info",
      "`id`, `login`, `uid`, `from`, `to`, `octets`, `message_id` where it has one, `queue_id`",
      "the message is durable, and was answered 250; serve-submit adds `login` and `queue_id`, by which serve-out knows it; serve-out adds `uid`, the account that called sendmail, as that says; serve-in adds what its checks found: `spf`, `dkim`, `arc`, `arc_sealer`, `dmarc`, `dmarc_asks` (what the policy asks for, done or not), `iprev`, `listed`, `filters`, `dns` where that failed, and `junk` and `why` where they decide something. Where the message is not simply accepted: `author`, the domain of its From field, and `answers`, what DNS said; see [Answers of DNS](#answers-of-dns)",
    ],
    [
      "message.refused",
      "info, error",
      "`id`, `from`, `to`, `octets`, `message_id`, `reply`, `error`",
      "the message was refused after its data; at error, with the cause, if the fault is ours; serve-in adds what its checks found, as with `message.accepted`",
    ],
    [
      "message.repaired",
      "info",
      "`id`, `repairs`",
      "what serve-out has repaired in a message of a local program: Bcc removed, fields encoded or folded, long lines encoded",
    ],
    [
      "message.left",
      "warn",
      "`id`, `left`",
      "what it has left although other servers may refuse it, and why: most often because the message is signed or malformed",
    ],
    ["message.failed", "error", "`error`", "a message could not be begun"],
    [
      "message.cleanup_failed",
      "error",
      "`id`, `error`",
      "what was left of a message that was not accepted could not be removed",
    ],
    [
      "command.failed",
      "error",
      "`verb`, `error`",
      "a command failed because of a fault of the server; the client got 4xx",
    ],
    ["tls.started", "debug", "`protocol`, `cipher`", "the handshake is done"],
    ["tls.failed", "info", "`error`", "the handshake failed or took too long"],
    [
      "tls.plaintext_discarded",
      "warn",
      "`octets`",
      "plaintext followed STARTTLS, which is how commands are smuggled into a TLS session; it was dropped",
    ],
    [
      "connection.refused",
      "info, debug",
      "`peer`, `reply`",
      "there are too many connections, from that address or in all; at info once a minute for each address (IPv6: /64), else at debug",
    ],
    [
      "accept.failed",
      "error",
      "`error`, `action`, `socket`",
      "no connection can be accepted: descriptors or memory are exhausted; the server waits and tries again; `socket` where it is the control socket's",
    ],
    [
      "accept.lost",
      "debug",
      "`error`",
      "a connection broke before it was accepted, as when its peer has reset it",
    ],
    ["accept.recovered", "info", "", "connections are accepted again"],
  ],
};

/** Mailboxes. */
export const MAILBOX_EVENTS: EventGroup = {
  title: "Mailboxes",
  events: [
    [
      "message.delivered",
      "info",
      "`id`, `mailbox`, `file`, `bytes`",
      "a copy is in `new/`, one line for each mailbox; `bytes` is the size of the file, `octets` of the other events that of the mail data",
    ],
    [
      "message.withdrawn",
      "error",
      "`id`, `files`, `error`",
      "one copy failed when others were in `new/` already; those were removed, and the client got 451",
    ],
    [
      "mailbox.unwritable",
      "error, debug",
      "`mailbox`, `path`, `error`",
      "a mailbox cannot be written to; the recipient was refused for the time being. At error once a minute for each mailbox, else at debug",
    ],
    [
      "maildir.made",
      "info",
      "`mailbox`, `path`",
      "a user's Maildir was created: at the start and at a reload",
    ],
    [
      "maildir.not_made",
      "warn",
      "`mailbox`, `path`, `error`",
      "it cannot be created, or has the wrong owner or mode; mail for it gets 450",
    ],
    ["maildir.cleaned", "info", "`path`, `files`", "files older than 36 hours were removed from `tmp/`"],
    [
      "junk.not_filed",
      "warn",
      "`mailbox`, `error`",
      "the folder for junk is not to be trusted or cannot be written to: the message, marked as junk, is in the inbox",
    ],
    ["maildir.not_cleaned", "warn", "`path`, `error`", "`tmp/` could not be cleaned"],
    [
      "storage.low_space",
      "warn, debug",
      "`path`, `free`, `size`, `min_free_space`, `free_files`",
      "a message would leave less space than `min_free_space`, or too few files (inodes), beside what others have brought and not stored; it was refused with 452. At warn once a minute for each path, else at debug",
    ],
    [
      "storage.space_unknown",
      "warn",
      "`path`, `error`",
      "the free space could not be asked for; the message is tried",
    ],
  ],
};

/** Checks of incoming mail. */
export const CHECK_EVENTS: EventGroup = {
  title: "Checks of incoming mail",
  events: [
    [
      "dns_list.ignored",
      "warn",
      "`zone`, `reason`",
      "a DNS list is defunct or lists every address, by its own test entries; it is not used until that changes. Logged once",
    ],
    ["dns_list.used_again", "info", "`zone`", "that list works again"],
    [
      "greylist.not_kept",
      "warn",
      "`path`, `error`",
      "the greylist cannot be read or written; it is in memory only. Once, until it can",
    ],
    [
      "filter.failed",
      "warn",
      "`filter`, `error`",
      "a filter is down, slow or sends invalid data; mail is accepted without it or deferred, as `filter_failure` says. Once, until it answers",
    ],
    ["filter.recovered", "info", "`filter`", "that filter answers again"],
  ],
};
