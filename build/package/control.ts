/**
 * The control files of the Debian package.
 *
 * @module
 */

/** What the control file says. */
export interface ControlOptions {
  readonly version: string;
  /** As Debian names it, such as `amd64`. */
  readonly architecture: string;
  /** Name and address, as `DEBFULLNAME` and `DEBEMAIL` have them. */
  readonly maintainer: string;
  /** In KiB, of all files. */
  readonly installedSize: number;
}

/** The names by which Debian calls the machines that the program is built on. */
export const ARCHITECTURES: Readonly<Record<typeof Deno.build.arch, string>> = {
  x86_64: "amd64",
  aarch64: "arm64",
};

/** DEBIAN/control. */
export function controlFile({ version, architecture, maintainer, installedSize }: ControlOptions): string {
  return `Package: mailapp
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${installedSize}
Depends: libc6 (>= 2.31), libgcc-s1, passwd
Recommends: systemd
Suggests: dovecot-imapd, fail2ban, logrotate
Provides: mail-transport-agent
Conflicts: mail-transport-agent
Replaces: mail-transport-agent
Section: mail
Priority: optional
Description: mail server in one program
 mailapp takes mail from the Internet into Maildirs, relays mail of programs on
 this machine with a queue on disk, and takes mail of people who log in. It
 signs with DKIM, checks SPF, DKIM and DMARC, and honours DANE and MTA-STS.
 .
 After the installation, mailapp init asks a few questions and writes a first
 configuration; mailapp doctor says what is still missing.
`;
}

/** changelog.gz, in Debian's form; what changed is in CHANGELOG.md. */
export function changelog(
  { version, maintainer }: Pick<ControlOptions, "version" | "maintainer">,
  date: Date,
): string {
  const moment = date.toUTCString().replace("GMT", "+0000");
  return `mailapp (${version}) unstable; urgency=medium

  * What changed is in /usr/share/doc/mailapp/CHANGELOG.md.

 -- ${maintainer}  ${moment}
`;
}

/** The file copyright, machine-readable as DEP 5 has it; `packages` are those of deno.lock, such as `zod@4.6.7`. */
export function copyrightFile(licence: string, packages: readonly string[]): string {
  const [, notice = ""] = /^(Copyright .*)$/m.exec(licence) ?? [];
  const body = licence.slice(licence.indexOf("Permission is")).trim().split("\n")
    .map((line) => line === "" ? " ." : ` ${line}`).join("\n");
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: mailapp
Comment: The program contains the runtime Deno (MIT, https://github.com/denoland/deno) and these packages of npm,
 each with its own licence, which https://www.npmjs.com/package/NAME names:
${packages.map((name) => ` ${name}`).join("\n")}

Files: *
Copyright: ${notice.replace(/^Copyright (?:\(c\) )?/, "")}
License: Expat

License: Expat
${body}
`;
}
