/**
 * Senders that are who they say, senders that are not, and DNS that does not tell.
 *
 * @module
 */
import { latin1, latin1Bytes } from "../base/latin1.ts";
import { silentLogger } from "../base/log.ts";
import type { DkimKey } from "../dkim/keys.ts";
import { DkimSigner } from "../dkim/sign.ts";
import { failure, ok, warning } from "../doctor/finding.ts";
import type { Copy } from "./copies.ts";
import { SENDERS } from "./senders.ts";
import {
  brief,
  freshClient,
  freshToken,
  handIn,
  messageText,
  type Stage,
  storedBy,
  type Tell,
} from "./stage.ts";

interface Options {
  readonly copy: Copy;
  readonly tell: Tell;
  readonly key: DkimKey;
}

/** What happened to a message. */
interface Fate {
  readonly kind: "inbox" | "junk" | "refused" | "deferred" | "lost";
  readonly reply: string;
  readonly text: string;
}

/** All of them, against one copy. */
export async function forgingCases({ config, own = "" }: Stage, { copy, tell, key }: Options): Promise<void> {
  const { checks } = config.serveIn;
  const send = (sender: string, { from = sender, extra = [], signed = false }: SendOptions = {}) =>
    sendAs({ copy, own, key, sender, from, extra, signed });

  const honest = await send(SENDERS.honest);
  told(
    tell,
    "sender.spf",
    "mail of a domain whose SPF lets this client send, and whose DMARC says reject",
    honest,
    {
      right: ["inbox"],
      next: "Set [serve-in.checks] spf = true: without it DMARC refuses what passes by SPF alone",
    },
  );
  const signed = await send(SENDERS.signed, { signed: true });
  told(
    tell,
    "sender.dkim",
    "forwarded mail: SPF fails, the DKIM signature holds, DMARC says reject",
    signed,
    {
      right: ["inbox"],
      next: "Set [serve-in.checks] dkim = true: without it DMARC refuses all forwarded mail",
    },
  );

  const forged = await send(SENDERS.reject);
  told(tell, "forged.reject", "a forged sender whose domain asks to refuse (DMARC p=reject)", forged, {
    right: ["refused"],
    next: `Set [serve-in.checks] dmarc = "enforce"; it is ${JSON.stringify(checks.dmarc)}`,
    mild: checks.dmarc === "mark",
  });
  const quarantined = await send(SENDERS.quarantine);
  told(
    tell,
    "forged.quarantine",
    "a forged sender whose domain asks for suspicion (DMARC p=quarantine)",
    quarantined,
    {
      right: ["junk"],
      next: checks.dmarc === "enforce"
        ? 'Set [mailboxes] junk_folder = "Junk": with "" such mail is marked, and lies in the inbox'
        : `Set [serve-in.checks] dmarc = "enforce"; it is ${JSON.stringify(checks.dmarc)}`,
      mild: true,
    },
  );
  const watched = await send(SENDERS.watching);
  told(tell, "forged.none", "a forged sender whose domain only watches (DMARC p=none)", watched, {
    right: ["inbox"],
    next: "Check [serve-in.checks]: the domain publishes p=none",
  });

  const claim = await send(SENDERS.honest, {
    extra: [
      `Authentication-Results: ${config.hostname}; dmarc=pass header.from=bank.example`,
      "Return-Path: <forged@bank.example>",
    ],
  });
  const tried = "forged Authentication-Results in our name, and a forged Return-Path";
  if (/dmarc=pass header\.from=bank\.example|<forged@bank\.example>/.test(claim.text)) {
    tell(
      failure("forged.results", tried, {
        what: "kept",
        next: "This is a defect of mailapp: please report it",
      }),
    );
  } else if (claim.kind === "inbox" || claim.kind === "junk") tell(ok("forged.results", tried, "removed"));
  else tell(failure("forged.results", tried, { what: brief(claim.reply), next: "Check [serve-in.checks]" }));

  for (
    const [domain, what] of [[SENDERS.servfail, "answers with errors"], [
      SENDERS.silent,
      "does not answer",
    ]] as const
  ) {
    const fate = await send(domain);
    told(tell, "dns.broken", `mail of a domain whose DNS ${what}`, fate, {
      right: ["inbox", "junk", "deferred"],
      next: "This is a defect of mailapp: mail must not be refused for good because of a DNS failure",
    });
  }
}

