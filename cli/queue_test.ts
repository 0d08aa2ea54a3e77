import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "@std/path";
import { loadConfig } from "../config/load.ts";
import { silentLogger } from "../base/log.ts";
import { ControlServer } from "../relay/control.ts";
import { CONTROL_SOCKET } from "../relay/control_socket.ts";
import { OpenEntries } from "../relay/open_entries.ts";
import { QueueOperator } from "../relay/operator.ts";
import type { QueueEntry } from "../relay/queue_entry.ts";
import { Spool } from "../relay/spool/spool.ts";
import { systemClock } from "../base/clock.ts";
import { newEntry } from "../tests/support/queue_entry.ts";
import { printContent } from "./command_line/queue_content.ts";
import { openSpool, untilUnlocked } from "../server/spool_parts.ts";
import { entry, fill, withSpool } from "../tests/support/queue_command.ts";

const encoder = new TextEncoder();

Deno.test("mailapp queue list lists what is held since no notice can be sent, and releases or removes it", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const held = { address: "u@a.test", status: "held", settled: true, attemptCount: 1 } as const;
    const [one = "", two = ""] = await fill(directory, [
      entry([held], { reversePath: "" }),
      entry([held], { reversePath: "" }),
    ]);
    const listed = (await mailapp("queue", "list", "--sender", "<>")).out;
    assert.equal(listed.match(/u@a\.test: held \(failed; there is no sender to notify\), 1 try/g)?.length, 2);
    assert.equal((await mailapp("queue", "release", one)).code, 0);
    assert.match((await mailapp("queue", "list", one)).out, /u@a\.test: due, 1 try/);
    // There is no sender that it could be returned to.
    assert.match(
      (await mailapp("queue", "bounce", two)).out,
      new RegExp(`^${two}: u@a\\.test given up\\ngiven up: 1 recipient of 1 message\\n`),
    );
    assert.equal((await mailapp("queue", "list", two)).code, 69);
  });
});

Deno.test("mailapp queue hold, release, remove and bounce work on the spool where no serve-out runs", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const [one = "", two = "", three = ""] = await fill(directory, [
      entry(["u@a.test"]),
      entry(["u@b.test"]),
      entry(["u@c.test"]),
    ]);
    const status = async () => {
      const { out } = await mailapp("queue", "list", "--json");
      const entries = JSON.parse(out) as QueueEntry[];
      return Object.fromEntries(entries.map(({ id, recipients }) => [id, recipients[0]?.status]));
    };
    assert.equal(
      (await mailapp("queue", "hold", one)).out,
      `${one}: u@a.test held\nheld: 1 recipient of 1 message\n`,
    );
    assert.equal((await status())[one], "held");
    assert.match(
      (await mailapp("queue", "release", one)).out,
      /serve-out is not running; this takes effect when it starts/,
    );
    assert.equal((await status())[one], "pending");
    await mailapp("queue", "remove", two);
    assert.deepEqual(Object.keys(await status()).sort(), [one, three].sort());
    await mailapp("queue", "bounce", three);
    const { out } = await mailapp("queue", "list", "--json", "--sender", "<>");
    const [notice] = JSON.parse(out) as QueueEntry[];
    assert.equal(notice?.recipients[0]?.address, "sender@example.org");
  });
});

Deno.test("mailapp queue show tells every attempt and what the answer means", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const attempt = { at: Date.UTC(2026, 10, 24), host: "mx.a.test", address: "192.0.2.1" };
    const [id = ""] = await fill(directory, [
      entry([{
        address: "u@a.test",
        attemptCount: 2,
        attempts: [
          { ...attempt, error: "connection refused", status: "4.4.1" },
          { ...attempt, reply: "421 4.7.28 unusual rate", status: "4.7.28" },
        ],
      }]),
    ]);
    const { code, out } = await mailapp("queue", "show", id);
    assert.equal(code, 0);
    assert.match(out, /2026-11-24 00:00:00Z {2}mx\.a\.test \[192\.0\.2\.1\]: connection refused\n/);
    assert.match(out, /421 4\.7\.28 unusual rate\n {4}[A-Z].*\./);
  });
});

Deno.test("mailapp queue says what is missing: a selection, an id", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const [id = ""] = await fill(directory, [entry(["u@a.test"])]);
    const bare = await mailapp("queue", "remove");
    assert.equal(bare.code, 64);
    assert.match(bare.err, /ids, --domain, --sender or --all/);
    assert.equal((await mailapp("queue", "remove", "--all", id)).code, 64);
    const gone = await mailapp("queue", "hold", "nosuchid");
    assert.equal(gone.code, 69);
    assert.match(gone.err, /nosuchid/);
    assert.equal(
      (await mailapp("queue", "remove", "--all", "--yes")).out,
      "removed: 1 recipient of 1 message\n",
    );
  });
});

