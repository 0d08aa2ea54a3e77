/**
 * What the codes of other servers mean in plain words, and what to do: for notices, for the log and for `queue show`.
 *
 * @module
 */

import type { Attempt, TlsDemand } from "./queue_entry.ts";

/** An explanation of a refusal or delay. */
export interface ReplyCause {
  /** What has happened; a sentence. */
  readonly meaning: string;
  /** What the sender of the message can do once it is given up; a sentence. */
  readonly sender: string;
  /** What whoever runs this server can do; a sentence. Absent where there is nothing. */
  readonly operator?: string;
}

const TELL_POSTMASTER = "Forward this notice to whoever runs the mail server that you send through.";
const REACH_OTHERWISE = "Reach the recipient another way, for example by phone.";
const AGAIN = `Send it again later. ${REACH_OTHERWISE}`;
const CHECK_AND_AGAIN = "Check the domain for a typo, and send it again later.";

const REVERSE_DNS: ReplyCause = {
  meaning:
    "The receiver wants the address that the mail came from to have a name in DNS that leads back to it.",
  sender: TELL_POSTMASTER,
  operator:
    "Have the provider of the IP address set its reverse DNS (PTR) to the server's hostname, and give that name an A " +
    "or AAAA record with this very address; `mailapp doctor` checks both.",
};
const SPF: ReplyCause = {
  meaning: "The receiver found that SPF does not allow this server to send mail for the sender's domain.",
  sender: TELL_POSTMASTER,
  operator:
    "Add this server's addresses to the SPF record of the sender's domain; `mailapp dns` prints the line.",
};
const NO_TLS: ReplyCause = {
  meaning: "The receiver takes mail only over an encrypted connection, and this one was not.",
  sender: TELL_POSTMASTER,
  operator:
    "See in the log why STARTTLS failed with this host; a firewall that rewrites SMTP is a common cause.",
};
const DKIM: ReplyCause = {
  meaning: "The receiver found no valid DKIM signature of the sender's domain.",
  sender: TELL_POSTMASTER,
  operator: "Sign for the sender's domain ([dkim]) and publish the key; `mailapp dns` prints the record.",
};
const DMARC: ReplyCause = {
  meaning: "The receiver wants the sender's domain to have a DMARC record with a policy.",
  sender: TELL_POSTMASTER,
  operator: "Publish a DMARC record for the sender's domain; `mailapp dns` prints one.",
};
const ALIGNMENT: ReplyCause = {
  meaning: "The domain in From is neither the one that SPF allowed nor the one that DKIM signed for.",
  sender: "Send from an address in a domain that this mail server signs for.",
  operator: "Sign with DKIM for the domain in From.",
};
const RATE: ReplyCause = {
  meaning: "The receiver has seen more mail from this server than it is willing to take at present.",
  sender: AGAIN,
  operator:
    "Look for a program that sends too much (`mailapp queue list`); mail to this host is slowed down by itself.",
};
const FULL: ReplyCause = {
  meaning: "The recipient's mailbox is full.",
  sender: AGAIN,
};
const UNKNOWN_MAILBOX: ReplyCause = {
  meaning: "There is no mailbox with this name at the receiver.",
  sender: "Check the address for a typo, and whether the recipient has moved.",
};
const NO_DOMAIN: ReplyCause = {
  meaning: "The domain after the @ does not exist.",
  sender: "Check the domain for a typo.",
};
const TOO_BIG: ReplyCause = {
  meaning: "The message is larger than the receiver takes.",
  sender: "Send it without its large attachments, or pass them on by a link.",
};
const NO_ROUTE: ReplyCause = {
  meaning: "The domain has no mail server that could be reached by its name.",
  sender: "Check the domain for a typo; otherwise the recipient's domain is not set up for mail.",
};
const POLICY: ReplyCause = {
  meaning: "The receiver's rules do not allow this message.",
  sender: `Its words above may say why. ${REACH_OTHERWISE}`,
  operator: "See whether this server's address is on a block list, and what `mailapp doctor` says.",
};
const LATER_BY_POLICY: ReplyCause = {
  meaning: "The receiver defers mail from unknown servers for some time (greylisting), or limits it.",
  sender: AGAIN,
};
const UNREACHABLE: ReplyCause = {
  meaning: "The receiver's mail server could not be reached.",
  sender: CHECK_AND_AGAIN,
  operator:
    "When no host can be reached at all, the provider may block port 25 outwards; `mailapp doctor` tests it.",
};
const BROKEN_OFF: ReplyCause = {
  meaning: "The connection to the receiver's mail server broke off, or it did not answer in time.",
  sender: "Ask the recipient whether it has arrived all the same before you send it again.",
};
const DNS_SILENT: ReplyCause = {
  meaning: "DNS gave no answer about the recipient's domain.",
  sender: CHECK_AND_AGAIN,
  operator: "When many domains are hit, check this machine's DNS servers; `mailapp doctor` asks them.",
};
const LOOP: ReplyCause = {
  meaning: "The message is in a mail loop: a server on its way leads back to one where it has been.",
  sender: TELL_POSTMASTER,
  operator:
    "The MX of the recipient's domain leads to this server, which does not take mail for it: fix one of the two.",
};
const NO_STORAGE: ReplyCause = { meaning: "The receiver's mail server is out of space.", sender: AGAIN };
const NO_SMTPUTF8: ReplyCause = {
  meaning:
    "An address or a header field has letters beyond ASCII, and the receiver's mail server cannot take them.",
  sender: "Use an address in plain ASCII, if the recipient has one.",
};

