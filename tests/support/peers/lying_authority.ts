/**
 * An ACME authority (RFC 8555) in the test's process that has validated all names before, and lies as it is told.
 *
 * @module
 */
import { createTestAuthority } from "../test_authority.ts";

/** The certificate to answer with, PEM: made for this request (DER). */
type Certify = (request: Uint8Array<ArrayBuffer>) => string | Promise<string>;

/** What it does at a path in place of what it should. */
export type Lies = Readonly<Record<string, (request: Request) => Response | undefined>>;

/** A running one. */
export interface LyingAuthority extends AsyncDisposable {
  /** The URL of its directory. */
  readonly directory: string;
  /** The authority to trust for its HTTPS, PEM. */
  readonly trusted: string;
  /** By path, such as `/order`. May be changed at any time. */
  lies: Lies;
  /** May be changed at any time. */
  certify: Certify;
  /** The requests so far, such as `POST /order`. */
  readonly requests: string[];
}

/** Starts it on a free port. */
export async function startLyingAuthority(certify: Certify): Promise<LyingAuthority> {
  const authority = await createTestAuthority();
  const own = await authority.issue({ names: ["127.0.0.1"] });
  const requests: string[] = [];
  let nonce = 0;
  let csr = new Uint8Array();
  const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: own.cert,
    key: own.key,
    onListen: () => {},
  }, async (request) => {
    const { pathname } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    const lie = it.lies[pathname]?.(request);
    if (lie !== undefined) return lie;
    const at = (path: string) => `https://127.0.0.1:${server.addr.port}${path}`;
    const headers = { "replay-nonce": `n${++nonce}`, location: at("/made") };
    const json = (value: unknown, status = 200) => Response.json(value, { status, headers });
    const order = (state: string, status?: number) =>
      json(
        {
          status: state,
          authorizations: [at("/authz")],
          finalize: at("/finalize"),
          certificate: at("/cert"),
        },
        status,
      );
    switch (pathname) {
      case "/dir":
        return json({
          newNonce: at("/nonce"),
          newAccount: at("/account"),
          newOrder: at("/order"),
          renewalInfo: at("/ari"),
        });
      case "/account":
        return json({ status: "valid" }, 201);
      case "/order":
        return order("ready", 201);
      case "/authz":
        return json({
          status: "valid",
          identifier: { type: "dns", value: "mx.example.com" },
          challenges: [],
        });
      case "/finalize":
        csr = fromBase64Url(JSON.parse(textOf(fromBase64Url((await request.json()).payload))).csr);
        return order("valid");
      case "/cert":
        return new Response(await it.certify(csr), { headers });
      default:
        return new Response(null, { headers });
    }
  });
  const it: LyingAuthority = {
    directory: `https://127.0.0.1:${server.addr.port}/dir`,
    trusted: authority.cert,
    lies: {},
    certify,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
  return it;
}

const fromBase64Url = (text: string) => Uint8Array.fromBase64(text, { alphabet: "base64url" });
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
