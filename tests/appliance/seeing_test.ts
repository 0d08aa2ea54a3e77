// Under a real systemd: trace and status read the journal, the dashboard runs from its unit, and alerts leave the sandbox
// by a server elsewhere when a server is in trouble or dead.
import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { HOSTNAME as ELSEWHERE, PASSWORD, SubmissionMachine } from "../support/submission.ts";

const INIT =
  "/root/mailapp init --hostname mail.example.org --domain example.org --mailbox alice --yes >/dev/null";

const ALERTS = `
[alerts]
mail_via = "smtps://alice%40example.com@${ELSEWHERE}"
password_file = "/etc/mailapp/alerts.pass"
mail_to = "bob@example.com"

[dashboard]
listen = "127.0.0.1:8025"
`;

/** A request to the dashboard; netcat waits on after the response. */
const GET = `exec 3<>/dev/tcp/127.0.0.1/8025
printf 'GET %s HTTP/1.1\\r\\nHost: 127.0.0.1:8025\\r\\nAuthorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n' \\
  "$1" "$(cat /var/lib/mailapp/dashboard/token)" >&3
cat <&3
`;

/** A unit's settings that the test adds. */
const dropIn = (unit: string, text: string) =>
  `mkdir -p /etc/systemd/system/${unit}.d; printf '%s\\n' ${
    text.split("\n").map((line) => `'${line}'`).join(" ")
  } >/etc/systemd/system/${unit}.d/test.conf`;

