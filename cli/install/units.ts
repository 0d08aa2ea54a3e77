/**
 * The files of an installation on Debian: systemd units, service account, certbot's hook, log rotation.
 * Texts only; install.ts writes them.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../../config/config.ts";
import type { Server } from "../../server/server.ts";
import { allServers } from "../../server/servers.ts";
import { SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { shellWord } from "../../base/shell_word.ts";
import { DASHBOARD_UNIT, dashboardUnit } from "./dashboard_unit.ts";
import { confinement, word } from "./unit_words.ts";

/** A file that belongs to the installation. */
export interface InstalledFile {
  /** Absolute. */
  readonly path: string;
  /** The content; each line that begins with `#` is a comment. */
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
export async function installedFiles(config: Config, options: UnitOptions): Promise<InstalledFile[]> {
  const plain = (path: string, text: string) => ({ path, text, mode: 0o644 });
  const lineage = certbotLineage(config);
  const all = await allServers();
  const servers = all.filter((server) => server.isConfigured(config));
  return [
    ...servers.map((server) =>
      plain(join(SYSTEMD, `${server.unit.name}.service`), unit(config, { ...options, servers: all, server }))
    ),
    ...(config.tls.acme === undefined ? [] : [
      plain(join(SYSTEMD, "mailapp-certificate.service"), renewalService(config, options)),
      plain(join(SYSTEMD, "mailapp-certificate.timer"), RENEWAL_TIMER),
    ]),
    ...(config.dashboard.installed
      ? [plain(join(SYSTEMD, `${DASHBOARD_UNIT}.service`), dashboardUnit(config, options))]
      : []),
    plain("/etc/sysusers.d/mailapp.conf", sysusers(config)),
    ...(hasAlerts(config)
      ? [plain(join(SYSTEMD, "mailapp-alert@.service"), alertUnit(config, options))]
      : []),
    ...(lineage === undefined
      ? []
      : [{ path: certbotHookPath, text: certbotHook(lineage, servers), mode: 0o755 }]),
    ...(config.log.file === undefined
      ? []
      : [plain("/etc/logrotate.d/mailapp", logrotate(config.log.file, servers))]),
  ];
}

/** Where certbot looks for what to do after a renewal. */
export const certbotHookPath = "/etc/letsencrypt/renewal-hooks/deploy/mailapp";

/** The lineage directory of a certificate managed by certbot. */
export function certbotLineage({ tls: { certificate } }: Config): string | undefined {
  if (!certificate?.keyFile.startsWith(CERTBOT_LIVE)) return undefined;
  const [name] = certificate.keyFile.slice(CERTBOT_LIVE.length).split("/");
  return name ? CERTBOT_LIVE + name : undefined;
}

interface UnitParts extends UnitOptions {
  /** All that there are. */
  readonly servers: readonly Server[];
  readonly server: Server;
}

function unit(config: Config, parts: UnitParts): string {
  const { executable, mailRoot, server } = parts;
  const { name, unit: { description, umask, settings } } = server;
  // The ports are the same on all addresses.
  const addresses = [{ address: "127.0.0.1", tentative: false }];
  const ports = server.endpoints(config, { hasCertificate: true, addresses }).map(({ port }) => port);
  // Those that are not configured have nothing to reload.
  const others = parts.servers.filter((other) => other !== server).map(({ unit }) => `${unit.name}.service`);
  const hidden = [
    ...server.unit.hidden(config, { mailRoot }),
    ...(config.dashboard.installed ? [join(config.dataDir, "dashboard")] : []),
  ];
  const writable = [
    ...server.unit.writable(config, { mailRoot }),
    ...(config.log.file === undefined ? [] : [dirname(config.log.file)]),
  ];
  const reads = [config.file, config.tls.certificate?.keyFile];
  const lowPort = ports.some((port) => port > 0 && port < 1024);
  const command = (...args: readonly string[]) =>
    [executable, ...args, ...(config.file === undefined ? [] : ["--config", config.file])]
      .map((part) => word(part, ["$"])).join(" ");
  return `[Unit]
Description=${description}
Documentation=man:mailapp-${name}(1)
Wants=network-online.target
# Mail is dated and expired by the clock.
After=network-online.target nss-lookup.target time-sync.target
# What is mounted there later would stay hidden from the server.
RequiresMountsFor=${writable.map((path) => word(path)).join(" ")}
# A domain that is added must be known to both at once.
PropagatesReloadTo=${others.join(" ")}
StartLimitIntervalSec=60
StartLimitBurst=10
${hasAlerts(config) ? "OnFailure=mailapp-alert@%n.service\n" : ""}
[Service]
Type=exec
User=${SERVICE_ACCOUNT}
Group=${SERVICE_ACCOUNT}
# As root: the portable form unpacks itself once, also after an upgrade, to where every account can read it.
ExecStartPre=+${word(executable, ["$"])} --version
ExecStartPre=${command("check-config", "--start", name)}
ExecStart=${command(name)}
# A start has succeeded once the server answers.
ExecStartPost=-${command("healthcheck", name, "--wait", "60")}
ExecReload=${command("check-config", "--start", name)}
# Not every Debian has /bin/kill.
ExecReload=/bin/sh -c "kill -HUP $MAINPID"
Restart=on-failure
RestartSec=2
# Errors that a restart does not fix: usage, data, missing file, permission, configuration (sysexits.h).
RestartPreventExitStatus=64 65 66 77 78
# Messages in flight have 30 s.
TimeoutStopSec=45
LimitNOFILE=65536
LimitCORE=0
UMask=${umask}

${confinement({ lowPort, writable, hidden, reads, settings })}

[Install]
WantedBy=multi-user.target
`;
}

/** Limited to what renewal needs: the directory of the certificate, the port of the challenge, and the network. */
function renewalService(config: Config, { executable, mailRoot }: UnitOptions): string {
  const { dataDir, file, tls: { acme } } = config;
  const renew = [executable, "certificate", "renew", ...(file === undefined ? [] : ["--config", file])];
  const hidden = [
    ...["spool", "dkim", "incoming", "maildrop", "accounts"].map((name) => join(dataDir, name)),
    mailRoot,
  ];
  return `[Unit]
Description=mailapp: renewal of the certificate
Documentation=man:mailapp-certificate(1)
Wants=network-online.target
After=network-online.target nss-lookup.target time-sync.target
RequiresMountsFor=${word(dataDir)}

[Service]
Type=oneshot
User=${SERVICE_ACCOUNT}
Group=${SERVICE_ACCOUNT}
ExecStart=${renew.map((part) => word(part, ["$"])).join(" ")}
TimeoutStartSec=600
UMask=0027

${
    confinement({
      ...{ hidden, reads: [file, acme?.caFile, acme?.externalAccount?.keyFile, acme?.dns?.keyFile] },
      writable: [dataDir],
      lowPort: acme?.challenge !== "dns-01",
      settings: ["RestrictSUIDSGID=yes"],
    })
  }
`;
}

const RENEWAL_TIMER = `[Unit]
Description=mailapp: twice a day, renew the certificate if it is due

[Timer]
OnCalendar=*-*-* 00,12:00:00
# Spreads the load of many servers on their authority.
RandomizedDelaySec=12h
Persistent=yes

[Install]
WantedBy=timers.target
`;

/** Whether alerts are sent for a failed unit. */
function hasAlerts({ alerts: { webhook, mail } }: Config): boolean {
  return webhook !== undefined || mail !== undefined;
}

/** Started by systemd with the name of a failed unit. */
function alertUnit(config: Config, { executable }: UnitOptions): string {
  const file = config.file === undefined ? "" : ` --config ${word(config.file, ["$"])}`;
  return `[Unit]
Description=mailapp: alert that %i has failed
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User=${SERVICE_ACCOUNT}
Group=${SERVICE_ACCOUNT}
ExecStart=${word(executable, ["$"])} alert unit %i${file}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
`;
}

function sysusers({ dataDir }: Config): string {
  return `# The account of the servers; systemd-sysusers makes it.
u ${SERVICE_ACCOUNT} - "mailapp mail server" ${/\s/.test(dataDir) ? "-" : dataDir}
`;
}

function certbotHook(lineage: string, servers: readonly Server[]): string {
  const services = servers.filter(({ usesCertificate }) => usesCertificate).map(({ unit }) =>
    `${unit.name}.service`
  );
  return `#!/bin/sh
# certbot runs this after each renewal: the group ${SERVICE_ACCOUNT} may read this certificate's keys, and the servers take the new one.
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
${
    services.length === 0
      ? ""
      : `if [ -d /run/systemd/system ]; then systemctl try-reload-or-restart ${services.join(" ")}; fi\n`
  }`;
}

function logrotate(file: string, servers: readonly Server[]): string {
  const services = servers.map(({ unit }) => `${unit.name}.service`);
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
