/**
 * Events of the log, of certificates and of the process. See `events.ts`.
 *
 * @module
 */
import type { EventGroup } from "../events.ts";

/** The log itself. */
export const LOG_EVENTS: EventGroup = {
  title: "The log itself",
  events: [
    [
      "dialogue",
      "trace",
      "`line`; `host`, `address` where serve-out sends",
      "a line of the dialogue, after `C:` or `S:`",
    ],
    [
      "log.lost",
      "error",
      "`lines`",
      "this many lines were dropped before this one: the reader or the disk was too slow, or full",
    ],
    [
      "log.failed",
      "error",
      "`file`, `error`",
      "the file cannot be written or opened again; on standard error, once",
    ],
    ["log.reopened", "info", "", "SIGHUP came, and the log goes to the file that is there now"],
    [
      "log.not_reopened",
      "error",
      "`error`",
      "SIGHUP came, and the file could not be opened again; the old one goes on",
    ],
  ],
};

/** Certificates. */
export const CERTIFICATE_EVENTS: EventGroup = {
  title: "Certificates",
  events: [
    [
      "tls.certificate.loaded",
      "info",
      "`file`, `names`, `issuer`, `expires`, `sha256`",
      "this certificate is used from now on: at start, and after a renewal",
    ],
    [
      "tls.certificate.warning",
      "warn",
      "`warning`",
      "it is served, but something is wrong with it: expired, about to expire, another name, no chain; at start and daily",
    ],
    [
      "tls.certificate.failed",
      "error",
      "`error`, `serving`",
      "the files changed, or SIGHUP came, and they cannot be used; the old certificate stays. Once per change",
    ],
    [
      "tls.self_signed.created",
      "info",
      "`file`, `hostname`, `reason`",
      "a self-signed certificate was made, and why",
    ],
  ],
};

/** The process. */
export const PROCESS_EVENTS: EventGroup = {
  title: "The process",
  events: [
    [
      "listener.ready",
      "info",
      "`address`, `port`, `tls`",
      "it listens there; `tls` is `off`, `starttls` or `implicit`",
    ],
    [
      "listener.missing",
      "warn, debug",
      "`address`, `port`, `error`, `action`",
      "the machine does not have that address yet; it is tried every 2 seconds. At warn once, each further time at debug",
    ],
    [
      "listener.waiting",
      "warn",
      "`error`, `action`",
      "serve-in starts without an address to listen on, and waits for the network",
    ],
    ["listener.closed", "info", "`address`, `port`, `reason`", "the machine no longer has that address"],
    [
      "server.ready",
      "info",
      "`server`, `hostname`, `version`, `pid`; `threads` if there are several",
      "it serves",
    ],
    [
      "thread.died",
      "error",
      "`thread`, `connections`, `error`, `action`",
      "a thread that holds dialogues has ended by an error or does not answer; its connections are lost, all others go on",
    ],
    [
      "permission.denied",
      "warn",
      "`access`, `at`",
      "the server asked for something that its permissions do not include, at that line of the program; once for each. What follows from it stands in other events, or nowhere: report it",
    ],
    ["thread.started", "info", "`thread`", "another thread serves in place of one that died"],
    [
      "metrics.ready",
      "info",
      "`address`, `port`",
      "`[metrics]`: Prometheus can ask there for what the server counts",
    ],
    [
      "dashboard.ready",
      "info",
      "`address`, `port`",
      "`mailapp dashboard` serves its page there",
    ],
    ["dashboard.login", "info", "`peer`, `who`", "a login with the token of that name"],
    [
      "dashboard.login_refused",
      "warn",
      "`peer`, `reason`",
      "a token was wrong; `too many`: after ten wrong ones from there none is checked for a minute",
    ],
    [
      "dashboard.refused",
      "warn",
      "`peer`, `reason`, `host`, `origin`",
      "a request was refused: `host`, the page was asked for by a name that is not its own, as after DNS rebinding; `origin`, a form came from another page",
    ],
    [
      "dashboard.action",
      "info",
      "`who`, `peer`, `action`, `what`",
      "an action on the queue; `operator.*` of serve-out has its result",
    ],
    ["dashboard.failed", "error", "`error`", "a page could not be made, or the port is taken"],
    [
      "server.stopping",
      "info",
      "`signal`, `connections`",
      "SIGTERM or SIGINT came, or `new addresses` or `new DNS servers`, for which another thread takes over; messages in flight have 30 seconds",
    ],
    ["server.stopped", "info", "", "everything is closed; the process ends with 0"],
    ["config.warning", "warn", "`warning`", "a warning about the configuration"],
    [
      "config.reloaded",
      "info",
      "`needs_restart`",
      "SIGHUP came, and the new configuration holds but for these settings",
    ],
    [
      "config.needs_restart",
      "warn",
      "`settings`, `needs`, `action`",
      "these settings have changed too, and count only after a restart; `needs`: files and addresses that are outside the server's permissions",
    ],
    [
      "config.not_reloaded",
      "error",
      "`error`, `action`",
      "SIGHUP came, and the new configuration is wrong; the old one stays",
    ],
  ],
};

