/**
 * Events of the queue and of sending. See `events.ts`.
 *
 * @module
 */
import type { EventGroup } from "../events.ts";

/** Sending. */
export const SENDING_EVENTS: EventGroup = {
  title: "Sending",
  intro:
    "Lines about one message share `id`, the queue id that the client got with its 250. `host`, `address` and `port` are where it was to go.",
  events: [
    [
      "attempt.relayed",
      "info",
      "`id`, `recipient`, `host`, `address`, `tls`, `policy`, `status`, `reply`, `answers`",
      "a server took the message for this recipient; `answers` is what the host was found by, see [Answers of DNS](#answers-of-dns); `tls` is `none`, `unverified`, `verified` or `dane`; `policy` is what asked for it: `configuration`, `dane`, `mta-sts` or `mta-sts-testing`, absent where nothing did",
    ],
    [
      "attempt.deferred",
      "info",
      "the same, or `error` instead of `reply`; `attempts`, `again_ms`; `dot_sent_no_reply` where the message may be there",
      "deferred, and retried after that time. At a start also for a dot that the last process had no answer to when it ended",
    ],
    ["attempt.failed", "info", "as with `attempt.relayed`, or `error`", "rejected"],
    ["queue.expired", "info", "the same, `attempts`", "tried too long (`expire_after`)"],
    ["queue.done", "info", "`id`", "nothing is left to do; the message is removed"],
    [
      "queue.scanned",
      "info",
      "`entries`",
      "the queue found at the start has been read; sending began before",
    ],
    [
      "host.dead",
      "info",
      "`host`, `address`, `port`, `error`, `pause_ms`",
      "it does not answer; for that time no message tries it, then one does",
    ],
    ["host.alive", "info", "`host`, `address`, `port`", "it answers again"],
    [
      "host.slowed",
      "warn",
      "`host`, `address`, `port`, `reply`, `pause_ms`; `domain` where it counts for all hosts of that domain",
      "it answered 421 or 4.7.28: a pause, then one connection, then one more with each that relays",
    ],
    [
      "host.plaintext",
      "warn",
      "`host`, `address`, `reason`",
      "it offers TLS, which failed or was refused, or it hung up at EHLO; the policy is `prefer`, so the message goes without, over a fresh connection",
    ],
    [
      "dns.resolv_conf",
      "warn",
      "`path`, `problem`",
      "something in resolv.conf cannot be used, or it names no server; said again only when it changes",
    ],
    [
      "mx.private_target",
      "warn",
      "`host`, `address`",
      "an MX leads to a loopback or private address, which is not used (`allow_private_targets`)",
    ],
    [
      "mx.null_among_others",
      "warn",
      "`domain`",
      "the domain has the null MX and others beside it; the null MX is ignored",
    ],
    [
      "queue.damaged",
      "error",
      "`file`, `reason`, `kept`; or `error`",
      "a file of the spool is invalid, and is now at `kept`; other messages are not affected. See [queue.md](queue.md#what-is-put-aside)",
    ],
    [
      "queue.not_removed",
      "warn",
      "`id`, `error`",
      "the files of a finished message could not be removed durably; repeated at the next start",
    ],
    [
      "queue.reserve_used",
      "error",
      "`directory`",
      "the disk is full: the space kept in `reserve` is freed so that mail can leave; no mail is accepted until it is restored. See [queue.md](queue.md)",
    ],
    ["queue.reserve_whole", "info", "`directory`", "there is space again, and mail is accepted"],
    ["queue.reserve_failed", "debug", "`error`", "the reserve could not be made"],
    [
      "queue.journal_kept",
      "warn",
      "`octets`",
      "there was no space for a new journal at the start: the old one is continued",
    ],
    [
      "queue.time_lost",
      "warn",
      "`file`, `reason`",
      "the spool's own time cannot be read: the age of messages is taken from the clock",
    ],
    [
      "queue.time_not_saved",
      "debug",
      "`file`, `error`",
      "it could not be written; messages count as younger than they are if the machine restarts now",
    ],
    ["queue.journal_read", "debug", "`lines`, `live`", "what the spool's journal held at the start"],
    [
      "queue.index_failed",
      "debug",
      "`shard`, `error`",
      "the spool's index could not be read or written, which only makes the next start slower",
    ],
    [
      "queue.journal_failed",
      "error",
      "`id`, `error`",
      "a server answered the final dot, and that could not be written down; if the process dies now, the message may be sent twice",
    ],
    [
      "dsn.queued",
      "info",
      "`id`, `dsn`, `kind`, `to`, `recipients`",
      "a notice to the sender is on its way as message `dsn`; `kind` is `failure`, `delay` or `success`",
    ],
    [
      "dsn.unwanted",
      "info",
      "`id`, `recipient`, `host`, `reply` or `error`",
      "it failed, and the sender asked for no notice (NOTIFY)",
    ],
    [
      "dsn.held",
      "error",
      "the same",
      "it failed and has no sender to notify, as a notice that cannot be delivered: it is kept. See `mailapp queue list --sender '<>'`, then `release`, `bounce` or `remove` it",
    ],
    [
      "dsn.dropped",
      "warn",
      "`id`, `recipients`, `reason`, `age_ms`",
      "what was held so is given up: `reason` is `too old` (`keep_undeliverable`) or `too many` (`max_undeliverable`)",
    ],
    [
      "dsn.shortened",
      "info",
      "`id`, `dsn`, `recipients`",
      "the notice `id` is too large for its recipient's server: it goes as `dsn` once more, with less of the message that it returns",
    ],
    [
      "dsn.failed",
      "error",
      "`id`, `error`, `again_ms`",
      "the notice could not be written; tried again until it can",
    ],
    [
      "dkim.key.loaded",
      "info",
      "`domain`, `selector`, `algorithm`",
      "this key signs from now on: at start, and after SIGHUP",
    ],
    ["dkim.signed", "debug", "`id`, `domain`, `selectors`", "the message has a signature of each of these"],
    [
      "dkim.unsigned",
      "debug, warn",
      "`id`, `reason`, `domain`",
      "the message is sent without a signature: at warn where there is no key for the author's domain, once for each of a hundred domains and at debug from then on, and where the message is at fault (no From field, or two, or a header section beyond all bounds)",
    ],
    [
      "operator.*",
      "info",
      "`id`, `recipients`, `by`",
      "`mailapp queue` or the dashboard did this, and who asked for it: `retry`, `hold`, `release`, `bounce`, `remove`",
    ],
    [
      "queue.store_failed",
      "error",
      "`id`, `error`, `again_ms`",
      "the state of a message cannot be written, as on a full disk. It is kept in memory, and written once that is possible; others continue. Logged once for each message",
    ],
    [
      "queue.unreadable",
      "error",
      "`id`, `error`",
      "a message cannot be read just now; of a queue in PostgreSQL: it is damaged, and left alone",
    ],
    [
      "queue.joined",
      "info",
      "`host`, `owner`",
      "this process is one of the owners of the queue in PostgreSQL, under that number",
    ],
    [
      "queue.lease_lost",
      "error",
      "`host`, `owner`, `reason`",
      "this process could not renew its lease in time, and no longer owns entries: it has stopped before the next dot, and joins again",
    ],
    [
      "queue.clock_set",
      "warn",
      "`by_ms`",
      "the clock of the queue's database was set, or another server with another clock is the primary now; leases, ages and times of attempts go by it",
    ],
    [
      "queue.host_dead",
      "warn",
      "`host`, `owner`",
      "the lease of another host is over: what it had is free for the others",
    ],
    [
      "queue.claim_failed",
      "error",
      "`error`",
      "the database of the queue does not answer; tried again every two seconds, and logged once",
    ],
    [
      "queue.error",
      "error",
      "`error`, mostly with `id`; or `what`, `error`",
      "a defect of this program; the message is tried again. With `what`: folders or messages of the spool could not be read at the start: see their owner and mode. They are read again after a minute, then two, up to an hour (`queue.scanned`)",
    ],
    [
      "local.unreachable",
      "warn",
      "`error`",
      "where serve-in listens cannot be determined, as without a default route; mail for our domains waits",
    ],
    [
      "route.password_kept",
      "warn",
      "`path`, `error`",
      "a password file has changed and cannot be read now; the password from before is used",
    ],
    [
      "control.failed",
      "error, warn",
      "`path`, `error`",
      "the control socket does not work: `queue` and `explain` cannot reach this server; at warn, and without `path`, where one request to it failed",
    ],
  ],
};