Deno.test("mailapp queue retry says how many recipients are held, and what sends them", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    await fill(directory, [
      entry([{ address: "u@a.test", status: "held" }, { address: "v@a.test", status: "held" }, "w@a.test"]),
      entry([{ address: "x@b.test", status: "held" }]),
    ]);
    assert.match(
      (await mailapp("queue", "retry", "--all")).out,
      /^retried: 1 recipient of 1 message\nnot changed: 3 recipients \(held; queue release sends it\)\n/,
    );
    assert.equal(
      (await mailapp("queue", "retry", "--domain", "b.test")).out,
      "retried: 0 recipients of 0 messages\nnot changed: 1 recipient (held; queue release sends it)\n",
    );
    assert.equal(
      (await mailapp("queue", "release", "--all")).out.split("\n").slice(0, 2).join("\n"),
      "released: 3 recipients of 2 messages\nnot changed: 1 recipient (not held)",
    );
  });
});

Deno.test("mailapp queue bounce signs its notices while serve-out is stopped, or leaves them to the next one", async () => {
  await withSpool(async ({ directory, config, mailapp }) => {
    const key = join(directory, "out.pem");
    const text = Deno.readTextFileSync(config);
    Deno.writeTextFileSync(
      config,
      `${text}[dkim]\n"out.example.test" = { selector = "s1", key = ${JSON.stringify(key)} }\n`,
    );
    await fill(directory, [entry(["u@a.test"]), entry(["v@a.test"])]);
    const ids = JSON.parse((await mailapp("queue", "list", "--json")).out).map(({ id }: QueueEntry) => id);
    const keyless = await mailapp("queue", "bounce", ids[0]);
    assert.match(keyless.err, /dsn\.failed.*out\.pem/);
    const { privateKey } = generateKeyPairSync("ed25519");
    Deno.writeTextFileSync(key, String(privateKey.export({ format: "pem", type: "pkcs8" })), { mode: 0o600 });
    // What was left over before stays in the queue until serve-out writes the notice.
    assert.equal((await mailapp("queue", "bounce", ids[1])).err, "");
    await using spool = await Spool.open({ directory: join(directory, "spool"), logger: silentLogger });
    const left = (await Array.fromAsync(spool.ids())).filter((id) => id !== ids[0]);
    assert.equal(left.length, 1);
    await using notice = await spool.open(left[0] ?? "");
    const chunks = await Array.fromAsync(notice.chunks(), (chunk) => new TextDecoder().decode(chunk));
    assert.match(chunks.join(""), /^DKIM-Signature: [^]*\bd=out\.example\.test;[^]*\r\nDate: /);
    assert.equal((await spool.load(ids[0]))?.recipients[0]?.status, "failed");
  });
});

Deno.test("mailapp queue goes through the control socket while serve-out runs", async () => {
  await withSpool(async ({ directory, config, io, mailapp }) => {
    const [id = "", both = ""] = await fill(directory, [
      entry(["u@a.test"]),
      entry(["u@a.test", "v@a.test"]),
    ]);
    await using spool = await Spool.open({ directory: join(directory, "spool"), logger: silentLogger });
    const entries = new OpenEntries(spool);
    const changed: string[] = [];
    const operator = new QueueOperator({
      queue: spool,
      entries,
      clock: systemClock,
      logger: silentLogger,
      change: (opened) => {
        changed.push(opened.entry.id);
        return opened.save().then(() => true);
      },
    });
    const scheduler = {
      domainStatus: () => assert.fail(),
      inspectHost: () => assert.fail(),
      route: () => assert.fail(),
    };
    await using _control = ControlServer.listen({
      path: join(directory, CONTROL_SOCKET),
      operator,
      scheduler,
      settings: () => "",
      clock: systemClock,
      logger: silentLogger,
    });
    const content: number[] = [];
    const output = {
      isTerminal: () => false,
      writeSync: (bytes: Uint8Array) => content.push(...bytes) && bytes.length,
    };
    await printContent(id, { config, io, output });
    assert.equal(new TextDecoder().decode(Uint8Array.from(content)), "Subject: x\n\nHi\n");
    using opened = await entries.open(id);
    assert.equal(
      (await mailapp("queue", "retry", id)).out,
      `${id}: u@a.test retried\nretried: 1 recipient of 1 message\n`,
    );
    assert.deepEqual(changed, [id]);
    opened?.inFlight.add(0);
    assert.match((await mailapp("queue", "list")).out, /u@a\.test: being sent/);
    const busy = await mailapp("queue", "remove", id);
    assert.equal(busy.code, 75);
    assert.match(busy.out, /u@a\.test is being sent now; not changed/);
    assert.match(busy.out, /^not changed: 1 recipient \(being sent now; repeat the command\)$/m);
    // Also where others were removed, and the message was not named.
    using other = await entries.open(both);
    other?.inFlight.add(1);
    const all = await mailapp("queue", "remove", "--domain", "a.test");
    assert.equal(all.code, 75);
    assert.match(all.out, /v@a\.test is being sent now; not changed/);
    assert.match(all.out, /^removed: 1 recipient of 1 message\nnot changed: 2 recipients /m);
  });
});

