/**
 * DKIM and ARC by the book for tests: a signer and a sealer for messages that are there as a whole, with any tags, and
 * the way of a whole message through the verifiers.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { type ArcResult, ArcVerification } from "../../arc/verify.ts";
import { BodyHashes } from "../../dkim/body_hashes.ts";
import { KeyLookups } from "../../dkim/key_lookups.ts";
import { SignedFields } from "../../dkim/signed_fields.ts";
import { type DkimResult, DkimVerification } from "../../dkim/verify.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { HeaderCollector } from "../../message/header_collector.ts";
import { StaticResolver } from "./static_resolver.ts";

/** When the messages of tests come, in seconds since the epoch. */
export const NOW = 1_800_000_000;

/** A key pair with its record. */
export interface TestKey {
  readonly secret: KeyObject;
  /** `k=…; p=…`. */
  readonly record: string;
}

/** Makes an RSA key; `pkcs1` publishes the bare RSAPublicKey of RFC 6376 §3.6.1. */
export function rsaKey(bits: number, { pkcs1 = false } = {}): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const der = publicKey.export({ type: pkcs1 ? "pkcs1" : "spki", format: "der" });
  return { secret: privateKey, record: `k=rsa; p=${Buffer.from(der).toString("base64")}` };
}

/** Makes an Ed25519 key. */
export function ed25519Key(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { x = "" } = publicKey.export({ format: "jwk" });
  return { secret: privateKey, record: `k=ed25519; p=${Buffer.from(x, "base64url").toString("base64")}` };
}

/** One tag after the other; `undefined` leaves a tag out that would be there. */
export type TestTags = Readonly<Record<string, string | undefined>>;

/** The defaults of {@linkcode signByTheBook}. */
const TAGS = {
  v: "1",
  a: "rsa-sha256",
  c: "relaxed/relaxed",
  d: "example.com",
  s: "s",
  h: "from:to:subject",
};

/** Header and body of a message in canonical form, on whole texts of one character a byte. */
const CANONICAL = {
  header: {
    simple: (field: string) => field,
    relaxed: (field: string) => {
      const colon = field.indexOf(":");
      const value = field.slice(colon + 1).replaceAll("\r\n", "").replace(/[ \t]+/g, " ").replace(
        /^ | $/g,
        "",
      );
      return `${field.slice(0, colon).trimEnd().toLowerCase()}:${value}`;
    },
  },
  body: {
    simple: (body: string) => `${body.replace(/(?:\r\n)+$/, "")}\r\n`,
    relaxed: (body: string) => {
      const lines = body.split("\r\n").map((line) => line.replace(/[ \t]+/g, " ").replace(/ $/, ""));
      const text = lines.join("\r\n").replace(/(?:\r\n)+$/, "");
      return text === "" ? "" : `${text}\r\n`;
    },
  },
} as const;

/** A body, one character a byte, in one of the canonical forms of RFC 6376 §3.4. */
export function canonicalBody(body: string, form: "simple" | "relaxed"): string {
  return CANONICAL.body[form](body);
}

/** What to sign, and how. */
export interface SignByTheBook {
  /** The whole message, one character a byte. */
  readonly message: string;
  readonly key: TestKey;
  /** What differs from an ordinary signature; also `bh` and `b`. */
  readonly tags?: TestTags;
  /** `DKIM-Signature` if absent. */
  readonly name?: string;
  /** How the field is written before it is signed. */
  readonly written?: (field: string) => string;
}

/** The message with a signature on top. */
export function signByTheBook(
  { message, key, tags = {}, name = "DKIM-Signature", written: write = (field) => field }: SignByTheBook,
): string {
  const [header = "", ...rest] = message.split("\r\n\r\n");
  const body = rest.join("\r\n\r\n");
  const all: TestTags = { ...TAGS, ...tags };
  const [headerForm = "simple", bodyForm = "simple"] = (all["c"] ?? "simple/simple").toLowerCase()
    .split("/") as (
      "simple" | "relaxed"
    )[];
  const covered = canonicalBody(body, bodyForm).slice(
    0,
    all["l"] === undefined ? undefined : Number(all["l"]),
  );
  const hash = createHash("sha256").update(Buffer.from(covered, "latin1")).digest("base64");
  const written: TestTags = { ...all, bh: "bh" in tags ? tags["bh"] : hash };
  const text = Object.entries(written).filter(([tag, value]) => value !== undefined && tag !== "b")
    .map(([tag, value]) => `${tag}=${value}; `).join("");
  const unsigned = write(`${name}: ${text}\r\n b=`);
  const fields = header.split(/\r\n(?![ \t])/).map((field) => ({ field, used: false }));
  const signed = (all["h"] ?? "").split(":").flatMap((name) => {
    const found = fields.findLast(({ field, used }) =>
      !used && field.slice(0, field.indexOf(":")).trimEnd().toLowerCase() === name.trim().toLowerCase()
    );
    if (found === undefined) return [];
    found.used = true;
    return [found.field];
  });
  const input = [...signed, unsigned].map(CANONICAL.header[headerForm]).join("\r\n");
  const b = "b" in tags ? tags["b"] : signBytes(key, Buffer.from(input, "latin1"));
  return b === undefined ? `${name}: ${text}\r\n${message}` : `${unsigned}${b}\r\n${message}`;
}