const CAUSES: ReadonlyMap<string, ReplyCause> = new Map(Object.entries({
  "4.1.1": UNKNOWN_MAILBOX,
  "5.1.0": UNKNOWN_MAILBOX,
  "5.1.1": UNKNOWN_MAILBOX,
  "5.1.2": NO_DOMAIN,
  "5.1.3": { meaning: "The address is not written as the receiver expects.", sender: "Check the address." },
  "5.1.6": { meaning: "The recipient has moved.", sender: "Ask the recipient for the new address." },
  "5.1.7": {
    meaning: "The receiver rejects the form of the sender's address.",
    sender: TELL_POSTMASTER,
  },
  "5.1.8": {
    meaning: "The receiver cannot find the sender's domain in DNS.",
    sender: TELL_POSTMASTER,
    operator: "Send from a domain that exists in the public DNS and has an MX or address record.",
  },
  "5.1.10": {
    meaning: "The domain says in DNS that it takes no mail (null MX, RFC 7505).",
    sender: "Check the domain; this one has no mailboxes.",
  },
  "4.2.1": {
    meaning: "The mailbox takes no mail at present, or gets more than it may.",
    sender: AGAIN,
  },
  "5.2.1": { meaning: "The mailbox has been closed or takes no mail.", sender: REACH_OTHERWISE },
  "4.2.2": FULL,
  "5.2.2": FULL,
  "5.2.3": TOO_BIG,
  "4.3.1": NO_STORAGE,
  "4.3.2": { meaning: "The receiver's mail server takes no mail at present.", sender: AGAIN },
  "5.3.4": TOO_BIG,
  "4.4.1": UNREACHABLE,
  "4.4.2": BROKEN_OFF,
  "4.4.3": DNS_SILENT,
  "4.4.4": NO_ROUTE,
  "5.4.4": NO_ROUTE,
  "5.4.1": {
    meaning:
      "The receiver does not take mail for this address; Microsoft's servers say so of unknown mailboxes.",
    sender: "Check the address for a typo.",
  },
  "4.4.6": LOOP,
  "5.4.6": LOOP,
  "4.4.7": {
    meaning: "The message could not be delivered in the time that it may take.",
    sender: "Send it again.",
  },
  "5.4.7": {
    meaning: "The message could not be delivered in the time that it may take.",
    sender: "Send it again.",
  },
  "4.5.3": { meaning: "The message has more recipients than the receiver takes at once.", sender: AGAIN },
  "5.5.3": {
    meaning: "The message has more recipients than the receiver takes.",
    sender: "Send it to fewer at once.",
  },
  "5.6.3": {
    meaning: "The message has 8-bit text, and the receiver's mail server takes only 7-bit mail.",
    sender: "Send it again with a mail program that encodes its text (quoted-printable or base64).",
  },
  "5.6.7": NO_SMTPUTF8,
  "5.6.9": NO_SMTPUTF8,
  "4.7.0": LATER_BY_POLICY,
  "4.7.1": LATER_BY_POLICY,
  "5.7.0": POLICY,
  "5.7.1": POLICY,
  "4.7.10": NO_TLS,
  "5.7.10": NO_TLS,
  "5.7.8": {
    meaning: "The smarthost did not accept this server's user name and password.",
    sender: TELL_POSTMASTER,
    operator: "Check user and password_file of the route.",
  },
  "4.7.23": REVERSE_DNS,
  "4.7.25": REVERSE_DNS,
  "5.7.25": REVERSE_DNS,
  "4.7.24": SPF,
  "5.7.23": SPF,
  "5.7.24": SPF,
  "4.7.27": SPF,
  "5.7.27": SPF,
  "4.7.26": {
    meaning: "The receiver found neither SPF nor DKIM in order, and so cannot know who sent this.",
    sender: TELL_POSTMASTER,
    operator: "Set up SPF and DKIM for the sender's domain; `mailapp dns` prints the records.",
  },
  "5.7.26": {
    meaning:
      "The receiver found neither SPF nor DKIM in order, or the sender's DMARC policy forbids this message.",
    sender: TELL_POSTMASTER,
    operator: "Set up SPF and DKIM for the domain in From; `mailapp dns` prints the records.",
  },
  "4.7.28": RATE,
  "5.7.28": RATE,
  "4.7.29": NO_TLS,
  "5.7.29": NO_TLS,
  "4.7.30": DKIM,
  "5.7.30": DKIM,
  "5.7.20": DKIM,
  "4.7.31": DMARC,
  "5.7.31": DMARC,
  "4.7.32": ALIGNMENT,
  "5.7.32": ALIGNMENT,
}));

