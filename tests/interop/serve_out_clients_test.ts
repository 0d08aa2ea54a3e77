// Programs that we did not write handing their mail to serve-out, as an ordinary account, on a machine where it has
// port 25 of loopback and mailapp is /usr/sbin/sendmail. Namespaces keep that away from the real machine.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { type LoggedEvent, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { type Finished, PYTHON, run } from "../support/peers/process.ts";
import { isMissing, testWith } from "../support/requires.ts";

const SENDMAIL = "/usr/sbin/sendmail";
// "nobody": an account that may write nothing of ours.
const UID = 65534;

const PROGRAMS = [
  ...["unshare", "nsenter", "mount", "ip", "setpriv", SENDMAIL, "swaks", "msmtp", "mail.mailutils"],
  ...(Deno.uid() === 0 ? [] : ["root"]),
];

interface Machine extends AsyncDisposable {
  readonly serveOut: RunningMailapp;
  /** Runs mailapp with the configuration of both servers as an ordinary account. */
  mailapp(...args: string[]): Promise<Finished>;
  /** Runs a program as an ordinary account. */
  user(program: string, args: readonly string[], stdin?: string): Promise<Finished>;
  /** What serve-in stores for that mailbox next. */
  stored(mailbox: string): Promise<string>;
}

async function startMachine(): Promise<Machine> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("clients"));
  const workspace = stack.use(await Workspace.create());
  const home = await folder.mkdir("home", { uid: UID });
  const config = await workspace.configure({
    "serve-in": { listen: ["127.0.0.2"], port: 25 },
    mailboxes: { path: workspace.file("mail", "{domain}", "{user}"), users: ["alice", "bob"] },
  });
  // The configuration may be read by all; what is below data_dir may not.
  await Deno.chmod(workspace.path, 0o755);
  // The built file: an ordinary account may not be able to read the sources, or Deno itself.
  const mailapp = folder.at("mailapp");
  await Deno.copyFile(await builtMailapp(), mailapp);
  await Deno.chmod(mailapp, 0o755);
  const serveOut = stack.use(
    new RunningMailapp(["serve-out", "--config", config], {
      through: [
        ...["unshare", "--net", "--mount", "sh", "-ec"],
        `ip link set lo up; mount --bind ${mailapp} ${SENDMAIL}; exec "$@"`,
        "sh",
      ],
    }),
  );
  await serveOut.event("server.ready");
  const enter = ({ pid }: RunningMailapp) => ["nsenter", `--target=${pid}`, "--net", "--mount"];
  const serveIn = stack.use(
    new RunningMailapp(["serve-in", "--config", config], { through: enter(serveOut) }),
  );
  await serveIn.event("server.ready");
  const seen = new Map<string, number>();
  const resources = stack.move();
  const user: Machine["user"] = async (program, args, stdin = "") => {
    const [command = "", ...rest] = [
      ...enter(serveIn),
      ...["setpriv", `--reuid=${UID}`, `--regid=${UID}`, "--clear-groups", "--no-new-privs"],
      program,
      ...args,
    ];
    return await run(command, {
      args: rest,
      stdin,
      env: { HOME: home, LANG: "C.UTF-8", MAILAPP_CONFIG: "" },
    });
  };
  return {
    serveOut,
    user,
    mailapp: (...args) => user(mailapp, [...args, "--config", config]),
    async stored(mailbox) {
      const after = seen.get(mailbox) ?? 0;
      seen.set(mailbox, after + 1);
      const found: LoggedEvent = await serveIn.event("message.delivered", { after, where: { mailbox } });
      return await Deno.readTextFile(String(found["file"]));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const SMTPLIB = `
import smtplib
from email.message import EmailMessage
message = EmailMessage()
message["From"], message["To"], message["Subject"] = "me@example.com", "alice@example.com", "by smtplib"
message.set_content("Gr\\u00fc\\u00dfe\\n.\\nmore\\n", cte="8bit")
with smtplib.SMTP("127.0.0.1") as smtp:
    assert smtp.send_message(message) == {}
`;

// Lines that end in LF only, a lone dot among them, no From and no Date.
const BARE_LF = `
import smtplib
with smtplib.SMTP("127.0.0.1") as smtp:
    smtp.ehlo()
    smtp.mail("me")
    smtp.rcpt("alice")
    assert smtp.docmd("DATA")[0] == 354
    smtp.send(b"Subject: bare LF\\n\\nHello\\n.\\nmore\\n\\r\\n.\\r\\n")
    assert smtp.getreply()[0] == 250
`;

interface Client {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  /** In the header section as it is stored. */
  readonly from: RegExp;
  /** What the body is. */
  readonly body: string;
}

const BODY = "Grüße\n.\nmore\n";

const CLIENTS: readonly Client[] = [
  {
    title: "swaks",
    program: "swaks",
    args: [
      "--server",
      "127.0.0.1",
      "--to",
      "alice@example.com",
      "--from",
      "me@example.com",
      "--body",
      "Hello",
    ],
    from: /^From: me@example\.com$/m,
    body: "Hello\n\n\n",
  },
  {
    title: "msmtp",
    program: "msmtp",
    args: ["--file=/dev/null", "--host=127.0.0.1", "--from=me@example.com", "--", "alice@example.com"],
    stdin: `From: me@example.com\nSubject: by msmtp\n\n${BODY}`,
    from: /^From: me@example\.com$/m,
    body: BODY,
  },
  {
    title: "Python's smtplib",
    program: PYTHON,
    args: ["-c", SMTPLIB],
    from: /^From: me@example\.com$/m,
    body: BODY,
  },
  {
    title: "mail of mailutils",
    program: "mail.mailutils",
    args: ["-s", "by mail", "alice@example.com"],
    stdin: "Grüße\nmore\n",
    from: /^From: .*<?nobody@/m,
    body: "Grüße\nmore\n",
  },
  {
    title: "s-nail",
    program: "s-nail",
    args: ["-n", "-s", "by s-nail", "alice@example.com"],
    stdin: "Hello\nmore\n",
    from: /^From: .*nobody@/m,
    body: "Hello\nmore\n",
  },
  {
    title: "mutt",
    program: "mutt",
    args: ["-n", "-s", "by mutt", "alice@example.com"],
    stdin: "Hello\n.\nmore\n",
    from: /^From: .*nobody@/m,
    body: "Hello\n.\nmore\n",
  },
];

testWith(PROGRAMS, "programs of an ordinary account hand their mail to serve-out", async (t) => {
  await using machine = await startMachine();
  for (const { title, program, args, stdin, from, body } of CLIENTS) {
    await t.step({
      name: title,
      ignore: isMissing(program),
      fn: async () => {
        const { code, stdout, stderr } = await machine.user(program, args, stdin);
        assert.equal(code, 0, stdout + stderr);
        const text = await machine.stored("alice@example.com");
        const end = text.indexOf("\n\n");
        const header = text.slice(0, end + 1);
        assert.match(header, from);
        assert.match(header, /^Message-I[Dd]: <[^>]+>$/m);
        assert.match(header, /^Date: \w+, /m);
        assert.match(header, /\n\tby mx\.example\.com with ESMTP/);
        assert.equal(text.slice(end + 2), body);
      },
    });
  }

  await t.step("a client that sends bare LF and bare names", async () => {
    const { code, stderr } = await machine.user(PYTHON, ["-c", BARE_LF]);
    assert.equal(code, 0, stderr);
    const text = await machine.stored("alice@example.com");
    assert.match(text, /^Return-Path: <me@example\.com>$/m);
    assert.match(
      text,
      /^Message-ID: <[^>]+@mx\.example\.com>\n(?:.+\n)*Subject: bare LF\n\nHello\n\.\nmore\n\n$/m,
    );
  });

  await t.step("sendmail -t: no From, a blind copy, bare names, a dot and 8-bit text", async () => {
    const { code, stderr } = await machine.user(
      SENDMAIL,
      ["-t", "-i"],
      `To: alice\nBcc: Bob <bob@example.com>\nSubject: by sendmail\n\n${BODY}`,
    );
    assert.equal(code, 0, stderr);
    for (const mailbox of ["alice@example.com", "bob@example.com"]) {
      const text = await machine.stored(mailbox);
      assert.match(text, /^Return-Path: <nobody@example\.com>$/m);
      assert.match(text, /^From: nobody@example\.com$/m);
      assert.match(text, /^To: alice@example\.com$/m);
      assert.doesNotMatch(text, /^bcc:/im);
      assert.ok(text.endsWith(`\n\n${BODY}`), text);
    }
  });

  await t.step("sendmail says which recipient is refused", async () => {
    const { code, stderr } = await machine.user(SENDMAIL, ["-i", "no@such@address"], "Subject: x\n\nx\n");
    assert.notEqual(code, 0);
    assert.match(stderr, /no@such@address/);
  });

  await t.step("explain tells it what it may know, queue says who may know more", async () => {
    const explained = await machine.mailapp("explain", "alice@example.com");
    assert.equal(explained.code, 0, explained.stderr);
    assert.match(explained.stdout, /127\.0\.0\.2\] port 25[^]*showing the queue requires root/);
    const queue = await machine.mailapp("queue", "list");
    assert.equal(queue.code, 77);
    assert.match(queue.stderr, /run this as root, or as the account of serve-out/);
  });

  await t.step("75 of sendmail, and no success of mail, when serve-out is not there", async () => {
    assert.equal(await machine.serveOut.stop(), 0);
    const { code, stderr } = await machine.user(SENDMAIL, ["-i", "alice@example.com"], "Subject: x\n\nx\n");
    assert.equal(code, 75, stderr);
    assert.match(stderr, /127\.0\.0\.1/);
    const mail = await machine.user("mail.mailutils", ["-s", "x", "alice@example.com"], "x\n");
    assert.notEqual(mail.code, 0);
  });
});
