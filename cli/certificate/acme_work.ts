/**
 * The work of the subcommands of `certificate`: with the authority, the files, and the ports of the challenges.
 *
 * @module
 */
import { createPublicKey, X509Certificate } from "node:crypto";
import { lookup } from "node:dns/promises";
import { join } from "@std/path";
import {
  readAccount,
  readRenewalState,
  type RenewalState,
  saveAccount,
  saveRenewalState,
} from "../../acme/account_file.ts";
import { Authority, AuthorityError, newAccountKey, newRequest } from "../../acme/authority.ts";
import { CertificateFiles, usableFrom } from "../../acme/certificate_files.ts";
import type { Responder } from "../../acme/challenge.ts";
import { DnsResponder } from "../../acme/dns_update.ts";
import { HttpResponder } from "../../acme/http_responder.ts";
import { certificateId, renewalWindow } from "../../acme/renewal_info.ts";
import { TlsAlpnResponder } from "../../acme/tls_alpn_responder.ts";
import { systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { AcmeConfig, Config } from "../../config/config.ts";
import { publicKeyHash } from "../../doctor/zone.ts";
import { listenAddresses } from "../../net/interfaces.ts";
import { showEndpoint } from "../../net/listen.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { prepareDataDir } from "../../server/parts.ts";
import { policyHosts } from "../../server/policy_parts.ts";
import { openResolver } from "../../server/relay_parts.ts";
import { proveIssued } from "../../tls/certificate_pair.ts";
import { namesOf } from "../../tls/certificates.ts";
import { httpsRequest } from "../../tls/https_request.ts";
import { becomeOwner } from "../../server/become_account.ts";

/** The certificate and its renewal. Times in milliseconds since the epoch. */
export interface AcmeState {
  readonly certificate?: {
    readonly names: readonly string[];
    readonly issuer: string;
    readonly until: number;
  };
  /** When `renew` gets another one. */
  readonly renewAt?: number;
  /** Whether the authority suggests that time. */
  readonly suggested: boolean;
  /** Names of the configuration that the certificate is not for. */
  readonly missingNames: readonly string[];
  /** The result of the last renewal. */
  readonly last?: RenewalState;
  /** The key after the next change of keys, as a TLSA record has it. */
  readonly nextKey?: { readonly tlsa: string };
}

/** A certificate that has just been issued. */
export interface Issued {
  /** The names that were asked for. */
  readonly names: readonly string[];
  /** Names that the authority added. */
  readonly added: readonly string[];
  /** When it expires. */
  readonly until: number;
}

/** Where the authority comes to. */
const PORTS = { "http-01": 80, "tls-alpn-01": 443 } as const;
const JSON_TIMEOUT = 30_000;
const MAX_JSON = 1024 * 1024;
const MAX_SECRET = 4096;

/** The work of one command. Root becomes the account that has the data directory, once the ports are bound. */
export class AcmeWork implements AsyncDisposable {
  readonly #config: Config;
  readonly #acme: AcmeConfig;
  readonly #files: CertificateFiles;
  /** The directory of the account and the result of the last renewal. */
  readonly #directory: string;
  #responder: Responder | undefined;

  /** Does no work before {@linkcode AcmeWork.open}. */
  constructor(config: Config, acme: AcmeConfig) {
    this.#config = config;
    this.#acme = acme;
    this.#files = new CertificateFiles(join(config.dataDir, "tls"));
    this.#directory = join(config.dataDir, "acme");
  }

  /**
   * Binds the ports as root, then switches to the account of the data directory.
   * @param options `issues`: whether names will have to be validated
   * @throws {CommandError} when the port cannot be bound
   */
  async open({ issues }: { readonly issues: boolean }): Promise<void> {
    await prepareDataDir(this.#config);
    if (issues) this.#responder = await this.#openResponder();
    await becomeOwner(join(this.#config.dataDir, "tls"));
  }

  /** The names of the certificate. */
  get names(): readonly string[] {
    return [...new Set([this.#config.hostname, ...policyHosts(this.#config), ...this.#acme.names])];
  }

  /** The names of the TLSA records for this server's key. */
  get tlsaNames(): readonly string[] {
    return [`_25._tcp.${this.#config.hostname}.`];
  }

  /** The present state. */
  async state(): Promise<AcmeState> {
    const last = await readRenewalState(this.#directory);
    const next = await this.#files.nextKey();
    const common = { ...(last && { last }), ...(next && { nextKey: { tlsa: tlsaOf(next.key) } }) };
    const issued = await this.#issued();
    if (issued === undefined) return { suggested: false, missingNames: this.names, ...common };
    const { leaf, pem } = issued;
    const window = await renewalWindow(leaf, certificateId(leaf, await authorityKeyId(pem)), {
      directory: this.#acme.directory,
      fetchJson: (url) => this.#fetchJson(url),
    });
    const names = namesOf(leaf);
    // Within a window that the authority suggests, each certificate has its own fixed time.
    const share = window.suggested
      ? Number.parseInt(leaf.fingerprint256.replaceAll(":", "").slice(0, 8), 16) / 2 ** 32
      : 0;
    return {
      certificate: {
        names,
        issuer: leaf.issuer.replaceAll("\n", ", "),
        until: leaf.validToDate.getTime(),
      },
      renewAt: window.from + share * (window.to - window.from),
      suggested: window.suggested,
      missingNames: this.names.filter((name) => !names.includes(name)),
      ...common,
    };
  }

  /**
   * Gets a certificate and keeps it.
   * @param options `key`: the same as before, if there was one, so that TLSA records stay true; or the `next` one
   * @throws {AuthorityError} and what saving it throws; the previous one stays
   */
  async issue(
    { key }: { readonly key: "same" | "next" },
  ): Promise<Issued> {
    try {
      const issued = await this.#issue(key);
      await saveRenewalState(this.#directory, { at: systemClock.now() });
      return issued;
    } catch (error) {
      const notBefore = error instanceof AuthorityError ? error.retryAt : undefined;
      await saveRenewalState(this.#directory, {
        at: systemClock.now(),
        error: errorText(error),
        ...(notBefore !== undefined && { notBefore }),
      }).catch(() => {});
      throw error;
    }
  }

  async #issue(which: "same" | "next"): Promise<Issued> {
    const { names } = this;
    const authority = await this.#authority();
    const before = await this.#issued();
    const next = which === "next" ? await this.#files.nextKey() : undefined;
    const wanted = next?.key ?? before?.key;
    const { csr, key } = await newRequest({ names, ...(wanted !== undefined && { key: wanted }) });
    const responder = this.#responder;
    if (responder === undefined) throw new TypeError("the challenges have no responder");
    const { chain } = await authority.obtain({ names, csr, type: this.#acme.challenge, responder });
    const leaf = new X509Certificate(chain);
    const missing = names.filter((name) => !namesOf(leaf).includes(name));
    if (missing.length > 0) {
      throw new CommandError(`the authority left out ${missing.join(", ")}`, EXIT.unavailable);
    }
    const now = systemClock.now();
    // One that the servers would refuse must not take the place of one that works.
    await proveIssued({ cert: chain, key }, { now }).catch((cause) => {
      throw new AuthorityError("the authority issued what cannot be used", cause);
    });
    await this.#files.save({ cert: chain, key }, { now });
    if (next !== undefined) await this.#files.dropNextKey();
    const added = namesOf(leaf).filter((name) => !names.includes(name));
    return { names, added, until: leaf.validToDate.getTime() };
  }

  /** Has the authority revoke the certificate. */
  async revoke(): Promise<void> {
    const issued = await this.#issued();
    if (issued !== undefined) await (await this.#authority()).revoke(issued.pem);
  }

  /** Makes the key after the next change of keys; returns its TLSA data. */
  async makeNextKey(): Promise<{ tlsa: string }> {
    const { key } = await newRequest({ names: this.names });
    await this.#files.saveNextKey(key);
    return { tlsa: tlsaOf(key) };
  }

  /** The published TLSA records for this server's key, as text, and their TTL in milliseconds. */
  async publishedTlsa(): Promise<{ readonly records: readonly string[]; readonly ttl: number }> {
    const answer = await openResolver(this.#config).tlsa(`_25._tcp.${this.#config.hostname}`);
    if (answer.kind === "failed") {
      throw new CommandError(
        `cannot look up the TLSA records: ${answer.reason}`,
        EXIT.tryAgain,
      );
    }
    if (answer.kind !== "found") return { records: [], ttl: 0 };
    const records = answer.records.map(({ usage, selector, matchingType, data }) =>
      `${usage} ${selector} ${matchingType} ${data.toHex()}`
    );
    return { records, ttl: (answer.ttl ?? 0) * 1000 };
  }

  /**
   * From when on the next key may be used, whose record is in DNS now.
   * @param options `ttl`: of the records, in milliseconds; `exact`: it was given, and replaces what is known
   */
  async nextKeyUsableFrom(
    { ttl, exact }: { readonly ttl: number; readonly exact: boolean },
  ): Promise<number> {
    const { since = systemClock.now(), ttl: known = 0 } = await this.#files.nextKeySeen() ?? {};
    // A resolver that answers from its cache gives what is left of the TTL.
    const seen = { since, ttl: exact ? ttl : Math.max(ttl, known) };
    await this.#files.saveNextKeySeen(seen);
    return usableFrom(seen);
  }

  /** The record of the next key is not in DNS. */
  async nextKeyNotSeen(): Promise<void> {
    await this.#files.saveNextKeySeen(undefined);
  }

  /** The pair, where the authority issued it. */
  async #issued(): Promise<{ leaf: X509Certificate; pem: string; key: string } | undefined> {
    const pair = await this.#files.state() === "issued" ? await this.#files.read() : undefined;
    return pair && { leaf: new X509Certificate(pair.cert), pem: pair.cert, key: pair.key };
  }

  async #authority(): Promise<Authority> {
    const { directory, email, caFile, externalAccount } = this.#acme;
    // What cannot be reached at all is told at once, and by its name.
    await this.#fetchJson(directory).catch((cause) => {
      throw new AuthorityError(`the authority at ${directory} cannot be reached`, cause);
    });
    const known = await readAccount(this.#directory, directory);
    const account = known ?? { directory, key: await newAccountKey() };
    // First on disk: an account whose key is lost would count against the authority's limits.
    if (known === undefined) await saveAccount(this.#directory, account);
    const authority = new Authority({
      directory,
      accountKey: account.key,
      ...(account.url !== undefined && { accountUrl: account.url }),
      ...(email !== undefined && { email }),
      ...(caFile !== undefined && { trusted: await Deno.readTextFile(caFile) }),
      ...(externalAccount && {
        externalAccount: { kid: externalAccount.id, hmacKey: await readSecret(externalAccount.keyFile) },
      }),
    });
    if (account.url === undefined) {
      await saveAccount(this.#directory, { ...account, url: await authority.register() });
    }
    return authority;
  }

  async #openResponder(): Promise<Responder> {
    const { challenge, dns } = this.#acme;
    if (challenge === "dns-01") {
      if (dns === undefined) throw new TypeError("dns-01 without a server");
      const secret = Uint8Array.fromBase64(await readSecret(dns.keyFile));
      return new DnsResponder({ ...dns, key: { name: dns.keyName, secret }, now: () => systemClock.now() });
    }
    const port = PORTS[challenge];
    const addresses = challengeAddresses(this.#config);
    try {
      return (challenge === "http-01" ? HttpResponder : TlsAlpnResponder).listen({ addresses, port });
    } catch (error) {
      const where = addresses.map((address) => showEndpoint(address, port)).join(", ");
      const denied = error instanceof Deno.errors.PermissionDenied;
      throw new CommandError(
        denied
          ? `${challenge} needs port ${port}, which this account may not use: run this as root`
          : `${challenge} needs ${where}, which is not available: ${
            errorText(error)
          }. If a web server has it, ` +
            `set another challenge in [tls.acme]`,
        denied ? EXIT.noPermission : EXIT.unavailable,
        { cause: error },
      );
    }
  }

  async #fetchJson(url: string): Promise<unknown> {
    const { caFile } = this.#acme;
    const { hostname, port, pathname, search } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, "");
    const { status, body } = await httpsRequest({
      host,
      addresses: (await lookup(host, { all: true })).map(({ address }) => address),
      ...(port !== "" && { port: Number(port) }),
      path: `${pathname}${search}`,
      ...(caFile !== undefined && { trusted: [await Deno.readTextFile(caFile)] }),
      maxBody: MAX_JSON,
      timeout: JSON_TIMEOUT,
      clock: systemClock,
    });
    if (status !== 200) throw new Error(`status ${status}`);
    return JSON.parse(new TextDecoder().decode(body));
  }

  /** Closes the ports. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#responder?.[Symbol.asyncDispose]();
  }
}

/** Where the names lead to: those of the policy hosts may have addresses of their own. */
function challengeAddresses({ serveIn, servePolicy }: Config): string[] {
  const listens = [serveIn.listen, ...(servePolicy === undefined ? [] : [servePolicy.listen])];
  const all = listens.flatMap((listen) => listenAddresses(listen).map(({ address }) => address));
  // As a list: without those that a wildcard among them covers.
  return listenAddresses([...new Set(all)]).map(({ address }) => address);
}

/** Reads the secret in the single line of a file. */
async function readSecret(path: string): Promise<string> {
  const text = (await Deno.readTextFile(path)).trim();
  if (text === "" || text.length > MAX_SECRET || /\s/.test(text)) {
    throw new CommandError(`${path}: must have the key in one line`, EXIT.config);
  }
  return text;
}

/** The data of a `TLSA 3 1 1` record for a private key, PEM. */
function tlsaOf(key: string): string {
  return `3 1 1 ${publicKeyHash(createPublicKey(key))}`;
}

async function authorityKeyId(pem: string): Promise<Uint8Array | undefined> {
  await import("reflect-metadata");
  const { AuthorityKeyIdentifierExtension, X509Certificate } = await import("@peculiar/x509");
  const id = new X509Certificate(pem).getExtension(AuthorityKeyIdentifierExtension)?.keyId;
  return id === undefined ? undefined : Uint8Array.fromHex(id);
}
