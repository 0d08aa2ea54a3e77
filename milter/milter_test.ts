import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "@std/path";
import { systemClock } from "../base/clock.ts";
import { HeaderSection } from "../message/header_section.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { type FakeMilterOptions, type MilterAnswer, startFakeMilter } from "../tests/support/fake_milter.ts";
import { type MilterAddress, type MilterEnvelope, MilterSession, type MilterVerdict } from "./milter.ts";
import { encodePacket, PacketReader } from "./packet.ts";
import { until } from "../tests/support/until.ts";

const ENVELOPE: MilterEnvelope = {
  hostname: "mx.example.com",
  id: "s1",
  client: { address: "192.0.2.1", port: 4321 },
  helo: "client.test",
  from: "a@client.test",
  to: ["alice@example.com", "bob@example.com"],
};
const HEADER = HeaderSection.of("Subject:  a\r\n\tb\r\nno field\r\nX-Caf\xe9 : c\r\nTo:\r\n").fields;

async function show(
  address: MilterAddress,
  { body = "Hello\r\n", clock = systemClock } = {},
): Promise<MilterVerdict> {
  using session = await MilterSession.open({ address, clock, timeoutMs: 5000 });
  await session.envelope(ENVELOPE);
  await session.header(HEADER);
  await session.body(bytesOf(body));
  return await session.finish();
}

async function verdict(
  options: FakeMilterOptions,
): Promise<MilterVerdict & { readonly seen: readonly string[] }> {
  await using milter = startFakeMilter(options);
  return { ...await show({ host: "127.0.0.1", port: milter.port }), seen: milter.seen };
}