testWith([...MACHINE_PROGRAMS, ...HOST_PROGRAMS], "what is seen of services under systemd", async (t) => {
  await using stack = new AsyncDisposableStack();
  const built = await builtMailapp();
  const hosts = stack.use(await makeHosts());
  // A mail server of somebody else's: TLS at once, a login, a mailbox.
  const elsewhere = stack.use(
    await SubmissionMachine.create({
      run: { through: hosts.client },
      changes: { "serve-submit": { listen: ["198.51.100.2"], port: false, tls_port: 465 } },
    }),
  );
  for (const server of ["serve-in", "serve-out", "serve-submit"] as const) {
    stack.use(await elsewhere.start(server));
  }
  const alertsThere = async () => {
    const names = await elsewhere.workspace.stored("bob");
    return await Promise.all(
      names.map((name) =>
        Deno.readTextFile(elsewhere.workspace.file("mail", "example.com", "bob", "new", name))
      ),
    );
  };
  const alerted = (pattern: RegExp) =>
    until(async () => (await alertsThere()).find((text) => pattern.test(text)), {
      what: `an alert with ${pattern}`,
      within: 240_000,
    });

  const machine = stack.use(
    await DebianMachine.boot({ hostname: "mail.example.org", netns: hosts.server.at(-1) ?? "" }),
  );
  await machine.copy(built, "/root/mailapp");
  await machine.sh(
    `echo '198.51.100.2 ${ELSEWHERE}' >>/etc/hosts; ${INIT}; /root/mailapp install >/dev/null`,
  );
  // Room for mail, but less than twice what must stay free.
  const { bavail, bsize } = await statfs(machine.file("/"));
  const config = machine.file("/etc/mailapp/config.toml");
  const text = (await Deno.readTextFile(config)).replace(
    /^\[serve-in\]$/m,
    `$&\nmin_free_space = "${Math.floor(bavail * bsize * 0.7 / 2 ** 20)}MiB"`,
  );
  assert.match(text, /^min_free_space/m);
  await Deno.writeTextFile(config, text + ALERTS);
  await Deno.writeTextFile(machine.file("/etc/mailapp/ca.pem"), elsewhere.authority.cert);
  await machine.sh(
    `install -m 0640 -g mailapp /dev/null /etc/mailapp/alerts.pass; echo '${PASSWORD}' >/etc/mailapp/alerts.pass`,
  );
  // So that a server need not be killed ten times within a minute.
  await machine.sh(
    [
      ...["mailapp-in", "mailapp-out"].map((unit) =>
        dropIn(
          `${unit}.service`,
          "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=900\n[Service]\nEnvironment=DENO_CERT=/etc/mailapp/ca.pem",
        )
      ),
      dropIn("mailapp-alert@.service", "[Service]\nEnvironment=DENO_CERT=/etc/mailapp/ca.pem"),
      "mailapp install >/dev/null; systemctl enable --now mailapp-in mailapp-out mailapp-dashboard",
    ].join("\n"),
  );
  let delivered = "";

  await t.step("trace follows a message through the journal of both servers", async () => {
    const following = machine.sh(
      `timeout 60 mailapp trace alice@example.org --follow >/root/followed & follower=$!
      for try in $(seq 100); do
        grep -q 'stored for' /root/followed && break
        # Until it follows: each message has a chance of its own.
        [ $((try % 10)) != 5 ] || echo 'Subject: x' | mailapp sendmail -f alice@example.org alice@example.org
        sleep 0.5
      done
      kill $follower; cat /root/followed`,
      { within: 240_000 },
    );
    assert.match(
      await following,
      /serve-out .*alice@example\.org[^]*serve-in .*stored for alice@example\.org/,
    );
    const stories = JSON.parse(await machine.sh("mailapp trace alice@example.org --json --limit 1")) as {
      ids: string[];
    }[];
    delivered = stories[0]?.ids[0] ?? "";
    assert.notEqual(delivered, "");
    const story = await machine.sh(`mailapp trace ${delivered}`);
    assert.match(story, /serve-out .*\n[^]*serve-in .*stored for alice@example\.org: [^]*\nnow in the inbox/);
    assert.match(
      (await machine.run("mailapp trace nobody@nowhere.example")).stdout,
      /has nothing about nobody@nowhere\.example; the log begins at \d/,
    );
  });

  await t.step("status counts what the journal has", async () => {
    const { stdout } = await machine.run("mailapp status");
    assert.match(stdout, /^serve-in +up, since /m, stdout);
    assert.match(stdout, /^serve-out +up, since /m);
    assert.match(stdout, /^(?:today|yesterday) +[1-9]\d* +[1-9]/m);
    assert.match(stdout, /^sent the most from here, since yesterday:\n +\d+ {2}alice@example\.org$/m);
    assert.match(stdout, /^open connections: serve-in \d+, serve-out \d+$/m);
  });

  await t.step("the dashboard's unit shows them from the journal", async () => {
    await Deno.writeTextFile(machine.file("/root/get"), GET);
    const look = (path: string) => machine.sh(`timeout 60 bash /root/get '${path}'`);
    await machine.waitFor("mailapp-dashboard", /"dashboard\.ready"/);
    let page = "";
    await until(async () => {
      page = await look("/");
      return /serve-in<\/\w+>[^]*?up/.test(page) && !page.includes("being read");
    }, { what: "the overview", within: 120_000 }).catch((error) => {
      throw new Error(`${error}: ${page}`);
    });
    assert.match(page, /^HTTP\/1\.1 200 /);
    for (
      const [path, pattern] of [
        ["/traffic", /alice@example\.org/],
        [`/trace?what=${delivered}`, /stored for alice@example\.org/],
      ] as const
    ) {
      const shown = await look(path);
      if (pattern.test(shown)) continue;
      throw new Error(
        `${path}: ${shown}\n${(await machine.run("journalctl -u mailapp-dashboard -n 30")).stdout}`,
      );
    }
  });

  await t.step("serve-in in its sandbox mails of its trouble past the queue", async () => {
    // The disk, two minutes after its start.
    const alert = await alerted(/^Subject: mail\.example\.org: serve-in needs attention \(.*disk.*\)$/m);
    assert.match(alert, /^From: <alice@example\.com>$/m);
    assert.match(alert, /with ESMTPSA/);
  });

  await t.step("a server that is killed until systemd gives it up is told of", async () => {
    for (;;) {
      const state = (await machine.run("systemctl is-active mailapp-in")).stdout.trim();
      if (state === "failed") break;
      if (state === "active") await machine.run("systemctl kill -s KILL mailapp-in");
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const alert = await alerted(/^Subject: mail\.example\.org: mailapp alert needs attention \(server\)$/m);
    assert.match(alert.replace(/\n+/g, " "), /mailapp-in\.service has failed, .*journalctl -u mailapp-in/);
    assert.match((await machine.run("mailapp status")).stdout, /^serve-in +DOWN, /m);
  });
});