/** A signature in base64, folded. */
function signBytes({ secret }: TestKey, bytes: Buffer): string {
  const signature = secret.asymmetricKeyType === "ed25519"
    ? sign(null, createHash("sha256").update(bytes).digest(), secret)
    : sign("sha256", bytes, secret);
  return signature.toString("base64").replace(/.{60}/g, "$&\r\n ");
}

/** How to verify. */
export interface VerifyOptions {
  /** TXT records by name, or who answers. */
  readonly dns: Readonly<Record<string, string | readonly string[]>> | Pick<Resolver, "txt">;
  /** Seconds since the epoch; {@linkcode NOW} if absent. */
  readonly now?: number;
  /** Octets of the body that come at once; all if absent. */
  readonly chunk?: number;
}

/** A resolver that has these TXT records. */
export function txtResolver(records: Readonly<Record<string, string | readonly string[]>>): StaticResolver {
  return new StaticResolver(
    Object.fromEntries(
      Object.entries(records).map(([name, txt]) => [name, { txt: typeof txt === "string" ? [txt] : txt }]),
    ),
  );
}

/** What the verifiers say of a message. */
export interface Verified {
  /** Of each DKIM signature. */
  readonly dkim: DkimResult[];
  /** Of the chain. */
  readonly arc: ArcResult;
}

/** Sends a message, given as text of one character a byte or as bytes, through both verifiers. */
export async function verifyMessage(
  message: string | Uint8Array,
  { dns, now = NOW, chunk = 1_000_000_000 }: VerifyOptions,
): Promise<Verified> {
  const bytes = typeof message === "string" ? Buffer.from(message, "latin1") : Buffer.from(message);
  const collector = new HeaderCollector();
  let start: number | undefined;
  let at = 0;
  for (; start === undefined && at < bytes.length; at += chunk) {
    start = collector.push(bytes.subarray(at, at + chunk));
  }
  collector.finish();
  const { section } = collector;
  const bodyHashes = new BodyHashes();
  const resolver = typeof dns["txt"] === "function"
    ? dns as Pick<Resolver, "txt">
    : txtResolver(dns as never);
  const options = {
    section,
    signedFields: new SignedFields(section),
    bodyHashes,
    keys: new KeyLookups({ resolver }),
    now: now * 1000,
  };
  const [dkim, arc] = [new DkimVerification(options), new ArcVerification(options)];
  const body = bytes.subarray(start === undefined ? bytes.length : at - chunk + start);
  for (let at = 0; at < body.length; at += chunk) bodyHashes.push(body.subarray(at, at + chunk));
  bodyHashes.finish();
  return { dkim: await dkim.finish(), arc: await arc.finish() };
}

/** What the verifier says of each DKIM signature of a message. */
export async function verifyDkim(
  message: string | Uint8Array,
  options: VerifyOptions,
): Promise<DkimResult[]> {
  return (await verifyMessage(message, options)).dkim;
}

/** How to seal. */
export interface SealByTheBook {
  /** The whole message, one character a byte. */
  readonly message: string;
  readonly key: TestKey;
  /** Its place in the chain. */
  readonly instance: number;
  /** What its ARC-Authentication-Results says; `example.com; dmarc=pass` if absent. */
  readonly results?: string;
  /** `none` for the first one and `pass` for others if absent. */
  readonly cv?: string;
  /** What differs from an ordinary ARC-Message-Signature. */
  readonly signature?: TestTags;
  /** What differs from an ordinary ARC-Seal. */
  readonly seal?: TestTags;
  /** How each of the three fields is written before it is signed. */
  readonly written?: (field: string) => string;
}

/** The message with one more ARC set on top, sealed in the name of `d=` of both signatures. */
export function sealByTheBook({ message, key, instance, cv, ...options }: SealByTheBook): string {
  const { results: said = "example.com; dmarc=pass", written = (field) => field } = options;
  const results = written(`ARC-Authentication-Results: i=${instance}; ${said}`);
  const before = message.split("\r\n\r\n", 1).join("").split(/\r\n(?![ \t])/).filter((line) =>
    /^ARC-/.test(line)
  );
  const [signature = ""] = signByTheBook({
    message: `${results}\r\n${message}`,
    key,
    tags: { i: String(instance), v: undefined, ...options.signature },
    name: "ARC-Message-Signature",
    written,
  }).split(/\r\n(?![ \t])/, 1);
  const tags: TestTags = {
    i: String(instance),
    a: key.secret.asymmetricKeyType === "rsa" ? "rsa-sha256" : "ed25519-sha256",
    cv: cv ?? (instance === 1 ? "none" : "pass"),
    d: "example.com",
    s: "s",
    t: String(NOW),
    ...options.seal,
  };
  const text = Object.entries(tags).filter(([, value]) => value !== undefined).map(([tag, value]) =>
    `${tag}=${value}; `
  );
  const unsigned = written(`ARC-Seal: ${text.join("")}b=`);
  // Sets stand with the newest on top; they are sealed with the oldest first, seals last.
  const sealed: string[] = [];
  for (let at = before.length - 3; at >= 0; at -= 3) sealed.push(...before.slice(at, at + 3).reverse());
  const input = [...sealed, results, signature, unsigned].map(CANONICAL.header.relaxed).join("\r\n");
  return `${unsigned}${
    signBytes(key, Buffer.from(input, "latin1"))
  }\r\n${signature}\r\n${results}\r\n${message}`;
}
