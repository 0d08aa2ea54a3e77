/**
 * Finds decisions of a log that another configuration would not have made, grouped and with examples.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import type { LogSource, TimeRange } from "../../observe/log_files.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { type LineFinder, searchLog } from "../../observe/log_search.ts";
import { timeOfId } from "../../observe/trace_query.ts";
import { Decisions, domainOf, type Filing, type Found } from "./decisions.ts";

/** Decisions that would change in the same way. */
export interface Difference {
  /** What was decided, and what would be. */
  readonly was: string;
  readonly would: string;
  readonly count: number;
  /** The first ones: an address or an id, and when. */
  readonly examples: readonly { readonly what: string; readonly at: number }[];
}

/** What the log came to. */
export interface WhatIf {
  /** Decisions that were examined. */
  readonly decisions: number;
  readonly differences: readonly Difference[];
  /** What the log does not tell, by sentence: how many decisions it concerns. */
  readonly untold: ReadonlyMap<string, number>;
}

const MAX_GROUPS = 1000;

const WANTED =
  /message\.(?:accepted|refused)|command\.refused|attempt\.(?:relayed|deferred|failed)|queue\.expired/g;

const findWanted: LineFinder = function* (piece) {
  WANTED.lastIndex = 0;
  for (let found = WANTED.exec(piece); found !== null; found = WANTED.exec(piece)) yield found.index;
};

/** Compares. */
export class Comparison {
  readonly #before: Decisions;
  readonly #after: Decisions;
  readonly #config: { readonly before: Config; readonly after: Config };
  readonly #maxExamples: number;
  readonly #groups = new Map<
    string,
    { was: string; would: string; count: number; examples: { what: string; at: number }[] }
  >();
  readonly #untold = new Map<string, number>();
  /** Domains by whether their way changes. */
  readonly #ways = new Map<string, { was: string; would: string } | undefined>();
  #decisions = 0;

  /** @throws {ConfigError} */
  constructor(
    config: { readonly before: Config; readonly after: Config },
    { maxExamples = 3 }: { readonly maxExamples?: number } = {},
  ) {
    this.#config = config;
    this.#before = new Decisions(config.before);
    this.#after = new Decisions(config.after);
    this.#maxExamples = maxExamples;
  }

  /** Reads a log. */
  async readLog(sources: readonly LogSource[], range: TimeRange): Promise<void> {
    for await (const event of searchLog(sources, { find: findWanted, range })) this.take(event);
  }

  /** Takes one event. */
  take(event: LoggedEvent): void {
    switch (event.event) {
      case "message.accepted":
        return this.#accepted(event, serverOf(event));
      case "message.refused":
        return this.#refused(event, serverOf(event));
      case "command.refused":
        return this.#commandRefused(event);
      default:
        return this.#attempt(event);
    }
  }

