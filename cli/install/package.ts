/**
 * The Debian package and `install`: what the package has already needs no copy in /etc.
 *
 * @module
 */
import { parseConfig } from "../../config/load.ts";
import { DATA_MODE } from "../../server/parts.ts";
import { MAILDROP_MODE } from "../../relay/maildrop/directory.ts";
import { SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import { DATA_DIRECTORIES } from "./directories.ts";
import { type InstalledFile, installedFiles } from "./units.ts";

/** Where `install` copies the program if services should not run it from its present place. */
export const COPIED_EXECUTABLE = "/usr/local/bin/mailapp";

/** Where the package has it. */
export const PACKAGED_EXECUTABLE = "/usr/bin/mailapp";

/** What {@linkcode PACKAGED_EXECUTABLE} leads to in the package of the portable form. */
export const PACKAGED_LAUNCHER = "/usr/lib/mailapp/mailapp";

/** Whether the running file is the package's. */
export function isPackaged(file: string | undefined): boolean {
  return file === PACKAGED_EXECUTABLE || file === PACKAGED_LAUNCHER;
}

/** Where the package has what `install` writes to this path. */
export function packagedPath(path: string): string {
  return path.replace(/^\/etc\/(?=systemd\/system\/)/, "/lib/").replace(
    /^\/etc\/(?=sysusers\.d\/)/,
    "/usr/lib/",
  );
}

/** Whether the package has the same text for this path. */
export async function isOfPackage(
  path: string,
  { text, prefix }: { readonly text: string; readonly prefix: string },
): Promise<boolean> {
  const packaged = packagedPath(path);
  return packaged !== path && await Deno.readTextFile(prefix + packaged).catch(() => undefined) === text;
}

/** A configuration as `init` writes it, with all servers; its units fit all that keep to the default paths. */
const STANDARD = `hostname = "mx.example.com"
[tls.acme]
[serve-in]
domains = ["example.com"]
tls_port = false
[mailboxes]
users = ["postmaster"]
[serve-submit]
[serve-policy]
`;

/** The files of the package that depend on neither machine nor configuration: units, account, directories. */
export async function packagedFiles(): Promise<InstalledFile[]> {
  const config = parseConfig(STANDARD, { file: "/etc/mailapp/config.toml" });
  const files = await installedFiles(config, { executable: PACKAGED_EXECUTABLE, mailRoot: "/var/mail" });
  return [
    ...files.map((file) => ({ ...file, path: packagedPath(file.path) })),
    { path: "/usr/lib/tmpfiles.d/mailapp.conf", text: directories(config.dataDir), mode: 0o644 },
  ];
}

function directories(dataDir: string): string {
  const line = (path: string, mode: number) =>
    `d ${path} 0${mode.toString(8)} ${SERVICE_ACCOUNT} ${SERVICE_ACCOUNT} -\n`;
  return [
    "# The directories of mailapp; systemd-tmpfiles makes them.\n",
    line(dataDir, DATA_MODE | 0o001),
    ...DATA_DIRECTORIES.map((name) => line(`${dataDir}/${name}`, 0o700)),
    line(`${dataDir}/maildrop`, MAILDROP_MODE),
  ].join("");
}
