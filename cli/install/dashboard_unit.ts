/**
 * The systemd unit of `mailapp dashboard`.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../../config/config.ts";
import { isWithin } from "../../server/grants.ts";
import { SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { confinement, word } from "./unit_words.ts";
import type { UnitOptions } from "./units.ts";

/** The unit of the dashboard, without `.service`. */
export const DASHBOARD_UNIT = "mailapp-dashboard";

/** The unit: its own directory and the log are all that it may write to. */
export function dashboardUnit(config: Config, { executable, mailRoot }: UnitOptions): string {
  const { dataDir, file, log, dashboard: { reports } } = config;
  const command = [executable, "dashboard", ...(file === undefined ? [] : ["--config", file])];
  const hidden = [
    ...["spool", "dkim", "tls", "maildrop", "accounts", "acme"].map((name) => join(dataDir, name)),
    // A mailbox in it may be made later; its thread reads no other.
    ...(reports !== undefined || isWithin(dataDir, mailRoot) || isWithin(file ?? "", mailRoot)
      ? []
      : [mailRoot]),
  ];
  const writable = [join(dataDir, "dashboard"), ...(log.file === undefined ? [] : [dirname(log.file)])];
  return `[Unit]
Description=mailapp: the page in the browser
After=network.target
RequiresMountsFor=${writable.map((path) => word(path)).join(" ")}

[Service]
Type=exec
User=${SERVICE_ACCOUNT}
Group=${SERVICE_ACCOUNT}
${log.file === undefined ? "# To read the log in the journal.\nSupplementaryGroups=systemd-journal\n" : ""}\
ExecStart=${command.map((part) => word(part, ["$"])).join(" ")}
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=64 65 66 77 78
LimitCORE=0
UMask=0077
MemoryMax=1G

${
    confinement({
      ...{ writable, hidden, reads: [file], lowPort: false },
      settings: ["RestrictSUIDSGID=yes"],
    })
  }

[Install]
WantedBy=multi-user.target
`;
}