/** Problems. */
export const PROBLEM_EVENTS: EventGroup = {
  title: "Problems",
  intro:
    "Each server checks itself two minutes after its start and then every ten minutes. What needs attention is logged and mailed to postmaster of the first domain, at most once a day for each problem; a small file (`trouble.json`, serve-in's in `incoming/` of the data directory) keeps this across restarts. `mailapp doctor` shows the same and more; what it cannot check itself, a growing queue and refusals, it reads from that file.",
  events: [
    [
      "problem",
      "warn",
      "`kind`, `about`, `what`, `next`",
      "what is wrong, and what to do; the kinds are below",
    ],
    ["problem.resolved", "info", "`kind`, `about`", "it is resolved"],
    [
      "alert.failed",
      "warn",
      "`way`, `kinds`, `error`, `again`",
      "an alert could not be sent by the `webhook`, or by `mail`; `again`: it is tried at the next check, as it is until the problem is over, and for a day with the news that it is",
    ],
    [
      "problem.not_mailed",
      "warn",
      "`kinds`, `error`",
      "postmaster could not be written to, as on a full disk; tried again at the next check",
    ],
    [
      "problem.check_failed",
      "warn",
      "`error`",
      "a check failed, or the state file could not be read or written",
    ],
  ],
  more: {
    columns: ["kind", "server", "means"],
    rows: [
      [
        "`certificate`",
        "serve-in, serve-submit",
        "it has less than 14 days to go, or a third of a shorter life",
      ],
      ["`disk`", "serve-in, serve-out", "there is less than twice `min_free_space`"],
      ["`queue`", "serve-out", "100 messages or more wait, and they have doubled within an hour"],
      [
        "`held`",
        "serve-out",
        "within the last day messages without a sender could not be delivered, and are held",
      ],
      [
        "`dropped`",
        "serve-out",
        "within the last day such messages were dropped, as too many were held, or too long",
      ],
      ["`dns`", "serve-in, serve-out", "at two checks in a row DNS gave no answer about the own domain"],
      [
        "`reply`",
        "serve-out",
        "within the last hour another server refused mail for a reason that lies here: reverse DNS, SPF, DKIM, DMARC, TLS, rate, login, loop, a block list",
      ],
      [
        "`sending`",
        "serve-submit",
        "within the last hour a login has reached a limit of `[serve-submit]`: `about` is the login",
      ],
      [
        "`logins`",
        "serve-submit",
        "since the last check logins could not be checked, and none was accepted",
      ],
      [
        "`server`",
        "all",
        "with `[alerts]`: at two checks in a row another server did not answer: serve-in and serve-submit look at serve-out, serve-out at all others",
      ],
      [
        "`stuck`",
        "serve-out",
        "with `[alerts]`: for an hour 20 attempts and more have failed, and none has succeeded",
      ],
      [
        "`silence`",
        "serve-in",
        "with `[alerts]`: no mail for six hours or more, three times the longest gap of the last week",
      ],
    ],
  },
};