const WRONG_CERTIFICATE =
  "Tell the recipient, for example by phone, that the mail server of their domain does not " +
  "keep what the domain promises about TLS; nothing is wrong with your message.";

/** There was no TLS that is good enough, by who asked for it. */
const TLS_DEMANDED: Readonly<Record<TlsDemand, ReplyCause>> = {
  configuration: {
    meaning:
      "This server sends to the receiver only over TLS, as its settings demand, and there was no TLS that is good enough.",
    sender: TELL_POSTMASTER,
    operator: "[serve-out.tls_policy] or the route demands it; a password is only sent over verified TLS.",
  },
  dane: {
    meaning:
      "The receiver's domain names the certificates of its mail servers in DNS (DANE), and the server that " +
      "answered has none of them.",
    sender: WRONG_CERTIFICATE,
    operator:
      "Most likely the receiver has renewed its certificate and not its TLSA records. A line for the domain in " +
      '[serve-out.tls_policy], such as "require", goes before them.',
  },
  "mta-sts": {
    meaning:
      "The receiver's domain allows mail only over TLS to certain mail servers with valid certificates " +
      "(MTA-STS), and there was no such server.",
    sender: WRONG_CERTIFICATE,
    operator:
      "`mailapp explain ADDRESS` shows the policy and until when it applies. A line for the domain in " +
      '[serve-out.tls_policy], such as "require", goes before it.',
  },
  // Nothing is refused for it.
  "mta-sts-testing": NO_TLS,
};