  /** Takes a recipient that is in the queue now. */
  takeQueued({ recipient, id, age, at }: {
    readonly recipient: string;
    readonly id: string;
    readonly age: number;
    readonly at: number;
  }): void {
    this.#decisions++;
    this.#routed(domainOf(recipient), { what: `${recipient} (${id}, waiting)`, at });
    const { before, after } = this.#config;
    if (age > after.serveOut.expireAfterMs && age <= before.serveOut.expireAfterMs) {
      this.#differs("waits in the queue", "given up, and its sender notified, at the next attempt", {
        what: `${recipient} (${id})`,
        at,
      });
    }
  }

  /** What came out. */
  get result(): WhatIf {
    const differences = [...this.#groups.values()].sort((one, other) => other.count - one.count);
    return { decisions: this.#decisions, differences, untold: this.#untold };
  }

  #differs(was: string, would: string, example: { readonly what: string; readonly at: number }): void {
    const key = `${was}\n${would}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      if (this.#groups.size >= MAX_GROUPS) return this.#note("further kinds of differences");
      group = { was, would, count: 0, examples: [] };
      this.#groups.set(key, group);
    }
    group.count++;
    if (group.examples.length < this.#maxExamples) group.examples.push(example);
  }

  #note(sentence: string): void {
    this.#untold.set(sentence, (this.#untold.get(sentence) ?? 0) + 1);
  }

  #accepted({ time, fields }: LoggedEvent, server: string): void {
    const id = String(fields["message_id"] ?? fields["id"] ?? "");
    const recipients = listOf(fields["to"]);
    const octets = Number(fields["octets"] ?? 0);
    this.#decisions++;
    const example = { what: `${id} from <${fields["from"] ?? ""}>`, at: time };
    if (octets > this.#after.maxSize(server)) {
      return this.#differs("taken", `refused by ${server}: larger than max_message_size (552)`, example);
    }
    const most = this.#after.maxRecipients(server);
    if (recipients.length > most) {
      this.#differs(
        "all recipients accepted",
        `${server} accepts ${most} at a time; the client gets 452, and sends again`,
        example,
      );
    }
    if (server === "serve-in") return this.#received({ fields, time, recipients, example });
    if (server !== "serve-submit") return;
    const may = this.#after.maySend(String(fields["login"] ?? ""), String(fields["from"] ?? ""));
    if (may === undefined) {
      this.#note("who may send as whom, without [serve-submit] or with an invalid address");
    } else if (!may) {
      this.#differs(
        `${fields["login"]} sent as <${fields["from"]}>`,
        "refused: not an address of that login",
        example,
      );
    }
  }

  #received(
    { fields, time, recipients, example }: {
      readonly fields: LoggedEvent["fields"];
      readonly time: number;
      readonly recipients: readonly string[];
      readonly example: { readonly what: string; readonly at: number };
    },
  ): void {
    for (const address of recipients) {
      this.#decisions++;
      const after = this.#after.recipient(address);
      if (after === undefined) {
        this.#note("an invalid address");
        continue;
      }
      const one = { what: address, at: time };
      if (after.kind === "unknown") {
        this.#differs("recipient taken", "refused: no such mailbox (550 5.1.1)", one);
      } else if (after.kind === "relay") {
        this.#differs("recipient taken", "refused: not a domain of ours (550 5.7.1)", one);
      } else {
        const before = this.#before.recipient(address);
        if (before !== undefined && before.kind === "taken" && before.where !== after.where) {
          this.#differs(`stored in ${before.where}`, `stored in ${after.where}`, one);
        }
      }
    }
    const was: Filing = fields["junk"] === true || fields["junk"] === "true" ? "junk" : "inbox";
    this.#filed(was, { fields, example });
  }

  #filed(
    was: Filing,
    { fields, example }: {
      readonly fields: LoggedEvent["fields"];
      readonly example: { readonly what: string; readonly at: number };
    },
  ): void {
    const found = foundIn(fields);
    // What the present configuration would do with it is what it did, or something else has decided, as a filter.
    const before = this.#before.filing(found);
    const after = this.#after.filing(found);
    if (before === undefined || after === undefined) {
      return this.#note("the domain's DMARC policy, in lines of an earlier version");
    }
    if (found.dmarc === undefined && this.#after.checksDmarc && !this.#before.checksDmarc) {
      this.#note("what DMARC says of a message that was taken while it was off");
    }
    if (before !== after) this.#differs(FILINGS[was], FILINGS[after], example);
    else if (was === "junk" && after === "junk") {
      const [old, fresh] = [this.#before.junkFolder, this.#after.junkFolder];
      if (old !== fresh) this.#differs(`filed in ${old}`, `filed in ${fresh}`, example);
    }
  }

  #refused({ time, fields }: LoggedEvent, server: string): void {
    this.#decisions++;
    const reply = String(fields["reply"] ?? "");
    const example = {
      what: `${fields["message_id"] ?? fields["id"] ?? ""} from <${fields["from"] ?? ""}>`,
      at: time,
    };
    const octets = Number(fields["octets"] ?? 0);
    if (/^552/.test(reply)) {
      const whole = octets > this.#before.maxSize(server) && octets <= this.#after.maxSize(server);
      if (this.#after.maxSize(server) <= this.#before.maxSize(server)) return;
      if (whole) this.#differs("refused: too large (552)", "taken", example);
      else this.#note("the size of a message that was not read to its end");
      return;
    }
    if (this.#foreignSender(reply, { example })) return;
    if (server === "serve-in" && /^550[ -]5\.7\.1/.test(reply)) this.#filed("refused", { fields, example });
  }

  /** Whether a login was refused another's name; that may be another's no more. */
  #foreignSender(
    reply: string,
    { example }: { readonly example: { readonly what: string; readonly at: number } },
  ): boolean {
    const [, sender, login] = /^550[ -]5\.7\.1 <([^<>]*)> is not an address of (\S+)$/.exec(reply) ?? [];
    if (sender === undefined || login === undefined) return false;
    this.#decisions++;
    if (this.#after.maySend(login, sender)) {
      this.#differs(`refused: <${sender}> is not an address of ${login}`, "taken from that login", example);
    }
    return true;
  }

  #commandRefused({ time, fields }: LoggedEvent): void {
    const command = String(fields["command"] ?? "");
    const reply = String(fields["reply"] ?? "");
    const [, path] = /^rcpt to:\s*<(?:@[^:<>]*:)?([^<>]*)>/i.exec(command) ?? [];
    if (path !== undefined && /^550[ -]5\.(?:1\.1|7\.1)/.test(reply) && serverOf({ fields }) === "serve-in") {
      this.#decisions++;
      const after = this.#after.recipient(path);
      const before = this.#before.recipient(path);
      if (after?.kind === "taken" && before?.kind !== "taken") {
        this.#differs("recipient refused", "taken", { what: path, at: time });
      }
      return;
    }
    const [, zone] = / is listed by ([a-z0-9.-]{1,253})/i.exec(reply) ?? [];
    if (zone !== undefined && reply.startsWith("550")) {
      this.#decisions++;
      const after = this.#after.filing({ listed: [zone] });
      if (after === undefined || after === "refused") return;
      if (this.#after.checksDmarc) this.#note("what DMARC says of a message that a DNS list refused unseen");
      const what = `mail from <${fields["from"] ?? ""}> by ${fields["peer"] ?? "a client"}`;
      return this.#differs("refused: the client is on a DNS list", FILINGS[after], { what, at: time });
    }
    if (/^451[ -]4\.7\.1 Greylisted/.test(reply)) {
      this.#decisions++;
      if (this.#after.greylists) return;
      const what = `mail from <${fields["from"] ?? ""}> by ${fields["peer"] ?? "a client"}`;
      return this.#differs("asked to come again (greylisting)", "not asked to come again", {
        what,
        at: time,
      });
    }
    if (this.#foreignSender(reply, { example: { what: command.slice(0, 100), at: time } })) return;
    const [, size] = /^mail from:.* size=(\d{1,15})/is.exec(command) ?? [];
    if (size !== undefined && /^552/.test(reply)) {
      this.#decisions++;
      const server = serverOf({ fields });
      if (Number(size) <= this.#after.maxSize(server)) {
        this.#differs("refused: too large (552)", "taken", { what: command.slice(0, 100), at: time });
      }
      return;
    }
    if (/^452[ -]4\.5\.3/.test(reply)) {
      this.#decisions++;
      this.#note("the number of recipients of a client that got 452");
    }
  }

  #attempt({ event, time, fields }: LoggedEvent): void {
    const recipient = String(fields["recipient"] ?? "");
    if (recipient === "") return;
    this.#decisions++;
    const id = String(fields["id"] ?? "");
    const example = { what: `${recipient} (${id})`, at: time };
    const domain = domainOf(recipient);
    this.#routed(domain, example);
    const { before, after } = this.#config;
    const age = time - (timeOfId(id) ?? time);
    if (event === "attempt.relayed") {
      const tls = String(fields["tls"] ?? "none");
      const wanted = this.#after.way(domain).tls;
      if (wanted !== this.#before.way(domain).tls && isTooWeak(tls, wanted)) {
        this.#differs(`relayed with TLS ${tls}`, `not sent there: the policy is ${wanted}`, example);
      }
      if (age > after.serveOut.expireAfterMs && age <= before.serveOut.expireAfterMs) {
        this.#differs("relayed after a long wait", "given up before that, and its sender notified", example);
      }
    }
    const isLaxer = event !== "attempt.relayed" && fields["policy"] === "configuration" &&
      /^4\.7\.[45]$/.test(String(fields["status"] ?? ""));
    if (isLaxer) {
      const [was, would] = [this.#before, this.#after].map((decisions) => decisions.way(domain).tls);
      if (STRICTNESS.indexOf(would ?? "") < STRICTNESS.indexOf(was ?? "")) {
        this.#differs(
          `not sent: TLS is too weak for the policy ${was}`,
          `tried with the policy ${would}`,
          example,
        );
      }
    }
    if (event === "queue.expired" && age < after.serveOut.expireAfterMs) {
      this.#differs("given up after expire_after", "tried on", example);
    }
  }

  #routed(domain: string, example: { readonly what: string; readonly at: number }): void {
    if (!this.#ways.has(domain)) {
      const [was, would] = [this.#before, this.#after].map((decisions) => decisions.way(domain).by);
      if (this.#ways.size > 50_000) this.#ways.clear();
      this.#ways.set(domain, was === would ? undefined : { was: `sent ${was}`, would: `sent ${would}` });
    }
    const change = this.#ways.get(domain);
    if (change !== undefined) this.#differs(change.was, change.would, example);
  }
}

/** TLS policies, the mildest first; without one the domain decides, at least as `prefer` does. */
const STRICTNESS = ["prefer", "as the domain asks", "require", "verify", "dane"];

const FILINGS: Readonly<Record<Filing, string>> = {
  refused: "refused by the checks (550 5.7.1)",
  junk: "filed as junk",
  inbox: "stored in the inbox",
};

function isTooWeak(tls: string, wanted: string): boolean {
  if (wanted === "require") return tls === "none";
  if (wanted === "verify") return tls === "none" || tls === "unverified";
  return wanted.startsWith("dane") && tls !== "dane";
}

/** Which server a line is of; the journal does not say. */
function serverOf({ fields }: Pick<LoggedEvent, "fields">): string {
  const { server, login, peer } = fields;
  if (typeof server === "string") return server;
  if (login !== undefined) return "serve-submit";
  if (["spf", "dkim", "dmarc", "iprev"].some((name) => fields[name] !== undefined)) return "serve-in";
  return /^(?:127\.|::1$)/.test(String(peer ?? "")) ? "serve-out" : "serve-in";
}

function listOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(String);
  return typeof value === "string" ? [value] : [];
}

function foundIn(fields: LoggedEvent["fields"]): Found {
  const { dmarc, dmarc_asks, arc_sealer, listed } = fields;
  return {
    listed: listOf(listed),
    ...(dmarc !== undefined && { dmarc: String(dmarc) }),
    ...(dmarc_asks !== undefined && { asked: String(dmarc_asks) }),
    ...(arc_sealer !== undefined && { sealer: String(arc_sealer) }),
  };
}
