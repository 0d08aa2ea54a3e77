/**
 * Programs that submit one message: swaks, msmtp, curl, Python's smtplib.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { PYTHON, runOk } from "./process.ts";

/** How a client protects the connection: not at all, by STARTTLS, or from the first byte on (port 465). */
export type ClientTls = "plain" | "starttls" | "implicit";

/** What a client is to send. */
export interface Submission {
  /** An address, 127.0.0.1 or ::1. */
  readonly host: string;
  readonly port: number;
  readonly tls: ClientTls;
  readonly from: string;
  readonly to: readonly string[];
  /** The message with LF line ends, as such programs read it. */
  readonly message: string;
}

/** Sends it with swaks, which ends the message's last line itself. @throws {Error} when it is refused */
export async function swaks({ host, port, tls, from, to, message }: Submission): Promise<void> {
  await runOk("swaks", {
    args: [
      ...[
        "--server",
        host.includes(":") ? `[${host}]` : host,
        "--port",
        String(port),
        "--helo",
        "swaks.test",
      ],
      ...["--from", from, "--to", to.join(","), "--data", "-"],
      ...{ plain: [], starttls: ["--tls"], implicit: ["--tls-on-connect"] }[tls],
    ],
    stdin: message.replace(/\n$/, ""),
  });
}

/** Sends it with msmtp. @throws {Error} when it is refused */
export async function msmtp({ host, port, tls, from, to, message }: Submission): Promise<void> {
  await runOk("msmtp", {
    args: [
      ...["--file=/dev/null", `--host=${host}`, `--port=${port}`, `--from=${from}`, "--domain=msmtp.test"],
      ...{
        plain: ["--tls=off"],
        starttls: ["--tls=on", "--tls-starttls=on", "--tls-certcheck=off"],
        implicit: ["--tls=on", "--tls-starttls=off", "--tls-certcheck=off"],
      }[tls],
      "--",
      ...to,
    ],
    stdin: message,
    env: { HOME: "/nonexistent" },
  });
}

/** Sends it with curl. @throws {Error} when it is refused */
export async function curl({ host, port, tls, from, to, message }: Submission): Promise<void> {
  await using folder = await makeFolder("curl");
  const file = await folder.write("message", message);
  await runOk("curl", {
    args: [
      ...["--silent", "--show-error", "--insecure", "--crlf", "--upload-file", file],
      ...tls === "starttls" ? ["--ssl-reqd"] : [],
      ...["--mail-from", from, ...to.flatMap((recipient) => ["--mail-rcpt", recipient])],
      `${tls === "implicit" ? "smtps" : "smtp"}://${
        host.includes(":") ? `[${host}]` : host
      }:${port}/curl.test`,
    ],
  });
}

const SMTPLIB = `
import re, smtplib, ssl, sys
host, port, tls, sender, *recipients = sys.argv[1:]
context = ssl._create_unverified_context()
if tls == "implicit":
    smtp = smtplib.SMTP_SSL(host, int(port), local_hostname="smtplib.test", context=context)
else:
    smtp = smtplib.SMTP(host, int(port), local_hostname="smtplib.test")
if tls == "starttls":
    smtp.starttls(context=context)
smtp.ehlo_or_helo_if_needed()
data = re.sub(b"\\r?\\n", b"\\r\\n", sys.stdin.buffer.read())
utf8 = any(not address.isascii() for address in [sender, *recipients])
options = (["BODY=8BITMIME"] if not data.isascii() else []) + (["SMTPUTF8"] if utf8 else [])
refused = smtp.sendmail(sender, recipients, data, options)
smtp.quit()
sys.exit(f"refused: {refused}" if refused else 0)
`;

/** Sends it with Python's smtplib. @throws {Error} when it is refused */
export async function smtplib(
  { host, port, tls, from, to, message }: Omit<Submission, "message"> & {
    readonly message: string | Uint8Array;
  },
): Promise<void> {
  await runOk(PYTHON, {
    args: ["-c", SMTPLIB, host, String(port), tls, from, ...to],
    stdin: message,
  });
}
