/**
 * The files that make mailapp a part of a Debian machine: systemd units, service account, certbot's hook, log rotation.
 * Texts only; install.ts writes them.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../../config/config.ts";
import { shellWord } from "../command_line/terminal.ts";

/** The account and the group of both servers. */
export const SERVICE_ACCOUNT = "mailapp";

/** A file that belongs to the installation. */
export interface InstalledFile {
  /** Absolute. */
  readonly path: string;
  /** In which each line that begins with `#` is a comment. */
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What goes into the files. */
export interface UnitOptions {
  /** The program, absolute. */
  readonly executable: string;
  /** The directory that all Maildirs are in. */
  readonly mailRoot: string;
}

const SYSTEMD = "/etc/systemd/system";
const CERTBOT_LIVE = "/etc/letsencrypt/live/";

/** All files for this configuration. serve-in has a unit when it has domains. */
export function installedFiles(config: Config, options: UnitOptions): InstalledFile[] {
  const plain = (path: string, text: string) => ({ path, text, mode: 0o644 });
  const lineage = certbotLineage(config);
  const hasServeIn = config.serveIn.domains.length > 0;
  return [
    ...(hasServeIn ? [plain(join(SYSTEMD, "mailapp-in.service"), serveInUnit(config, options))] : []),
    plain(join(SYSTEMD, "mailapp-out.service"), serveOutUnit(config, options)),
    plain("/etc/sysusers.d/mailapp.conf", sysusers(config)),
    ...(lineage === undefined ? [] : [{ path: certbotHookPath, text: certbotHook(lineage), mode: 0o755 }]),
    ...(config.log.file === undefined
      ? []
      : [plain("/etc/logrotate.d/mailapp", logrotate(config.log.file, { hasServeIn }))]),
  ];
}

/** Where certbot looks for what to do after a renewal. */
export const certbotHookPath = "/etc/letsencrypt/renewal-hooks/deploy/mailapp";

/** The directory of the certificate in certbot's care, if it is. */
export function certbotLineage({ tls: { certificate } }: Config): string | undefined {
  if (!certificate?.keyFile.startsWith(CERTBOT_LIVE)) return undefined;
  const [name] = certificate.keyFile.slice(CERTBOT_LIVE.length).split("/");
  return name ? CERTBOT_LIVE + name : undefined;
}

function serveInUnit(config: Config, options: UnitOptions): string {
  const { dataDir, serveIn } = config;
  return unit(config, {
    ...options,
    server: "serve-in",
    description: "mailapp: mail from the Internet into Maildirs",
    ports: [serveIn.port, ...(serveIn.tlsPort === false ? [] : [serveIn.tlsPort])],
    writable: [dataDir, options.mailRoot],
    hidden: [join(dataDir, "spool"), join(dataDir, "dkim")],
    // Maildirs are setgid, so that a reader's group has what comes.
    more: ["RestrictSUIDSGID=no"],
  });
}

function serveOutUnit(config: Config, options: UnitOptions): string {
  const { dataDir, serveIn, serveOut } = config;
  const { mailRoot } = options;
  const nested = isWithin(dataDir, mailRoot) || isWithin(config.file ?? "", mailRoot);
  return unit(config, {
    ...options,
    server: "serve-out",
    description: "mailapp: mail from programs on this machine to the world",
    ports: [serveOut.port],
    writable: [dataDir],
    hidden: [join(dataDir, "incoming"), ...(serveIn.domains.length === 0 || nested ? [] : [mailRoot])],
    more: ["RestrictSUIDSGID=yes"],
  });
}

interface UnitParts extends UnitOptions {
  readonly server: "serve-in" | "serve-out";
  readonly description: string;
  readonly ports: readonly number[];
  readonly writable: readonly string[];
  /** What the other server has beside. */
  readonly hidden: readonly string[];
  readonly more: readonly string[];
}

function unit(config: Config, parts: UnitParts): string {
  const { executable, server, description, ports, hidden } = parts;
  const writable = [...parts.writable, ...(config.log.file === undefined ? [] : [dirname(config.log.file)])];
  const paths = [...writable, config.file ?? "", config.tls.certificate?.keyFile ?? ""];
  const low = ports.some((port) => port > 0 && port < 1024) ? "CAP_NET_BIND_SERVICE" : "";
  const command = [executable, server, ...(config.file === undefined ? [] : ["--config", config.file])];
  return `[Unit]
Description=${description}
Wants=network-online.target
After=network-online.target nss-lookup.target
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=exec
User=${SERVICE_ACCOUNT}
Group=${SERVICE_ACCOUNT}
# As root: the portable form unpacks itself once, after an upgrade too, to where every account has it.
ExecStartPre=+${word(executable, ["$"])} --version
ExecStart=${command.map((part) => word(part, ["$"])).join(" ")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# What a start alone does not mend: usage, data, missing file, permission, configuration (sysexits.h).
RestartPreventExitStatus=64 65 66 77 78
# Messages in flight have 30 s.
TimeoutStopSec=45
LimitNOFILE=65536
LimitCORE=0
UMask=${server === "serve-in" ? "0007" : "0077"}

AmbientCapabilities=${low}
CapabilityBoundingSet=${low}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=${writable.map((path) => word(path)).join(" ")}
InaccessiblePaths=${hidden.map((path) => word(`-${path}`)).join(" ")}
ProtectHome=${paths.some(isAtHome) ? "read-only" : "yes"}
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
KeyringMode=private
LockPersonality=yes
# Addresses and routes come by netlink.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
${parts.more.join("\n")}
RemoveIPC=yes
SystemCallArchitectures=native
# MemoryDenyWriteExecute is not possible: V8 compiles as it runs.
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @keyring @setuid
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`;
}

/** A word of a unit file: systemd's specifiers and quotes are taken literally, and what is `doubled` too. */
function word(text: string, doubled: readonly string[] = []): string {
  let escaped = text.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%");
  for (const char of doubled) escaped = escaped.replaceAll(char, () => char + char);
  return /^[\w./@%+:$-]+$/.test(text) ? escaped : `"${escaped}"`;
}

function isAtHome(path: string): boolean {
  return ["/home", "/root", "/run/user"].some((home) => isWithin(path, home));
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
}

function sysusers({ dataDir }: Config): string {
  return `# The account of both servers; systemd-sysusers makes it.
u ${SERVICE_ACCOUNT} - "mailapp mail server" ${/\s/.test(dataDir) ? "-" : dataDir}
`;
}

function certbotHook(lineage: string): string {
  return `#!/bin/sh
# certbot runs this after each renewal: the group ${SERVICE_ACCOUNT} may read this certificate's keys, and serve-in takes the new one.
set -eu
lineage=${shellWord(lineage)}
[ "\${RENEWED_LINEAGE:-}" = "$lineage" ] || exit 0
archive=/etc/letsencrypt/archive
# Both directories may be passed through, not listed, from now on. Old certbots left keys that all could read.
for key in "$archive"/*/privkey*.pem; do
  if [ -f "$key" ]; then chmod o-rwx "$key"; fi
done
chgrp ${SERVICE_ACCOUNT} "$archive/\${lineage##*/}"/privkey*.pem
chmod u=rw,g=r,o= "$archive/\${lineage##*/}"/privkey*.pem
chmod a+x /etc/letsencrypt/live "$archive"
if [ -d /run/systemd/system ]; then systemctl try-reload-or-restart mailapp-in.service; fi
`;
}

function logrotate(file: string, { hasServeIn }: { readonly hasServeIn: boolean }): string {
  const services = ["mailapp-out.service", ...(hasServeIn ? ["mailapp-in.service"] : [])];
  return `"${file}" {
  weekly
  rotate 8
  compress
  delaycompress
  missingok
  notifempty
  su ${SERVICE_ACCOUNT} ${SERVICE_ACCOUNT}
  create 0640 ${SERVICE_ACCOUNT} ${SERVICE_ACCOUNT}
  sharedscripts
  postrotate
    # They open it again.
    systemctl kill --signal=HUP ${services.join(" ")} 2>/dev/null || true
  endscript
}
`;
}
