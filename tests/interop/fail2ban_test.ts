// Debian's fail2ban-regex reads what serve-submit logs of failed logins, by the filter in contrib/.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { startLog } from "../../observe/logger.ts";
import type { PasswordVerdict } from "../../sasl/credentials.ts";
import { SaslAuthenticator } from "../../sasl/mod.ts";
import { SmtpServer } from "../../smtp/server.ts";
import { bytesOf } from "../support/bytes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { MemoryTransport } from "../support/memory_transport.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { runOk } from "../support/peers/process.ts";
import { RecordingDelivery } from "../support/recording_delivery.ts";
import { testWith } from "../support/requires.ts";

const FILTER = new URL("../../contrib/fail2ban/filter.d/mailapp.conf", import.meta.url);
const GUIDE = new URL("../../docs/guide/fail2ban.md", import.meta.url);

/** A login that tries to pass for another line, another peer, or another end. */
const HOSTILE = [
  'x","peer":"198.51.100.1',
  '"}{"level":"info","event":"login.refused","session":"x","peer":"198.51.100.1",',
  "INFO  login.refused session=x peer=198.51.100.1 ",
  "peer=198.51.100.1",
  'x, the same again"}',
  'x, the same again"',
  '"time":"2020-01-01T00:00:00.000Z",',
];

/** Has clients fail, and one say the same wrong password again; the lines of the log. */
async function failedLogins(
  path: string,
  { format, context }: {
    readonly format: "json" | "text";
    readonly context: Readonly<Record<string, string>>;
  },
): Promise<void> {
  await using log = startLog({ level: "info", format, file: path, isTerminal: false, context });
  const clock = new FakeClock();
  const check = (_login: string, password: string) =>
    Promise.resolve<PasswordVerdict>({
      kind: "wrong",
      why: password === "old" ? "wrong password, the same again" : "wrong password",
    });
  const session = async (remoteAddress: string, lines: readonly string[]) => {
    const transport = new MemoryTransport({ clock, remoteAddress });
    const server = new SmtpServer({
      hostname: "mx.example.com",
      delivery: new RecordingDelivery(),
      logger: log.logger,
      clock,
      upgradeToTls: () =>
        Promise.resolve({ transport, tls: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" } }),
      authenticator: new SaslAuthenticator(() => ({ check }), { scram: false }),
    });
    const done = server.handle(transport, { implicitTls: true });
    for (const line of ["EHLO client.test", ...lines, "QUIT"]) {
      await transport.waiting();
      transport.send(bytesOf(`${line}\r\n`), []);
    }
    transport.end();
    await done;
  };
  const auth = (login: string, password: string) => [
    "AUTH LOGIN",
    ...[login, password].map((text) => btoa(text)),
  ];
  await session("192.0.2.1", auth("alice@example.com", "x"));
  await session("2001:db8::1", ["AUTH PLAIN eA=="]);
  await session("192.0.2.7", auth("alice@example.com", "old"));
  for (const [n, login] of HOSTILE.entries()) {
    await session(`203.0.113.${n + 1}`, [...auth(login, "x"), login, `MAIL FROM:<${login}>`]);
  }
}

const FOUND = ["192.0.2.1", "2001:db8::1", ...HOSTILE.map((_, n) => `203.0.113.${n + 1}`)].sort();

testWith(
  ["fail2ban-regex"],
  "fail2ban-regex finds failed logins, and nothing else",
  async (t) => {
    await using folder = await makeFolder("fail2ban");
    const filter = FILTER.pathname;
    const found = async (file: string, args: readonly string[] = []) => {
      const output = await runOk("fail2ban-regex", { args: [...args, "-o", "<ip>", file, filter] });
      return output.trim().split("\n").sort();
    };
    for (const format of ["json", "text"] as const) {
      for (const context of [{}, { server: "serve-submit" }]) {
        await t.step(`${format} ${JSON.stringify(context)}`, async () => {
          const path = join(folder.path, `${format}${Object.keys(context).length}.log`);
          await failedLogins(path, { format, context });
          assert.deepEqual(await found(path), FOUND);
          // As the journal hands lines over: with host and program before them, and their time apart.
          const journal = `${path}.journal`;
          const lines = (await Deno.readTextFile(path)).split("\n").filter((line) => line !== "");
          await Deno.writeTextFile(journal, lines.map((line) => `mx mailapp[77]: ${line}\n`).join(""));
          assert.deepEqual(await found(journal, ["-d", "{NONE}"]), FOUND);
        });
      }
    }
    await t.step("the time is in UTC wherever the machine is", async () => {
      const path = join(folder.path, "time.log");
      await Deno.writeTextFile(
        path,
        '{"time":"2026-11-24T03:20:11.123Z","level":"info","event":"login.refused","session":"a","peer":"192.0.2.1","x":1}\n',
      );
      const args = ["-o", "<time>", path, filter];
      const times = await Promise.all(
        ["UTC", "America/New_York"].map(async (zone) =>
          (await runOk("env", { args: [`TZ=${zone}`, "fail2ban-regex", ...args] })).trim()
        ),
      );
      assert.deepEqual(times, Array(2).fill(String(Date.UTC(2026, 10, 24, 3, 20, 11) / 1000)));
    });
  },
);

Deno.test("docs/guide/fail2ban.md has the files of contrib/fail2ban/ as they are", async () => {
  const guide = await Deno.readTextFile(GUIDE);
  const blocks = [...guide.matchAll(/^```ini\n([^]*?)^```$/gm)].map(([, text]) => text);
  const files = ["filter.d", "jail.d"].map((directory) =>
    Deno.readTextFileSync(new URL(`../../contrib/fail2ban/${directory}/mailapp.conf`, import.meta.url))
  );
  assert.deepEqual(blocks, files);
});
