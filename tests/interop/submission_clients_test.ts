// Mail programs that we did not write, as people set them up: they log in to serve-submit and send, by TLS at once and by
// STARTTLS, over IPv4 and IPv6; and say so where the password is wrong.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { RunningMailapp } from "../support/mailapp.ts";
import { type Finished, PYTHON, run } from "../support/peers/process.ts";
import { isMissing, testWith } from "../support/requires.ts";
import { HOSTNAME, PASSWORD, SubmissionMachine } from "../support/submission.ts";

const LOGIN = "alice@example.com";
const BODY = "Grüße\n.\nmore\n";
const FROM = "From: Alice <alice@example.com>\nTo: bob@example.com\n";

/** One way to reach the server. */
interface Way {
  readonly host: string;
  readonly port: number;
  /** TLS at once, or by STARTTLS. */
  readonly implicit: boolean;
  /** PEM of who issued the certificate. */
  readonly ca: string;
  readonly password: string;
  readonly subject: string;
  /** An empty home directory. */
  readonly home: string;
}

interface Client {
  readonly title: string;
  readonly program: string;
  /** What the log says it used. */
  readonly mechanism: RegExp;
  send(way: Way): Promise<Finished>;
}

const bracketed = (host: string) => host.includes(":") ? `[${host}]` : host;
const url = ({ implicit, host, port }: Way, user = "") =>
  `${implicit ? "smtps" : "smtp"}://${user}${bracketed(host)}:${port}`;

function swaks(mechanism: string): Client {
  return {
    title: `swaks, ${mechanism}`,
    program: "swaks",
    mechanism: new RegExp(`^${mechanism}$`),
    send: (way) =>
      run("swaks", {
        args: [
          ...["--server", way.host, "--port", String(way.port), way.implicit ? "--tls-on-connect" : "--tls"],
          ...["--tls-verify", "--tls-ca-path", way.ca, "--tls-sni", HOSTNAME],
          ...["--auth", mechanism, "--auth-user", LOGIN, "--auth-password", way.password],
          ...[
            "--from",
            LOGIN,
            "--to",
            "bob@example.com",
            "--data",
            `${FROM}Subject: ${way.subject}\n\n${BODY}`,
          ],
        ],
        env: { HOME: way.home },
      }),
  };
}

function msmtp(mechanism: string): Client {
  return {
    title: `msmtp, ${mechanism}`,
    program: "msmtp",
    mechanism: new RegExp(`^${mechanism}$`),
    send: (way) =>
      run("msmtp", {
        args: [
          ...["--file=/dev/null", `--host=${way.host}`, `--port=${way.port}`, `--from=${LOGIN}`, "--tls=on"],
          ...[`--tls-starttls=${way.implicit ? "off" : "on"}`, `--tls-trust-file=${way.ca}`],
          ...[`--auth=${mechanism.toLowerCase()}`, `--user=${LOGIN}`, `--passwordeval=echo ${way.password}`],
          ...["--", "bob@example.com"],
        ],
        stdin: `${FROM}Subject: ${way.subject}\n\n${BODY}`,
        env: { HOME: way.home },
      }),
  };
}

const SMTPLIB = `
import smtplib, ssl, sys
from email.message import EmailMessage
host, port, implicit, ca, login, password, subject, body = sys.argv[1:]
message = EmailMessage()
message["From"], message["To"], message["Subject"] = login, "bob@example.com", subject
message.set_content(body, cte="8bit")
context = ssl.create_default_context(cafile=ca)
if implicit == "true":
    smtp = smtplib.SMTP_SSL(host, int(port), context=context)
else:
    smtp = smtplib.SMTP(host, int(port))
    smtp.starttls(context=context)
with smtp:
    smtp.login(login, password)
    assert smtp.send_message(message) == {}
`;

const NODEMAILER = fileURLToPath(new URL("../support/nodemailer_client.ts", import.meta.url));

