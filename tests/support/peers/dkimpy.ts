/**
 * dkimpy, Debian's python3-dkim, as a signer and sealer of messages that are there as a whole.
 *
 * @module
 */
import { PYTHON, run } from "./process.ts";

/** Programs whose presence says that it is installed. */
export const DKIMPY: readonly string[] = [PYTHON, "dkimsign", "arcsign"];

/** Who signs. */
export interface DkimpySigner {
  readonly domain: string;
  readonly selector: string;
  /** PEM (PKCS #1 or #8) for RSA; the seed in base64 for Ed25519. */
  readonly key: string;
}

/** How dkimpy signs with DKIM. */
export interface DkimpyOptions extends DkimpySigner {
  readonly algorithm?: "rsa-sha256" | "ed25519-sha256" | "rsa-sha1";
  /** `relaxed/simple` if absent. */
  readonly canonicalization?: string;
  /** `i=`. */
  readonly identity?: string;
  /** Writes `l=` with the length of the body as it is. */
  readonly length?: boolean;
  /** `h=`. */
  readonly names?: readonly string[];
}

const SIGN = `
import dkim, json, sys
o = json.loads(sys.argv[1])
b = lambda name: o[name].encode() if o.get(name) is not None else None
message = sys.stdin.buffer.read()
header, _, body = b("canonicalization").partition(b"/")
names = [n.encode() for n in o["names"]] if o.get("names") else None
field = dkim.sign(message, b("selector"), b("domain"), b("key"), identity=b("identity"),
  canonicalize=(header, body), signature_algorithm=b("algorithm"), include_headers=names, length=bool(o.get("length")))
sys.stdout.buffer.write(field + message)
`;

const SEAL = `
import dkim, json, sys
o = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()
fields = dkim.arc_sign(message, o["selector"].encode(), o["domain"].encode(), o["key"].encode(), o["server"].encode(),
  include_headers=[b"from", b"to", b"subject", b"date", b"message-id"])
sys.stdout.buffer.write(b"".join(fields) + message)
`;

/** The message with a DKIM-Signature of dkimpy's on top. */
export async function signWithDkimpy(message: Uint8Array, options: DkimpyOptions): Promise<Uint8Array> {
  const { algorithm = "rsa-sha256", canonicalization = "relaxed/simple", ...rest } = options;
  return await filter(SIGN, { algorithm, canonicalization, ...rest }, message);
}

/**
 * The message with one more ARC set of dkimpy's on top; nothing is added where it has no Authentication-Results by
 * `server`, which is where the status of the chain is taken from.
 */
export async function sealWithDkimpy(
  message: Uint8Array,
  options: DkimpySigner & { readonly server: string },
): Promise<Uint8Array> {
  return await filter(SEAL, options, message);
}

async function filter(script: string, options: object, message: Uint8Array): Promise<Uint8Array> {
  const { code, stdoutBytes, stderr } = await run(PYTHON, {
    args: ["-c", script, JSON.stringify(options)],
    stdin: message,
  });
  if (code !== 0) throw new Error(`dkimpy said:\n${stderr}`);
  return stdoutBytes;
}