Deno.test("MilterSession tells a message step by step, over TCP and a Unix socket", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-milter-" });
  try {
    for (const path of [undefined, join(directory, "socket")]) {
      await using milter = startFakeMilter(path === undefined ? {} : { path });
      const address = path === undefined ? { host: "127.0.0.1", port: milter.port } : { path };
      assert.deepEqual(await show(address), { action: "accept", changes: [] });
      assert.deepEqual(milter.seen.slice(1), [
        "D Cj␀mx.example.com␀_␀client.test [192.0.2.1]␀{daemon_name}␀mailapp␀{client_addr}␀192.0.2.1␀" +
        "{client_name}␀[192.0.2.1]␀",
        "C [192.0.2.1]␀4\x10\xe1192.0.2.1␀",
        "H client.test␀",
        "D Mi␀s1␀{mail_addr}␀a@client.test␀",
        "M <a@client.test>␀",
        "D R{rcpt_addr}␀alice@example.com␀",
        "R <alice@example.com>␀",
        "D R{rcpt_addr}␀bob@example.com␀",
        "R <bob@example.com>␀",
        "D Ti␀s1␀",
        "T",
        "L Subject␀ a\n\tb␀",
        "L To␀␀",
        "N",
        "B Hello\r\n",
        "E",
      ]);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("MilterSession leaves out and leaves unanswered what the filter wants so", async () => {
  const noConnectToData = 0x01 | 0x02 | 0x04 | 0x08 | 0x200;
  const quiet = await verdict({
    negotiate: [6, 0x3f, noConnectToData | 0x80 | 0x4_0000 | 0x8_0000 | 0x10_0000],
    answer: (letter) => "LNB".includes(letter) ? [] : undefined,
  });
  assert.deepEqual(quiet.seen.filter((line) => !line.startsWith("D")).slice(1), [
    "L Subject␀  a\n\tb␀",
    "L To␀␀",
    "N",
    "B Hello\r\n",
    "E",
  ]);
  const noContent = await verdict({ negotiate: [2, 0x01, 0x10 | 0x20 | 0x40] });
  assert.doesNotMatch(noContent.seen.join("\n"), /^[LNB] /m);
});

Deno.test("MilterSession cuts the body into packets, and stops where the filter has seen enough", async () => {
  await using milter = startFakeMilter();
  await show({ host: "127.0.0.1", port: milter.port }, { body: "x".repeat(150_000) });
  assert.deepEqual(milter.seen.filter((line) => line.startsWith("B")).map(({ length }) => length - 2), [
    65_535,
    65_535,
    18_930,
  ]);
  await using skipping = startFakeMilter({ answer: (letter) => letter === "B" ? [["s"]] : undefined });
  await show({ host: "127.0.0.1", port: skipping.port }, { body: "x".repeat(150_000) });
  assert.equal(skipping.seen.filter((line) => line.startsWith("B")).length, 1);
});

Deno.test("MilterSession gives what the filter decides, at whichever step", async () => {
  const decisions: readonly (readonly [MilterAnswer, Omit<MilterVerdict, "changes">])[] = [
    [[["r"]], { action: "reject" }],
    [[["t"]], { action: "defer" }],
    [[["d"]], { action: "discard" }],
    [[["a"]], { action: "accept" }],
    [[["4"]], { action: "defer" }],
    [[["y", "550 5.7.1 No\0"]], { action: "reject", reply: "550 5.7.1 No" }],
    [[["y", "451 4.7.1 Later"]], { action: "defer", reply: "451 4.7.1 Later" }],
    [[["p"], ["p"], ["r"]], { action: "reject" }],
  ];
  for (const [answer, expected] of decisions) {
    for (const step of ["C", "H", "M", "T", "L", "N", "B", "E"]) {
      const { seen, ...rest } = await verdict({ answer: (letter) => letter === step ? answer : undefined });
      assert.deepEqual(rest, { ...expected, changes: [] }, step);
      assert.equal(seen.at(-1)?.[0], step);
    }
  }
});

Deno.test("MilterSession takes a refused recipient for a refusal only where all are refused", async () => {
  const one = await verdict({
    answer: (letter, data) => letter === "R" && data.includes("bob") ? [["r"]] : undefined,
  });
  assert.equal(one.action, "accept");
  const all = await verdict({ answer: (letter) => letter === "R" ? [["y", "550 5.1.1 No\0"]] : undefined });
  assert.deepEqual([all.action, all.reply], ["reject", "550 5.1.1 No"]);
});

Deno.test("MilterSession gives the changes that the filter asks for", async () => {
  const { changes, quarantine, action } = await verdict({
    answer: (letter) =>
      letter !== "E" ? undefined : [
        ["h", "X-Spam\0Yes,\n score=1\0"],
        ["p"],
        ["i", "\0\0\0\x01X-Top\0 x\0"],
        ["m", "\0\0\0\x02Subject\0[junk] a\0"],
        ["m", "\0\0\0\x01X-Old\0\0"],
        ["q", "looks bad\0"],
        ["c"],
      ],
  });
  assert.equal(action, "accept");
  assert.equal(quarantine, "looks bad");
  assert.deepEqual(changes, [
    { kind: "add", name: "X-Spam", value: "Yes,\n score=1" },
    { kind: "add", name: "X-Top", value: " x" },
    { kind: "change", name: "Subject", index: 2, value: "[junk] a" },
    { kind: "change", name: "X-Old", index: 1, value: "" },
  ]);
  // Of a message that is not accepted there is nothing to change.
  const refused = await verdict({
    answer: (letter) => letter === "E" ? [["h", "A\0b\0"], ["r"]] : undefined,
  });
  assert.deepEqual([refused.action, refused.changes], ["reject", []]);
});

Deno.test("MilterSession fails with a filter that talks nonsense, hangs up or wants more than it may", async () => {
  const cases: readonly (readonly [FakeMilterOptions, RegExp])[] = [
    [{ negotiate: [["c"]] }, /no negotiation/],
    [{ negotiate: [["O", "\0\0"]] }, /no negotiation/],
    [{ negotiate: [1, 0, 0] }, /version 1 /],
    [{ negotiate: [7, 0, 0] }, /version 7 /],
    [{ negotiate: "close" }, /closed the connection|reset/],
    [{ negotiate: Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n") }, /a packet of 1213486160 octets/],
    [{ negotiate: Buffer.alloc(8) }, /a packet of 0 octets/],
    [{ answer: (letter) => letter === "M" ? [["x"]] : undefined }, /an answer "x"/],
    [{ answer: (letter) => letter === "M" ? [["s"]] : undefined }, /an answer "s"/],
    [{ answer: (letter) => letter === "M" ? [["y", "250 fine\0"]] : undefined }, /neither 4xx nor 5xx/],
    [
      { answer: (letter) => letter === "B" ? "close" : undefined },
      /closed the connection|reset|broken pipe/i,
    ],
    [{ answer: (letter) => letter === "E" ? [["b", "other body"], ["c"]] : undefined }, /an answer "b"/],
    [{ answer: (letter) => letter === "E" ? [["h", "no name:\0x\0"], ["c"]] : undefined }, /without a name/],
    [{ answer: (letter) => letter === "E" ? [["h", "\0x\0"], ["c"]] : undefined }, /without a name/],
    [{ answer: (letter) => letter === "E" ? [["m", "\0"], ["c"]] : undefined }, /without its place/],
    [
      { answer: (letter) => letter === "E" ? Array(1001).fill(["h", "A\0b\0"]) : undefined },
      /more than 1000/,
    ],
    [
      {
        answer: (letter) => letter === "E" ? Array(3).fill(["h", `A\0${"b".repeat(400_000)}\0`]) : undefined,
      },
      /more than 1048576 octets/,
    ],
    [{ answer: (letter) => letter === "E" ? Array(11).fill(["p"]) : undefined }, /an answer "p"/],
  ];
  for (const [options, error] of cases) await assert.rejects(verdict(options), error);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await assert.rejects(show({ host: "127.0.0.1", port }), /refused/i);
  await assert.rejects(show({ path: "/nonexistent/socket" }), Deno.errors.NotFound);
});

Deno.test("MilterSession waits for no answer longer than it should, and for no connection", async () => {
  for (const step of ["O", "M", "B", "E"]) {
    const clock = new FakeClock();
    const waiting = Promise.withResolvers<void>();
    const silent = (letter: string) => {
      if (letter !== step) return undefined;
      waiting.resolve();
      return "silent" as const;
    };
    await using milter = startFakeMilter({
      answer: silent,
      ...(step === "O" && { negotiate: "silent" as const }),
    });
    const shown = assert.rejects(
      show({ host: "127.0.0.1", port: milter.port }, { clock }),
      /no answer in time/,
    );
    if (step === "O") {
      await until(() => milter.seen.length > 0, "the negotiation");
    } else await waiting.promise;
    await settle();
    await clock.advance(5001);
    await shown;
  }
  // An answer that comes octet by octet, and never to its end.
  const clock = new FakeClock();
  const dripped = assert.rejects(
    MilterSession.open({
      address: { path: "/x" },
      clock,
      timeoutMs: 5000,
      connect: () => Promise.resolve(drippingConnection(clock)),
    }),
    /no answer in time/,
  );
  for (let second = 0; second < 6; second++) await clock.advance(1000);
  await dripped;
  const opened = assert.rejects(
    MilterSession.open({
      address: { path: "/x" },
      clock,
      timeoutMs: 100,
      connect: () => new Promise(() => {}),
    }),
    /no connection in time/,
  );
  await clock.advance(101);
  await opened;
});

/** A connection over which an octet of a packet comes each second, and takes all that is sent. */
function drippingConnection(clock: FakeClock): Deno.Conn {
  const packet = Buffer.from("\0\0\0\xffO", "latin1");
  const closed = Promise.withResolvers<never>();
  closed.promise.catch(() => {});
  let at = 0;
  const conn: Partial<Deno.Conn> = {
    write: (bytes) => Promise.resolve(bytes.length),
    read: (buffer) =>
      Promise.race([
        closed.promise,
        new Promise<number>((resolve) =>
          void clock.after(1000, () => {
            buffer[0] = packet[at++] ?? 0;
            resolve(1);
          })
        ),
      ]),
    close: () => closed.reject(new Error("closed")),
  };
  return conn as Deno.Conn;
}

Deno.test("MilterSession shows addresses in UTF-8, and no more of a field than a filter can take", async () => {
  await using milter = startFakeMilter();
  using session = await MilterSession.open({
    address: { host: "127.0.0.1", port: milter.port },
    clock: systemClock,
    timeoutMs: 5000,
  });
  // The low octets of these characters are NUL and line feed.
  const envelope = {
    ...ENVELOPE,
    helo: "\u0100.test",
    from: "\u0100\u010a@client.test",
    to: ["z\u0100@example.com"],
  };
  await session.envelope(envelope);
  await session.header(
    HeaderSection.of(
      `X-Long: ${"y".repeat(200_000)}\r\n${"N".repeat(100_000)}: z\r\nSubject : a\r\n`,
    ).fields,
  );
  await session.finish();
  const octets = (text: string) => Buffer.from(text).toString("latin1");
  const seen = milter.seen.map((line) => line.replaceAll("␀", "\0"));
  for (const line of ["H \u0100.test\0", "M <\u0100\u010a@client.test>\0", "R <z\u0100@example.com>\0"]) {
    assert.ok(seen.includes(octets(line)), line);
  }
  const fields = seen.filter((line) => line.startsWith("L "));
  assert.deepEqual(fields.map((field) => field.split("\0", 1)[0]), ["L X-Long", "L Subject"]);
  assert.ok(fields.every(({ length }) => length < 65_536));
});

Deno.test("PacketReader finds packets however the bytes are cut", () => {
  const reader = new PacketReader();
  const data = Buffer.alloc(200_000, "x");
  const packets = Buffer.concat([encodePacket("h", data), encodePacket("c"), encodePacket("i", data)]);
  const found: string[] = [];
  for (let at = 0; at < packets.length; at++) {
    reader.push(packets.subarray(at, at + 1));
    for (let packet = reader.next(); packet !== undefined; packet = reader.next()) {
      found.push(`${packet.letter} ${packet.data.length} ${packet.data.every((octet) => octet === 120)}`);
    }
  }
  assert.deepEqual(found, ["h 200000 true", "c 0 true", "i 200000 true"]);
});
