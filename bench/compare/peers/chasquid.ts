/**
 * chasquid in the comparison, with procmail to deliver by.
 *
 * @module
 */
import type { CertificateFiles } from "../../../tests/support/peers/certificates.ts";
import { type Folder, makeFolder } from "../../../tests/support/peers/folder.ts";
import { freePort, untilListening } from "../../../tests/support/peers/ports.ts";
import { runOk, startUntil } from "../../../tests/support/peers/process.ts";
import { resolvingBy } from "../../../tests/support/peers/resolving.ts";
import { unpacked } from "../../../tests/support/peers/unpacked.ts";
import { HOSTNAME } from "../../server_under_load.ts";
import { DOMAIN, type Peer, RECIPIENT, type Target, targetOf, type World } from "../peer.ts";

const PROGRAM = "usr/bin/chasquid";
const PASSWORD = "secret";

/** Debian's chasquid. It relays only after TLS and a login. */
export const CHASQUID: Peer = {
  name: "chasquid",
  warmUp: 300,
  version: async () =>
    /^chasquid (\S+)/.exec(await runOk(unpacked(PROGRAM), { args: ["-version"] }))?.[1] ?? "unknown",
  start: { store: startStoring, relay: startRelaying, submit: startRelaying },
  lacks: {
    sign: "it signs by a hook that is not set up here",
    check: "its hooks for DKIM and DMARC are not set up here",
  },
};

async function startStoring(world: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { folder, port, pid } = await startInto(stack, world);
  return targetOf({ port, pids: [pid], maildir: folder.at("Maildir"), with: "procmail" }, stack);
}

async function startRelaying(world: World): Promise<Target> {
  await using stack = new AsyncDisposableStack();
  const { tlsPort, pid } = await startInto(stack, world);
  const login = { user: RECIPIENT, password: PASSWORD };
  return targetOf({ port: tlsPort, pids: [pid], tls: "implicit", login }, stack);
}

async function startInto(
  stack: AsyncDisposableStack,
  { certificate, dns }: Pick<World, "certificate" | "dns">,
): Promise<
  { readonly folder: Folder; readonly port: number; readonly tlsPort: number; readonly pid: number }
> {
  const folder = stack.use(await makeFolder("chasquid"));
  const [port, tlsPort] = [freePort(), freePort()];
  await writeConfig(folder, { certificate, port, tlsPort });
  const command = [
    unpacked(PROGRAM),
    "-config_dir",
    folder.at("etc"),
    "-logfile",
    folder.at("chasquid.log"),
  ];
  const [program = "", ...args] = await resolvingBy({ server: dns, folder, command });
  const { pid } = stack.use(
    await startUntil(program, {
      args,
      ready: () => Promise.all([untilListening(port), untilListening(tlsPort)]),
    }),
  );
  return { folder, port, tlsPort, pid };
}

async function writeConfig(
  folder: Folder,
  { certificate, port, tlsPort }: { certificate: CertificateFiles; port: number; tlsPort: number },
): Promise<void> {
  for (const name of ["etc", "etc/certs", `etc/certs/${HOSTNAME}`, "etc/domains", `etc/domains/${DOMAIN}`]) {
    await folder.mkdir(name);
  }
  await Deno.copyFile(certificate.cert, folder.at(`etc/certs/${HOSTNAME}/fullchain.pem`));
  await Deno.copyFile(certificate.key, folder.at(`etc/certs/${HOSTNAME}/privkey.pem`));
  const maildir = folder.at("Maildir");
  const procmailrc = await folder.write("procmailrc", `DEFAULT=${maildir}/\n`);
  const settings = {
    hostname: HOSTNAME,
    smtp_address: `127.0.0.1:${port}`,
    submission_over_tls_address: `127.0.0.1:${tlsPort}`,
    data_dir: await folder.mkdir("data"),
    mail_log_path: folder.at("mail.log"),
    mail_delivery_agent_bin: unpacked("usr/bin/procmail"),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`);
  for (const argument of ["-f", "%from%", "-m", procmailrc]) {
    lines.push(`mail_delivery_agent_args: ${JSON.stringify(argument)}\n`);
  }
  lines.push("max_data_size_mb: 100\n");
  await folder.write("etc/chasquid.conf", lines.join(""));
  await runOk(unpacked("usr/bin/chasquid-util"), {
    args: [`--configdir=${folder.at("etc")}`, "user-add", RECIPIENT, `--password=${PASSWORD}`],
  });
}