Deno.test("mailapp queue says so when serve-out ends in the middle", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    using listener = Deno.listen({ transport: "unix", path: join(directory, CONTROL_SOCKET) });
    const server = (async () => {
      // Found, then asked.
      for (let i = 0; i < 2; i++) (await listener.accept()).close();
    })();
    const { code, err } = await mailapp("queue", "hold", "--all");
    await server;
    assert.deepEqual([code, err], [
      75,
      "mailapp: serve-out: it broke off its answer; what it had reported by then is done\n",
    ]);
  });
});

Deno.test("mailapp queue does not touch a spool that a process without a control socket has", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    await using _spool = await Spool.open({ directory: join(directory, "spool"), logger: silentLogger });
    const { code, err } = await mailapp("queue", "list");
    assert.equal(code, 75);
    assert.match(err, new RegExp(`in use by process ${Deno.pid}, and it does not answer`));
  });
});

Deno.test("untilUnlocked() waits for a server, or a command, that has the spool for a moment", async () => {
  await withSpool(async ({ directory, config, io }) => {
    const holder = await Spool.open({ directory: join(directory, "spool"), logger: silentLogger });
    const loaded = await loadConfig(config, { env: io.env });
    let waits = 0;
    const wait = () => {
      waits++;
      return holder.close();
    };
    await using _spool = await untilUnlocked(() => openSpool(loaded, { logger: silentLogger }), wait);
    assert.equal(waits, 1);
  });
});

Deno.test("mailapp queue without serve-out tells what serve-out would log", async () => {
  await withSpool(async ({ directory, config, mailapp }) => {
    const [id = "", spoilt = ""] = await fill(directory, [
      entry([{ address: "u@a.test" }]),
      entry([{ address: "v@a.test" }]),
    ]);
    const message = join(directory, "spool", "messages", spoilt.slice(-2), spoilt);
    await Deno.writeTextFile(message, "{");
    const shown = await mailapp("queue", "hold", "--all");
    assert.match(shown.err, new RegExp(`queue\\.damaged.*${spoilt}`));
    assert.match(shown.out, /held: 1 recipient of 1 message/);

    const log = join(directory, "mailapp.log");
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(config, `${text}[log]\nfile = ${JSON.stringify(log)}\n`);
    assert.equal((await mailapp("queue", "release", id)).err, "");
    const [{ event, recipients } = assert.fail()] = (await Deno.readTextFile(log)).trim().split("\n").map((
      line,
    ) => JSON.parse(line));
    assert.deepEqual([event, recipients], ["operator.release", ["u@a.test"]]);
  });
});

Deno.test("queue remove and bounce show what they would give up, and give up everything only with --yes", async () => {
  await withSpool(async ({ directory, mailapp }) => {
    const [id = ""] = await fill(directory, [entry(["a@x.test"])]);
    for (const action of ["remove", "bounce"]) {
      const refused = await mailapp("queue", action, "--all");
      assert.equal(refused.code, 64);
      assert.match(refused.err, /say --yes, or look first with --dry-run/);
      for (const which of ["--all", id]) {
        const { code, out } = await mailapp("queue", action, which, "--dry-run");
        assert.equal(code, 0);
        assert.match(out, new RegExp(`^${id} [^]*a@x\\.test[^]*\n1 message, 1 recipient pending\n$`));
      }
    }
    assert.match((await mailapp("queue", "list")).out, /^1 message, /m);
    assert.equal(
      (await mailapp("queue", "remove", "--all", "--yes")).out,
      "removed: 1 recipient of 1 message\n",
    );
  });
});

Deno.test("queue cat prints a message as it is, and on a terminal what cannot move its cursor", async () => {
  await withSpool(async ({ directory, config, io }) => {
    const message = "Subject: x\r\n\r\nGr\u00fc\u00dfe\t1\r\u001b[2J\r\nend\r\n";
    const ids: string[] = [];
    {
      await using spool = await Spool.open({ directory: join(directory, "spool"), logger: silentLogger });
      const id = spool.newId();
      const content = new Uint8Array([...encoder.encode(message), 0xff]);
      await spool.add(newEntry(["a@x.test"], { acceptedAt: Date.now(), size: content.length, id }), content);
      ids.push(id);
    }
    const [id = ""] = ids;
    const print = async (id: string, isTerminal: boolean) => {
      const pieces: number[] = [];
      const output = {
        isTerminal: () => isTerminal,
        writeSync: (bytes: Uint8Array) => pieces.push(...bytes) && bytes.length,
      };
      await printContent(id, { config, io, output });
      return Uint8Array.from(pieces);
    };
    const plain = message.replaceAll("\r\n", "\n");
    assert.deepEqual(await print(id, false), new Uint8Array([...encoder.encode(plain), 0xff]));
    const shown = "Subject: x\n\nGr\u00fc\u00dfe\t1\\u000d\\u001b[2J\nend\n";
    assert.ok(new TextDecoder().decode(await print(id, true)).startsWith(shown));
    await assert.rejects(print("../../../etc/passwd", false), /no such message in the queue/);
  });
});
