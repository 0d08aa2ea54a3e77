/**
 * Exim with its own configuration, as sender, receiver or smarthost; it must run as root.
 *
 * @module
 */
import { account } from "./accounts.ts";
import type { CertificateFiles } from "./certificates.ts";
import { makeFolder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { PYTHON, type RunningProgram, startUntil, until } from "./process.ts";
import { resolvingBy } from "./resolving.ts";
import { EXIM, unpacked } from "./unpacked.ts";

/** What Exim is to do. */
export interface EximOptions {
  /** Where all mail goes that is not for `mailboxes`. */
  readonly relayTo?: { readonly host: string; readonly port: number };
  /** What the sending side does about STARTTLS. `none` if absent. */
  readonly sendTls?: "none" | "may" | "encrypt";
  /** Addresses whose mail lands in a Maildir each; with them and without `relayTo`, all others are refused. */
  readonly mailboxes?: readonly string[];
  /** Offers STARTTLS with this certificate. */
  readonly certificate?: CertificateFiles;
  /** Has TLS come first, on port 465 of this loopback address, instead of listening where others do. */
  readonly submissionsOn?: string;
  /** Signs what it sends with DKIM. */
  readonly dkim?: {
    readonly domain: string;
    readonly selector: string;
    /** The private key in PEM. */
    readonly key: string;
    readonly canonicalization: "simple" | "relaxed";
  };
  /** Relays all other mail where DNS says. */
  readonly byMx?: boolean;
  /** The address of a DNS server on port 53, instead of those in /etc/resolv.conf. */
  readonly dns?: string;
  /** What its deliveries leave behind becomes a child of its daemon, so that their processor time counts as its own. */
  readonly adoptsOrphans?: boolean;
  /** More lines of its main section. */
  readonly settings?: readonly string[];
  /** Takes mail only after AUTH PLAIN with these. */
  readonly login?: { readonly user: string; readonly password: string };
}

/** A running Exim. */
export interface Exim extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  readonly program: RunningProgram;
  /** The first line of the main log that matches. @throws {Error} when none comes in time, with the log */
  logLine(pattern: RegExp): Promise<string>;
  /** The Maildir of one of `mailboxes`. */
  maildir(address: string): string;
}

/** PR_SET_CHILD_SUBREAPER of prctl(2), which outlives exec. */
const ADOPTING = [
  PYTHON,
  "-c",
  "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1); os.execv(sys.argv[1], sys.argv[1:])",
];

/** Starts Exim and waits until it answers. */
export async function startExim(options: EximOptions = {}): Promise<Exim> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("exim"));
  const { uid, gid } = await account("Debian-exim");
  const { submissionsOn } = options;
  const port = submissionsOn === undefined ? freePort() : 465;
  const maildirs = await folder.mkdir("maildirs", { uid, gid });
  const spool = await folder.mkdir("spool", { uid, gid });
  const log = await folder.mkdir("log", { uid, gid });
  const mailboxFile = await folder.write(
    "mailboxes",
    (options.mailboxes ?? []).map((address) => `"${address}": ${maildirs}/${address}\n`).join(""),
  );
  const certificate = options.certificate && {
    cert: await copyFor({ uid, gid }, options.certificate.cert, `${spool}/cert.pem`),
    key: await copyFor({ uid, gid }, options.certificate.key, `${spool}/key.pem`),
  };
  const dkimKey = `${spool}/dkim.pem`;
  if (options.dkim !== undefined) {
    await Deno.writeTextFile(dkimKey, options.dkim.key, { mode: 0o600 });
    await Deno.chown(dkimKey, uid, gid);
  }
  const config = await folder.write(
    "exim.conf",
    configuration({ ...options, port, spool, log, mailboxFile, dkimKey }, certificate),
  );
  const exim = [...options.adoptsOrphans ? ADOPTING : [], unpacked(EXIM), "-C", config, "-bdf", "-q1m"];
  const [command = "", ...args] = options.dns === undefined
    ? exim
    : await resolvingBy({ server: options.dns, folder, command: exim });
  const program = await startUntil(command, {
    args,
    cwd: folder.path,
    ready: () => untilListening(port, submissionsOn),
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    program,
    async logLine(pattern) {
      let text = "";
      try {
        return await until(async () => {
          text = await Deno.readTextFile(`${log}/main.log`);
          return text.split("\n").find((line) => pattern.test(line));
        }, { what: `${pattern} in Exim's log` });
      } catch (error) {
        throw new Error(`${pattern} not in Exim's log:\n${text}`, { cause: error });
      }
    },
    maildir: (address) => `${maildirs}/${address}`,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function copyFor(owner: { uid: number; gid: number }, from: string, to: string): Promise<string> {
  await Deno.copyFile(from, to);
  await Deno.chmod(to, 0o600);
  await Deno.chown(to, owner.uid, owner.gid);
  return to;
}

function configuration(
  options: EximOptions & { port: number; spool: string; log: string; mailboxFile: string; dkimKey: string },
  certificate: CertificateFiles | undefined,
): string {
  const { relayTo, sendTls = "none", login, dkim } = options;
  const tls = { none: "hosts_avoid_tls = *", may: "", encrypt: "hosts_require_tls = *" }[sendTls];
  // Exim's lists are split at colons, which are written twice where they are meant.
  const relayHost = relayTo?.host.replaceAll(":", "::");
  return `
primary_hostname = exim.test
spool_directory = ${options.spool}
log_file_path = ${options.log}/%s.log
pid_file_path = ${options.spool}/exim.pid
daemon_smtp_ports = ${options.port}
local_interfaces = <; ${options.submissionsOn ?? "127.0.0.1 ; ::1"}
tls_on_connect_ports = 465
keep_environment =
deliver_drop_privilege
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
message_size_limit = 100M
smtp_accept_max = 0
host_lookup =
rfc1413_hosts =
acl_smtp_rcpt = on_rcpt
acl_smtp_data = on_data
tls_advertise_hosts = ${certificate ? "*" : ""}
${options.settings?.join("\n") ?? ""}
${certificate ? `tls_certificate = ${certificate.cert}\ntls_privatekey = ${certificate.key}` : ""}

begin acl
on_rcpt:
${login ? "  require authenticated = *" : ""}
${options.mailboxes ? "  require verify = recipient" : ""}
  accept
on_data:
  accept

begin routers
here:
  driver = accept
  address_data = \${lookup{\${lc:$local_part@$domain}}lsearch{${options.mailboxFile}}{$value}fail}
  transport = maildir
${
    relayTo
      ? `away:
  driver = manualroute
  route_list = * ${relayHost}
  self = send
  transport = smtp
`
      : ""
  }
${
    options.byMx
      ? `mx:
  driver = dnslookup
  self = send
  transport = smtp
`
      : ""
  }
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = $address_data
  create_directory
  return_path_add
smtp:
  driver = smtp
  port = ${relayTo?.port ?? 25}
  allow_localhost
  hosts_try_chunking =
  ${tls}
${
    dkim
      ? `  dkim_domain = ${dkim.domain}
  dkim_selector = ${dkim.selector}
  dkim_private_key = ${options.dkimKey}
  dkim_canon = ${dkim.canonicalization}`
      : ""
  }

begin retry
* * F,1h,1s

${
    login
      ? `begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = \${if and{{eq{$auth2}{${login.user}}}{eq{$auth3}{${login.password}}}}}
  server_set_id = $auth2
`
      : ""
  }`;
}
