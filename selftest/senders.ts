/**
 * The domains that mail comes from in the self-test, as its DNS knows them.
 *
 * @module
 */
import { generateKeyPairSync } from "node:crypto";
import { type DkimKey, parseDkimKey } from "../dkim/keys.ts";
import type { ZoneEntry } from "./zone.ts";

/** Their names. */
export const SENDERS = {
  /** SPF lets this machine send; DMARC asks for reject. */
  honest: "honest.selftest.test",
  /** SPF authorises no host; messages are signed; DMARC asks for reject. */
  signed: "signed.selftest.test",
  /** The same, without a signature. */
  reject: "reject.selftest.test",
  /** DMARC asks for quarantine. */
  quarantine: "quarantine.selftest.test",
  /** DMARC asks for nothing. */
  watching: "watching.selftest.test",
  /** Its DNS answers with an error. */
  servfail: "servfail.selftest.test",
  /** Its DNS says nothing. */
  silent: "silent.selftest.test",
} as const;

const SELECTOR = "s1";

/** A new key for {@linkcode SENDERS.signed}. */
export async function makeSenderKey(): Promise<DkimKey> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = String(privateKey.export({ type: "pkcs8", format: "pem" }));
  return await parseDkimKey(pem, { domain: SENDERS.signed, selector: SELECTOR });
}

/** What DNS says of them. */
export function senderZone(key: Pick<DkimKey, "record" | "recordName">): Record<string, ZoneEntry> {
  const dmarc = (domain: string, policy: string) => ({
    [`_dmarc.${domain}`]: { TXT: [`v=DMARC1; p=${policy}`] },
  });
  const nobody = { TXT: ["v=spf1 -all"], A: ["192.0.2.1"] };
  return {
    [SENDERS.honest]: { TXT: ["v=spf1 ip4:127.0.0.0/8 -all"], A: ["127.0.0.1"] },
    ...dmarc(SENDERS.honest, "reject"),
    [SENDERS.signed]: nobody,
    ...dmarc(SENDERS.signed, "reject"),
    [key.recordName]: { TXT: [key.record] },
    [SENDERS.reject]: nobody,
    ...dmarc(SENDERS.reject, "reject"),
    [SENDERS.quarantine]: nobody,
    ...dmarc(SENDERS.quarantine, "quarantine"),
    [SENDERS.watching]: nobody,
    ...dmarc(SENDERS.watching, "none"),
    [SENDERS.servfail]: { fault: "servfail" },
    [`_dmarc.${SENDERS.servfail}`]: { fault: "servfail" },
    [SENDERS.silent]: { fault: "silent" },
    [`_dmarc.${SENDERS.silent}`]: { fault: "silent" },
    "client.selftest.test": { A: ["127.0.0.1"] },
  };
}