interface SendOptions {
  readonly from?: string;
  readonly extra?: readonly string[];
  readonly signed?: boolean;
}

async function sendAs(
  { copy, own, key, sender, from, extra, signed }: Required<SendOptions> & {
    readonly copy: Copy;
    readonly own: string;
    readonly key: DkimKey;
    readonly sender: string;
  },
): Promise<Fate> {
  const token = freshToken();
  let data = messageText({ from: `a@${from}`, to: own, token, extra });
  if (signed) {
    data = latin1(
      await new DkimSigner({ keys: [key], logger: silentLogger }).sign("selftest", latin1Bytes(data)),
    );
  }
  const { reply, taken } = await handIn({
    port: copy.port ?? 0,
    sender: `a@${sender}`,
    recipients: [own],
    data,
  });
  if (!taken) return { kind: reply.startsWith("4") ? "deferred" : "refused", reply, text: "" };
  const [stored] = await storedBy(copy, token);
  if (stored === undefined) return { kind: "lost", reply, text: "" };
  return { kind: stored.junk ? "junk" : "inbox", reply, text: stored.text };
}

const WORDS: Readonly<Record<Fate["kind"], string>> = {
  inbox: "it reached the inbox",
  junk: "filed as junk",
  refused: "refused",
  deferred: "deferred",
  lost: "answered 250, and not stored",
};

function told(tell: Tell, id: string, tried: string, fate: Fate, { right, next, mild = false }: {
  readonly right: readonly Fate["kind"][];
  readonly next: string;
  /** Whether anything else is no more than a warning. */
  readonly mild?: boolean;
}): void {
  const { kind, reply } = fate;
  const what = kind === "refused" || kind === "deferred" ? `${WORDS[kind]}: ${brief(reply)}` : WORDS[kind];
  if (right.includes(kind)) return tell(ok(id, tried, what));
  tell((mild ? warning : failure)(id, tried, { what, next }));
}

/** Greylisting, against a copy that does it as configured. */
export async function greylistCases(
  { config, own = "" }: Stage,
  { copy, tell }: Omit<Options, "key">,
): Promise<void> {
  const { greylist } = config.serveIn.checks;
  const tried = "the first message of an unknown server, whose SPF and DMARC pass";
  const data = messageText({ from: `a@${SENDERS.honest}`, to: own, token: freshToken() });
  const { reply, taken } = await handIn({
    port: copy.port ?? 0,
    sender: `a@${SENDERS.honest}`,
    recipients: [own],
    data,
  });
  if (taken) {
    return tell(ok("greylist.good", tried, `accepted at once, with greylist = ${JSON.stringify(greylist)}`));
  }
  tell(warning("greylist.good", tried, {
    what: `deferred: ${brief(reply)}`,
    next:
      'Set [serve-in.checks] greylist = "suspicious": with "all" every first message is late, codes for ' +
      "logins too, and senders with many addresses may never get through",
  }));
}

/** The configured DNS lists, with a client that each of them has. */
export async function listCases(
  { config, own = "", dns }: Stage,
  { copy, tell }: Omit<Options, "key">,
): Promise<void> {
  const address = (ip: string) => ip.split(".").reverse().join(".");
  for (const { zone, action } of config.serveIn.checks.dnsLists) {
    const client = freshClient();
    dns.zone[`${address(client)}.${zone} A`] = {
      answers: [{ name: `${address(client)}.${zone}`, type: "A", ttl: 60, data: "127.0.0.2" }],
    };
    const token = freshToken();
    const data = messageText({ from: `a@${SENDERS.honest}`, to: own, token });
    const { reply, taken } = await handIn({
      port: copy.port ?? 0,
      from: client,
      sender: `a@${SENDERS.honest}`,
      recipients: [own],
      data,
    });
    const [stored] = await storedBy(copy, token);
    const came = !taken ? "refuse" : stored?.junk ? "junk" : "allow";
    const tried = `a client that ${zone} lists, with action = ${JSON.stringify(action)}`;
    const what = taken ? stored?.junk ? "filed as junk" : "it reached the inbox" : `refused: ${brief(reply)}`;
    const asked = action === "junk" && config.mailboxes.junkFolder === undefined ? "allow" : action;
    if (came === asked) tell(ok("list.action", tried, what));
    else {tell(
        failure("list.action", tried, {
          what,
          next: "Check [serve-in.checks] dns_lists, and [mailboxes] junk_folder",
        }),
      );}
  }
}
