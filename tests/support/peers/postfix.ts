/**
 * Postfix as a separate instance, as sender, receiver or smarthost; it must run as root.
 *
 * @module
 */
import { account } from "./accounts.ts";
import type { CertificateFiles } from "./certificates.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { type RunningProgram, runOk, startUntil } from "./process.ts";
import { resolvingBy } from "./resolving.ts";

/** What the instance is to do. */
export interface PostfixOptions {
  /** Where all mail goes that is not for `mailboxes`; without it, Postfix asks the DNS. */
  readonly relayTo?: { readonly host: string; readonly port: number };
  /** smtp_tls_security_level: what the sending side does about STARTTLS. `none` if absent. */
  readonly sendTls?: "none" | "may" | "encrypt";
  /** Addresses whose mail lands in a Maildir each; others in their domains are refused. */
  readonly mailboxes?: readonly string[];
  /** Offers STARTTLS with this certificate. */
  readonly certificate?: CertificateFiles;
  /** The address of a DNS server, instead of those in /etc/resolv.conf. */
  readonly dns?: string;
  /** More lines of main.cf; they win over all others. */
  readonly settings?: Readonly<Record<string, string>>;
  /** More lines of master.cf. */
  readonly services?: readonly string[];
}

/** A running Postfix. */
export interface Postfix extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  readonly folder: Folder;
  /** The master process; its lines are the log. */
  readonly program: RunningProgram;
  /** The Maildir of one of `mailboxes`. */
  maildir(address: string): string;
}

const QUEUES = [
  ...["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop"],
  ...["private", "public", "saved", "trace"],
];

// name, type, private, unprivileged, chroot, wakeup, limit, command
const SERVICES = [
  "pickup unix n - n 60 1 pickup",
  "cleanup unix n - n - 0 cleanup",
  "qmgr unix n - n 300 1 qmgr",
  "tlsmgr unix - - n 1000? 1 tlsmgr",
  "rewrite unix - - n - - trivial-rewrite",
  "bounce unix - - n - 0 bounce",
  "defer unix - - n - 0 bounce",
  "trace unix - - n - 0 bounce",
  "verify unix - - n - 1 verify",
  "flush unix n - n 1000? 0 flush",
  "proxymap unix - - n - - proxymap",
  "proxywrite unix - - n - 1 proxymap",
  "smtp unix - - n - - smtp",
  "relay unix - - n - - smtp",
  "showq unix n - n - - showq",
  "error unix - - n - - error",
  "retry unix - - n - - error",
  "discard unix - - n - - discard",
  "local unix - n n - - local",
  "virtual unix - n n - - virtual",
  "lmtp unix - - n - - lmtp",
  "anvil unix - - n - 1 anvil",
  "scache unix - - n - 1 scache",
  "postlog unix-dgram n - n - 1 postlogd",
];

/** Starts an instance and waits until it answers. */
export async function startPostfix(options: PostfixOptions = {}): Promise<Postfix> {
  const { mailboxes = [] } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("postfix"));
  const { uid, gid } = await account("postfix");
  const port = freePort();
  const maildirs = await folder.mkdir("maildirs", { uid, gid });
  await folder.mkdir("data", { uid, gid });
  await folder.mkdir("queue");
  for (const name of QUEUES) await folder.mkdir(`queue/${name}`, { mode: 0o700, uid, gid });
  await folder.mkdir("queue/pid");
  await folder.mkdir("etc");
  await folder.mkdir("etc/dynamicmaps.cf.d");
  await Deno.copyFile("/etc/postfix/dynamicmaps.cf", folder.at("etc/dynamicmaps.cf"));
  await folder.write(
    "etc/main.cf",
    Object.entries({
      compatibility_level: "3.6",
      myhostname: "postfix.test",
      mydestination: "",
      mynetworks: "127.0.0.0/8 [::1]/128",
      inet_interfaces: "127.0.0.1 ::1",
      inet_protocols: "all",
      queue_directory: folder.at("queue"),
      data_directory: folder.at("data"),
      meta_directory: folder.at("etc"),
      alias_maps: "",
      alias_database: "",
      local_transport: "error:no local mail",
      smtpd_relay_restrictions: "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
      maillog_file: "/dev/stdout",
      message_size_limit: "104857600",
      mailbox_size_limit: "0",
      virtual_mailbox_limit: "0",
      virtual_mailbox_domains: mailboxes.map((address) => address.slice(address.lastIndexOf("@") + 1)).join(
        " ",
      ),
      virtual_mailbox_base: maildirs,
      virtual_mailbox_maps: `texthash:${folder.at("etc/mailboxes")}`,
      virtual_uid_maps: `static:${uid}`,
      virtual_gid_maps: `static:${gid}`,
      virtual_minimum_uid: "1",
      smtp_tls_security_level: options.sendTls ?? "none",
      smtp_tls_loglevel: "1",
      smtp_address_preference: "ipv4",
      // What fails is tried again soon, so that a test sees it.
      minimal_backoff_time: "1s",
      maximal_backoff_time: "2s",
      queue_run_delay: "1s",
      ...(options.relayTo ? { relayhost: `[${options.relayTo.host}]:${options.relayTo.port}` } : {}),
      ...(options.certificate
        ? {
          smtpd_tls_security_level: "may",
          smtpd_tls_chain_files: `${options.certificate.key}, ${options.certificate.cert}`,
        }
        : {}),
      ...options.settings,
    }).map(([name, value]) => `${name} = ${value}\n`).join(""),
  );
  await folder.write("etc/mailboxes", mailboxes.map((address) => `${address} ${address}/\n`).join(""));
  await folder.write(
    "etc/master.cf",
    [`${port} inet n - n - - smtpd`, ...SERVICES, ...options.services ?? []].join("\n") + "\n",
  );
  // What `postfix start-fg` comes to, without the checks that take its script seconds.
  const daemons = (await runOk("postconf", { args: ["-d", "-h", "daemon_directory"] })).trim();
  const master = [`${daemons}/master`, "-s", "-c", folder.at("etc")];
  const { dns } = options;
  const [command = "", ...args] = dns === undefined
    ? master
    : await resolvingBy({ server: dns, folder, command: master });
  const program = await startUntil(command, { args, ready: () => untilListening(port) });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    folder,
    program,
    maildir: (address) => `${maildirs}/${address}`,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