/** The maildrop. */
export const MAILDROP_EVENTS: EventGroup = {
  title: "The maildrop",
  intro:
    "What programs left for serve-out while it was stopped. `uid` and `account` are those of the file's owner.",
  events: [
    [
      "maildrop.accepted",
      "info",
      "`uid`, `account`, `from`, `to`, `size`",
      "in the queue now; `message.accepted` of the same time has its id",
    ],
    [
      "maildrop.refused",
      "warn",
      "`uid`, `account`, `from`, `to`, `reply`",
      "the server refuses this recipient for good; the sender gets a notice",
    ],
    [
      "maildrop.deferred",
      "info",
      "`error`",
      "the server does not accept mail now, or defers a message; they wait",
    ],
    [
      "maildrop.not_noted",
      "warn",
      "`file`, `error`",
      "after a restart some recipients of this message may get it twice",
    ],
    ["maildrop.removed", "warn", "`file`, `reason`, `uid`, `account`", "a file that is not a message"],
    ["maildrop.not_removed", "warn", "the same, `error`", "and it cannot be removed; logged once"],
    [
      "maildrop.unusable",
      "warn",
      "`path`, `error`, `action`",
      "programs get an error from `sendmail` while serve-out is stopped",
    ],
  ],
};

/** serve-policy. */
export const OWN_POLICY_EVENTS: EventGroup = {
  title: "The policy of our own domains",
  intro: "These come from serve-policy.",
  events: [
    [
      "policy.request",
      "debug",
      "`remote`, `host`, `status`",
      "a request was answered with this HTTP status; `host` is empty if it is none of our policy hosts",
    ],
    [
      "policy.unanswered",
      "debug",
      "`remote`, `error`",
      "the client went away or took too long, or its TLS handshake failed",
    ],
  ],
};