const CLIENTS: readonly Client[] = [
  swaks("PLAIN"),
  swaks("LOGIN"),
  msmtp("PLAIN"),
  msmtp("LOGIN"),
  msmtp("SCRAM-SHA-256"),
  {
    title: "mutt",
    program: "mutt",
    mechanism: /^(?:PLAIN|LOGIN|SCRAM-SHA-256)$/,
    send: async (way) => {
      const muttrc = `${way.home}/muttrc`;
      await Deno.writeTextFile(
        muttrc,
        [
          `set smtp_url="${url(way, `${LOGIN.replace("@", "%40")}@`)}"`,
          `set smtp_pass="${way.password}"`,
          `set ssl_ca_certificates_file="${way.ca}"`,
          "set ssl_starttls=yes ssl_force_tls=yes ssl_usesystemcerts=no",
          `set from="${LOGIN}" realname="Alice" use_envelope_from=yes`,
          "set copy=no record=/dev/null send_charset=utf-8",
          "",
        ].join("\n"),
      );
      return await run("mutt", {
        args: ["-n", "-F", muttrc, "-s", way.subject, "bob@example.com"],
        stdin: BODY,
        env: { HOME: way.home, LANG: "C.UTF-8", TERM: "dumb" },
      });
    },
  },
  {
    title: "curl",
    program: "curl",
    mechanism: /^(?:PLAIN|LOGIN)$/,
    send: (way) =>
      run("curl", {
        args: [
          ...[
            "--silent",
            "--show-error",
            "--ssl-reqd",
            "--cacert",
            way.ca,
            "--url",
            `${url(way)}/client.test`,
          ],
          ...["--user", `${LOGIN}:${way.password}`, "--mail-from", LOGIN, "--mail-rcpt", "bob@example.com"],
          ...["--upload-file", "-", "--crlf"],
        ],
        stdin: `${FROM}Subject: ${way.subject}\n\n${BODY}`,
        env: { HOME: way.home },
      }),
  },
  {
    title: "Python's smtplib",
    program: PYTHON,
    mechanism: /^(?:PLAIN|LOGIN)$/,
    send: ({ host, port, implicit, ca, password, subject }) =>
      run(PYTHON, {
        args: ["-c", SMTPLIB, host, String(port), String(implicit), ca, LOGIN, password, subject, BODY],
      }),
  },
  {
    title: "s-nail",
    program: "s-nail",
    mechanism: /^(?:PLAIN|LOGIN)$/,
    send: (given) => {
      // It finds no IP addresses in certificates.
      const way = { ...given, host: "localhost" };
      return run("s-nail", {
        args: [
          ...["-n", "-S", "v15-compat", "-S", "smtp-auth=plain", "-S", `tls-ca-file=${way.ca}`],
          ...[
            "-S",
            "tls-ca-no-defaults",
            "-S",
            "tls-verify=strict",
            "-S",
            "sendwait",
            "-S",
            `hostname=client.test`,
          ],
          ...(way.implicit ? [] : ["-S", "smtp-use-starttls"]),
          ...["-S", `from=Alice <${LOGIN}>`, "-s", way.subject],
          ...["-S", `mta=${url(way, `${encodeURIComponent(LOGIN)}:${encodeURIComponent(way.password)}@`)}`],
          "bob@example.com",
        ],
        stdin: BODY,
        env: { HOME: way.home, LANG: "C.UTF-8" },
      });
    },
  },
  {
    title: "nodemailer",
    program: "deno",
    mechanism: /^(?:PLAIN|LOGIN)$/,
    send: (way) =>
      run(Deno.execPath(), {
        args: [
          ...["run", "-A", "--quiet", "--frozen", NODEMAILER],
          JSON.stringify({
            ...way,
            ca: Deno.readTextFileSync(way.ca),
            login: LOGIN,
            to: "bob@example.com",
            text: BODY,
          }),
        ],
      }),
  },
];

const hosts = ["127.0.0.1", "::1"] as const;

