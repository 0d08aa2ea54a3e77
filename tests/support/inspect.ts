/**
 * One message through all checks of a listener.
 *
 * @module
 */
import assert from "node:assert/strict";
import { MemoryBudget } from "../../base/memory_budget.ts";
import { silentLogger } from "../../base/log.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { InspectedData } from "../../smtp/inspected_data.ts";
import type { Verdict } from "../../smtp/inspector.ts";
import type { Session } from "../../smtp/session.ts";
import { bytesOf } from "./bytes.ts";
import { ed25519Key, NOW, signByTheBook } from "./dkim.ts";
import { FakeClock } from "./fake_clock.ts";
import { envelope } from "./maildir_setting.ts";
import { type StaticName, StaticResolver } from "./static_resolver.ts";
import type { CheckOptions } from "../../checks/inspection.ts";
import { MailInspector, type MailInspectorOptions } from "../../checks/inspector.ts";

/** The key of the signatures. */
export const key = ed25519Key();

/** Its records. */
export const KEYS: Readonly<Record<string, StaticName>> = {
  "s._domainkey.bank.example": { txt: [key.record] },
  "s._domainkey.lists.example": { txt: [key.record] },
};

/** A message without a signature. */
export const MESSAGE =
  "From: Bank <info@bank.example>\r\nTo: alice@example.com\r\nSubject: x\r\n\r\nHello\r\n";

/** Of the signature of {@linkcode SIGNED}. */
export const TAGS = { a: "ed25519-sha256", d: "bank.example" };

/** The same message, signed. */
export const SIGNED = signByTheBook({ message: MESSAGE, key, tags: TAGS });

/** The client's address. */
export const IP = "192.0.2.1";

/** What differs from a signed message of a client that passes all checks. */
export interface InspectOptions {
  readonly message?: string;
  readonly names?: Readonly<Record<string, StaticName>>;
  readonly resolver?: Resolver;
  readonly checks?: Partial<CheckOptions>;
  readonly options?: Partial<MailInspectorOptions>;
  readonly ip?: string;
  readonly local?: string;
  readonly from?: string | null;
  readonly helo?: string;
  readonly clock?: FakeClock;
}

/** A clock at the time of the signatures. */
export function newClock(): FakeClock {
  return new FakeClock(NOW * 1000);
}

/** Inspects one message; the verdict, and the header fields that it puts on top. */
export async function inspect(inspect: InspectOptions): Promise<Verdict & { readonly top: string }> {
  const { message = SIGNED, names = {}, checks = {}, options = {}, ip = IP, local = "192.0.2.200" } = inspect;
  const { from = "someone@other.example", helo = "mail.other.example", clock = newClock() } = inspect;
  const inspector = new MailInspector({
    hostname: "mx.example.com",
    checks: {
      spf: true,
      dkim: true,
      arc: true,
      dmarc: "enforce",
      trustedSealers: [],
      timeoutMs: 10_000,
      greylist: "off",
      filterFailure: "accept",
      ...checks,
    },
    isOwnDomain: (domain) => domain === "example.com",
    resolver: inspect.resolver ??
      new StaticResolver({ ...KEYS, ...names }, { ptr: { [IP]: ["mail.other.example"] } }),
    clock,
    logger: silentLogger,
    ...options,
  });
  const session: Session = {
    id: "s1",
    remote: { address: ip, port: 1 },
    local: { address: local, port: 25 },
    hello: { verb: "EHLO", domain: helo },
    errorCount: 0,
    messageCount: 0,
    refusedRecipientCount: 0,
  };
  const at = from?.lastIndexOf("@") ?? -1;
  const reversePath = from === null
    ? null
    : { localPart: from.slice(0, at), domain: from.slice(at + 1), text: from };
  const inspection = await inspector.begin({ ...envelope("alice@example.com"), reversePath }, session);
  using data = new InspectedData(inspection, new MemoryBudget(1e9));
  for (const byte of [message.slice(0, 50), message.slice(50)]) await data.push(bytesOf(byte));
  const verdict = await data.verdict();
  const top = verdict.fields.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
  assert.ok(top.length <= inspection.reserve, `${top.length} octets of ${inspection.reserve}`);
  return { ...verdict, top };
}

/** DNS where the author's domain asks to refuse what fails DMARC. */
export const reject: Readonly<Record<string, StaticName>> = {
  "bank.example": { a: ["192.0.2.99"], txt: ["v=spf1 ip4:192.0.2.99 -all"] },
  "_dmarc.bank.example": { txt: ["v=DMARC1; p=reject"] },
  "other.example": { txt: ["v=spf1 ip4:192.0.2.0/24 -all"] },
  "mail.other.example": { a: [IP] },
};

/** DNS where it asks for quarantine. */
export const quarantine = { ...reject, "_dmarc.bank.example": { txt: ["v=DMARC1; p=quarantine"] } };
