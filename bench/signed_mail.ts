/**
 * Mail that passes all checks, for benches: one message with one RSA-2048 signature, and the zone that authorises its
 * sender in its own named.
 *
 * @module
 */
import { rsaKey, signByTheBook, type TestKey } from "../tests/support/dkim.ts";
import { startBind } from "../tests/support/peers/bind.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { RECIPIENT } from "./server_under_load.ts";

/** Settings of `[serve-in.checks]` with which everything is asked that needs no other program. */
export const ALL_CHECKS = { spf: true, dkim: true, arc: true, dmarc: "enforce" } as const;

/** What is sent, and whom to ask about it. */
export interface SignedMail extends AsyncDisposable {
  /** The reverse-path. */
  readonly sender: string;
  /** The message, its lines ending in LF. */
  readonly file: string;
  /** The key records in its zone, by name. */
  readonly keys: Readonly<Record<string, string>>;
  /** The address of named, which listens on port 53 ({@linkcode DNS_PORT}), where the C library asks. */
  readonly dns: string;
}

/** The port that names in resolv.conf have. */
export const DNS_PORT = 53;

const DOMAIN = "signed.test";

/**
 * Makes a message of this size in octets, and starts named, with more zones if need be. Needs root, and port 53 of
 * 127.0.0.1.
 */
export async function startSignedMail(
  size: number,
  zones: Readonly<Record<string, string>> = {},
): Promise<SignedMail> {
  const key = rsaKey(2048);
  const folder = await makeFolder("bench-mail");
  try {
    const bind = await startBind({ [DOMAIN]: zoneOf(key), ".": "", ...zones }, { port: DNS_PORT });
    return {
      sender: `sender@${DOMAIN}`,
      file: await writeMessage(signedMessage(key, size), folder),
      keys: { [`s._domainkey.${DOMAIN}`]: keyRecord(key) },
      dns: "127.0.0.1",
      async [Symbol.asyncDispose]() {
        await bind[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

/** The records with which a sender on this machine passes SPF, DKIM and DMARC; the selector is `s`. */
export function zoneOf(key: TestKey): string {
  const strings = keyRecord(key).match(/.{1,200}/g)?.map((part) => `"${part}"`).join(" ");
  return [
    '@ TXT "v=spf1 ip4:127.0.0.1 ip6:::1 -all"',
    '_dmarc TXT "v=DMARC1; p=reject"',
    `s._domainkey TXT ( ${strings} )`,
  ].join("\n");
}

function keyRecord({ record }: TestKey): string {
  return `v=DKIM1; ${record}`;
}

function signedMessage(key: TestKey, size: number): string {
  const header = [
    `From: <sender@${DOMAIN}>`,
    `To: <${RECIPIENT}>`,
    "Subject: bench",
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <bench@${DOMAIN}>`,
  ].join("\r\n");
  const line = `${"x".repeat(38)} ${"y".repeat(38)}\r\n`;
  const sign = (lines: number) =>
    signByTheBook({
      message: `${header}\r\n\r\n${line.repeat(lines)}`,
      key,
      tags: { d: DOMAIN, h: "from:to:subject:date:message-id" },
    });
  return sign(Math.max(1, Math.floor((size - sign(0).length) / line.length)));
}

/** As smtp-source reads it: it puts CRLF after each line. */
function writeMessage(message: string, folder: Folder): Promise<string> {
  return folder.write("message", message.replaceAll("\r\n", "\n"));
}
