/**
 * What checks mail beside Postfix in Debian: OpenDKIM and OpenDMARC as milters, and policyd-spf.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { untilListeningAt } from "./ports.ts";
import { type RunningProgram, startUntil } from "./process.ts";
import { resolvingBy } from "./resolving.ts";

/** Running milters, and how Postfix is told of them and of policyd-spf. */
export interface CheckingMilters extends AsyncDisposable {
  /** The milters. */
  readonly pids: readonly number[];
  /** For main.cf. */
  readonly settings: Readonly<Record<string, string>>;
  /** For master.cf. */
  readonly services: readonly string[];
}

/** Starts them. Mail from loopback is checked like any other. Needs root. */
export async function startCheckingMilters(
  { dns, keys, hostname }: {
    /** The address of a DNS server on port 53. */
    readonly dns: string;
    /** Key records by name, for OpenDKIM, which asks no DNS. */
    readonly keys: Readonly<Record<string, string>>;
    /** For Authentication-Results. */
    readonly hostname: string;
  },
): Promise<CheckingMilters> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("milters"));
  const write = (name: string, settings: Readonly<Record<string, string>>, separator = " ") =>
    folder.write(
      name,
      Object.entries(settings).map(([key, value]) => `${key}${separator}${value}\n`).join(""),
    );
  // Over TCP, each message would wait for delayed acknowledgements.
  await folder.mkdir("sockets", { mode: 0o777 });
  const socket = (program: string) => folder.at(`sockets/${program}`);
  const run = async (program: string, ...args: readonly string[]): Promise<RunningProgram> => {
    const [command = "", ...rest] = await resolvingBy({ server: dns, folder, command: [program, ...args] });
    return stack.use(
      await startUntil(command, { args: rest, ready: () => untilListeningAt(socket(program)) }),
    );
  };
  // Else they leave alone what comes from this machine.
  const nobody = "192.0.2.250";
  const common = { Syslog: "no", UserID: "nobody", UMask: "000", AuthservID: hostname };
  const keyFile = await write("keys", keys);
  const dkim = await write("opendkim.conf", {
    ...common,
    Mode: "v",
    Socket: `local:${socket("opendkim")}`,
    // Its resolver fails at times with many messages at once.
    TestDNSData: `file:${keyFile}`,
    InternalHosts: nobody,
    AlwaysAddARHeader: "yes",
  });
  const dmarc = await write("opendmarc.conf", {
    ...common,
    Socket: `local:${socket("opendmarc")}`,
    RejectFailures: "true",
    IgnoreHosts: await folder.write("ignored", `${nobody}\n`),
    TrustedAuthservIDs: hostname,
  });
  const spf = await write("policyd-spf.conf", {
    debugLevel: "0",
    TestOnly: "0",
    HELO_reject: "False",
    Mail_From_reject: "False",
    Header_Type: "AR",
    Authserv_Id: hostname,
    skip_addresses: nobody,
  }, " = ");
  const programs = [
    await run("opendkim", "-f", "-x", dkim),
    await run("opendmarc", "-f", "-c", dmarc),
  ];
  const kept = stack.move();
  return {
    pids: programs.map(({ pid }) => pid),
    settings: {
      smtpd_milters: ["opendkim", "opendmarc"].map((program) => `unix:${socket(program)}`).join(" "),
      milter_default_action: "tempfail",
      smtpd_recipient_restrictions:
        "reject_unauth_destination, check_policy_service unix:private/policyd-spf",
      "policyd-spf_time_limit": "3600",
    },
    services: [`policyd-spf unix - n n - 0 spawn user=nobody argv=/usr/bin/policyd-spf ${spf}`],
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