/** Policies of receiving domains (MTA-STS). */
export const POLICY_EVENTS: EventGroup = {
  title: "Policies of receiving domains (MTA-STS)",
  events: [
    [
      "mta_sts.policy",
      "info",
      "`domain`, `id`, `mode`, `max_age` (seconds), `mx`",
      "a policy was fetched, and applies from now on",
    ],
    [
      "mta_sts.fetch_failed",
      "warn",
      "`domain`, `reason`, `error`, `kept`",
      "a policy is announced and could not be fetched; `kept`: an older one still applies, else mail goes as without",
    ],
    [
      "mta_sts.testing",
      "info",
      "`domain`, `host`, `address`, `reason`",
      "mail goes to a host that the policy, in mode testing, would not allow, or over TLS that it would not",
    ],
    [
      "mta_sts.not_read",
      "warn",
      "`path`, `error`",
      "the policies in data_dir cannot be read, and are fetched again",
    ],
    [
      "mta_sts.not_saved",
      "warn",
      "`error`",
      "the policies could not be written to data_dir; after a restart they are fetched again",
    ],
    [
      "tls_report.sent",
      "info",
      "`domain`, `day`, `to`",
      "a report about TLS with the domain's servers on that day (UTC) has been queued as mail, or taken over HTTPS",
    ],
    [
      "tls_report.not_sent",
      "warn",
      "`domain`, `day`, `to`, `error`",
      "it could not be; tried again within a day",
    ],
    [
      "tls_report.failed",
      "error",
      "`error`",
      "a defect of this program; reports are tried again the next day",
    ],
    [
      "tls_report.not_read",
      "warn",
      "`path`, `error`",
      "what was counted before the start cannot be read, and is not reported",
    ],
    [
      "tls_report.not_saved",
      "warn",
      "`path`, `error`",
      "what was counted could not be written; it is lost if the process is killed",
    ],
  ],
};