Deno.test("mail programs log in and send over each way, and hear of a wrong password", async (t) => {
  await using machine = await SubmissionMachine.create({
    changes: { "serve-submit": { messages_an_hour: 0, recipients_an_hour: 0 } },
  });
  await using serveIn = await machine.start("serve-in");
  await using _serveOut = await machine.start("serve-out");
  for (const [index, client] of CLIENTS.entries()) {
    // Each has its own server, whose throttle knows of no earlier failure.
    await t.step({
      name: client.title,
      ignore: client.program !== "deno" && isMissing(client.program),
      fn: async () => {
        await using serveSubmit = await machine.start("serve-submit");
        for (const host of hosts) {
          for (const implicit of [true, false]) {
            const subject = `${index} ${host} ${implicit}`;
            await sends({ client, machine, serveSubmit, serveIn }, { host, implicit, subject });
          }
        }
        await isRefused({ client, machine, serveSubmit });
      },
    });
  }
});

interface Parts {
  readonly client: Client;
  readonly machine: SubmissionMachine;
  readonly serveSubmit: RunningMailapp;
}

function wayOf(
  { machine }: Parts,
  { host, implicit, subject, password }: Pick<Way, "host" | "implicit" | "subject" | "password">,
): Way {
  const home = Deno.makeTempDirSync({ dir: machine.workspace.path });
  const port = implicit ? machine.tlsPort : machine.port;
  return { host, port, implicit, ca: machine.workspace.file("ca.pem"), password, subject, home };
}

let sent = 0;

async function sends(
  parts: Parts & { readonly serveIn: RunningMailapp },
  { host, implicit, subject }: Pick<Way, "host" | "implicit" | "subject">,
): Promise<void> {
  const { client, serveSubmit, serveIn } = parts;
  const before = serveSubmit.events.filter(({ event }) => event === "login.accepted").length;
  const { code, stdout, stderr } = await client.send(
    wayOf(parts, { host, implicit, subject, password: PASSWORD }),
  );
  assert.equal(code, 0, `${subject}\n${stdout}${stderr}${serveSubmit.transcript()}`);
  const login = await serveSubmit.event("login.accepted", { after: before });
  assert.equal(login["login"], LOGIN);
  assert.match(String(login["mechanism"]), client.mechanism);
  const delivered = await serveIn.event("message.delivered", {
    after: sent++,
    where: { mailbox: "bob@example.com" },
  });
  const text = await Deno.readTextFile(String(delivered["file"]));
  assert.ok(text.includes(`Subject: ${subject}\n`), text);
  assert.match(text, /^From: .*alice@example\.com/m);
  assert.match(text, /^Received: by mx\.example\.com with ESMTPSA /m);
  const received = text.match(/^Received:.*(?:\n\t.*)*/gm) ?? [];
  assert.doesNotMatch(received.join("\n"), /client\.test|\[::1\]/);
  assert.match(text, /Gr(?:ü|=C3=BC)(?:ß|=C3=9F)e\n(?:\.|=2E)\nmore\n|R3LDvMOfZQo/);
}

async function isRefused(parts: Parts): Promise<void> {
  const way = wayOf(parts, { host: "127.0.0.1", implicit: true, subject: "never", password: "wrong" });
  const { code, stdout, stderr } = await parts.client.send(way);
  assert.notEqual(code, 0, stdout + stderr);
  await parts.serveSubmit.event("login.refused", { where: { login: LOGIN } });
}

testWith(["swaks"], "a program is refused that logs in before TLS, or sends without a login", async () => {
  await using machine = await SubmissionMachine.create();
  await using _serveOut = await machine.start("serve-out");
  await using _serveSubmit = await machine.start("serve-submit");
  const common = ["--server", "127.0.0.1", "--port", String(machine.port), "--from", LOGIN, "--to", LOGIN];
  const plain = await run("swaks", {
    args: [...common, "--auth", "--auth-user", LOGIN, "--auth-password", PASSWORD],
  });
  assert.notEqual(plain.code, 0);
  assert.match(plain.stdout + plain.stderr, /did not advertise authentication/);
  assert.ok(!plain.stdout.includes("AUTH PLAIN"), plain.stdout);
  const anonymous = await run("swaks", { args: [...common, "--tls"] });
  assert.notEqual(anonymous.code, 0);
  assert.match(anonymous.stdout, /530 5\.7\.0 Log in first/);
});
