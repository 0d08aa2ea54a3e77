/**
 * OpenSMTPD in its own mount namespace, since its spool and its control socket have fixed paths; needs root.
 *
 * @module
 */
import type { CertificateFiles } from "./certificates.ts";
import { makeFolder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { type RunningProgram, startUntil } from "./process.ts";
import { resolvingBy } from "./resolving.ts";
import { OPENSMTPD, unpacked } from "./unpacked.ts";

/** What OpenSMTPD is to do. */
export interface OpenSmtpdOptions {
  /** Where all mail goes that is for another domain than those of `mailboxes`. */
  readonly relayTo?: { readonly host: string; readonly port: number };
  /** Relays all other mail where DNS says. */
  readonly byMx?: boolean;
  /** The address of a DNS server on port 53, instead of those in /etc/resolv.conf. */
  readonly dns?: string;
  /** What the sending side does about STARTTLS, with `relayTo`. `none` if absent. */
  readonly sendTls?: "none" | "may" | "encrypt";
  /** Addresses whose mail lands in a Maildir each; others in their domains are refused. */
  readonly mailboxes?: readonly string[];
  /**
   * Offers STARTTLS with this certificate. Debian 12's build cannot do it (OpenSMTPD issue 1171) and breaks off each
   * handshake, which makes it a peer to see the way back to plaintext with.
   */
  readonly certificate?: CertificateFiles;
}

/** A running OpenSMTPD. */
export interface OpenSmtpd extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  readonly program: RunningProgram;
  /** The Maildir of one of `mailboxes`. */
  maildir(address: string): string;
}

/** Starts OpenSMTPD and waits until it answers. */
export async function startOpenSmtpd(options: OpenSmtpdOptions = {}): Promise<OpenSmtpd> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("opensmtpd"));
  const port = freePort();
  const spool = await folder.mkdir("spool", { mode: 0o711 });
  const maildirs = await folder.mkdir("maildirs", { mode: 0o777 });
  const { relayTo, sendTls = "none", mailboxes = [], certificate } = options;
  const scheme = { none: "smtp+notls", may: "smtp", encrypt: "smtp+tls" }[sendTls];
  const domains = mailboxes.map((address) => address.slice(address.lastIndexOf("@") + 1));
  const pki = certificate
    ? [`pki opensmtpd.test cert "${certificate.cert}"`, `pki opensmtpd.test key "${certificate.key}"`]
    : [];
  const listen = ["127.0.0.1", "::1"].map((address) =>
    `listen on ${address} port ${port} hostname opensmtpd.test ${certificate ? "tls pki opensmtpd.test" : ""}`
  );
  const config = await folder.write(
    "smtpd.conf",
    [
      ...pki,
      "smtp max-message-size 100M",
      ...listen,
      ...(domains.length > 0
        ? [
          `action "in" maildir "${maildirs}/%{rcpt}" user nobody virtual { ${
            mailboxes.map((address) => `"${address}" = nobody`).join(", ")
          } }`,
          `match from any for domain { ${domains.map((domain) => `"${domain}"`).join(", ")} } action "in"`,
        ]
        : []),
      ...(relayTo
        ? [
          `action "out" relay host "${scheme}://${
            relayTo.host.includes(":") ? `[${relayTo.host}]` : relayTo.host
          }:${relayTo.port}"${sendTls === "encrypt" ? " tls no-verify" : ""}`,
          `match from any for any action "out"`,
        ]
        : []),
      ...(options.byMx ? ['action "mx" relay', 'match from any for any action "mx"'] : []),
    ].join("\n") + "\n",
  );
  const script = 'mount --bind "$1" /var/spool/smtpd && mount -t tmpfs none /run && exec "$2" -d -f "$3"';
  const command = ["unshare", "--mount", "sh", "-c", script, "sh", spool, unpacked(OPENSMTPD), config];
  const [first = "", ...args] = options.dns === undefined
    ? command
    : await resolvingBy({ server: options.dns, folder, command });
  const program = await startUntil(first, {
    args,
    ready: () => untilListening(port),
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    program,
    maildir: (address) => `${maildirs}/${address}`,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