/** What our own codes mean, where no other server has said anything. */
const OWN_CAUSES: ReadonlyMap<string, ReplyCause> = new Map(Object.entries({
  "4.3.2": {
    meaning: "The mail server of this domain is on the same machine, and does not answer.",
    sender: TELL_POSTMASTER,
    operator: "See whether serve-in runs, and what its log says: systemctl status mailapp-in.",
  },
  "4.3.0": {
    meaning: "The mail server that you send through had an internal problem with the message.",
    sender: TELL_POSTMASTER,
    operator: "See the log; a disk that is full or fails is a common cause.",
  },
  "4.3.5": {
    meaning: "The mail server that you send through is not set up to reach this domain.",
    sender: TELL_POSTMASTER,
    operator:
      "See the route in [serve-out.routes], the source addresses in [serve-out], or where [serve-in] listens; " +
      "`mailapp explain ADDRESS` shows the way.",
  },
  "4.4.4": {
    meaning: "The receiver's mail server has only addresses that this server does not send to.",
    sender: CHECK_AND_AGAIN,
    operator: "What is sent to is set by allow_private_targets and family in [serve-out].",
  },
  "5.7.30": {
    meaning:
      "The message may only be sent over verified TLS and to servers that keep it so (REQUIRETLS), and the " +
      "receiver has no such server.",
    sender: `Send it without that demand, if its content allows. ${REACH_OTHERWISE}`,
  },
  "4.7.8": {
    meaning: "The smarthost takes no login that this server can give.",
    sender: TELL_POSTMASTER,
    operator: "See that the route leads to the port for logins, 587 as a rule.",
  },
}));

/** By the code's subject (RFC 3463 §3), where the code itself is not known. */
const SUBJECTS: ReadonlyMap<string, ReplyCause> = new Map(Object.entries({
  1: { meaning: "Something is wrong with the address.", sender: "Check the address for a typo." },
  2: { meaning: "Something is wrong with the recipient's mailbox.", sender: REACH_OTHERWISE },
  3: { meaning: "Something is wrong with the receiver's mail system.", sender: REACH_OTHERWISE },
  4: {
    meaning: "There is a network or routing problem on the way to the receiver's mail server.",
    sender: REACH_OTHERWISE,
  },
  5: { meaning: "The two mail servers did not understand each other.", sender: TELL_POSTMASTER },
  6: {
    meaning: "The receiver cannot take a message of this form.",
    sender: "Send it again in a plainer form, without attachments.",
  },
  7: POLICY,
}));

const ENHANCED = /(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])/;

const ROUTE_DOWN: ReplyCause = {
  meaning: "The host that mail to this domain goes through could not be reached.",
  sender: TELL_POSTMASTER,
  operator:
    "See whether host and port of the route in [serve-out.routes] are right, and whether it is up; `mailapp doctor` tests it.",
};

/**
 * What is known of a refusal or delay; `undefined` where nothing is.
 * @param outcome `status`: the enhanced status code; `reply`: what the remote said, whose own code goes first; `error`:
 * what happened where it said nothing; `policy`: what asked for TLS
 */
export function explainReply(
  outcome: Pick<Attempt, "status" | "reply" | "error" | "policy">,
): ReplyCause | undefined {
  const { status, reply = "", error = "", policy = "configuration" } = outcome;
  if (reply === "" && error.startsWith("the route's host ")) return ROUTE_DOWN;
  if (reply === "" && (status === "4.7.4" || status === "4.7.5")) return TLS_DEMANDED[policy];
  const said = ENHANCED.exec(reply.slice(0, 200))?.[1];
  return (reply === "" ? OWN_CAUSES.get(status) : undefined) ??
    (said === undefined ? undefined : CAUSES.get(said)) ?? CAUSES.get(status) ??
    SUBJECTS.get((said ?? status).split(".")[1] ?? "");
}
