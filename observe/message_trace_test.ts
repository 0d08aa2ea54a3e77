import assert from "node:assert/strict";
import type { LogFields } from "../base/log.ts";
import { formatJson, formatText } from "./log_format.ts";
import type { LogSource } from "./log_files.ts";
import { followed, MAX_EVENTS, traceMessages } from "./message_trace.ts";
import { idsIn, readQuery } from "./trace_query.ts";

const START = Date.UTC(2026, 10, 24);
const MINUTE = 60_000;
const queueId = (minute: number, tail: string) => `${(START + minute * MINUTE).toString(36)}0000${tail}a1`;
const receivedId = (minute: number, count: string) =>
  `${Math.floor((START + minute * MINUTE) / 1000).toString(36)}Q${count}R0123abcd`;

const SENT = queueId(0, "aaaa");
const OTHER = queueId(1, "bbbb");
const NOTICE = queueId(300, "cccc");
const ARRIVED = receivedId(1, "1");
const NOTICE_ARRIVED = receivedId(301, "2");

/** Minute, event, fields. */
const LOG: readonly (readonly [number, string, LogFields])[] = [
  [0, "session.opened", { server: "serve-out", session: "s1", peer: "127.0.0.1" }],
  [0, "message.accepted", {
    server: "serve-out",
    session: "s1",
    id: SENT,
    from: "Ann@example.com",
    to: ["bob@example.net", "carl@example.org"],
    message_id: "<m1@example.com>",
  }],
  [0, "message.accepted", {
    server: "serve-out",
    session: "s1",
    id: OTHER,
    from: "x@example.com",
    to: ["y@z.example"],
  }],
  [0, "session.closed", { server: "serve-out", session: "s1", peer: "127.0.0.1", reason: "quit" }],
  [1, "session.opened", { server: "serve-in", session: "t1", peer: "127.0.0.1" }],
  [1, "message.delivered", {
    server: "serve-in",
    session: "t1",
    id: ARRIVED,
    mailbox: "bob@example.net",
    file: "/var/mail/example.net/bob/new/1795478460.M1P2Q3Rdeadbeef.mx,S=1,W=2",
  }],
  [1, "message.accepted", {
    server: "serve-in",
    session: "t1",
    id: ARRIVED,
    from: "Ann@example.com",
    to: ["bob@example.net"],
  }],
  [1, "attempt.relayed", {
    server: "serve-out",
    id: SENT,
    recipient: "bob@example.net",
    reply: `250 2.0.0 ${ARRIVED} accepted`,
  }],
  [1, "attempt.relayed", { server: "serve-out", id: OTHER, recipient: "y@z.example", reply: "250 2.0.0 ok" }],
  [2, "session.closed", { server: "serve-in", session: "t1", peer: "127.0.0.1", reason: "quit" }],
  [3, "attempt.deferred", {
    server: "serve-out",
    id: SENT,
    recipient: "carl@example.org",
    reply: "451 4.7.1 later",
  }],
  [300, "attempt.failed", {
    server: "serve-out",
    id: SENT,
    recipient: "carl@example.org",
    reply: "550 5.1.1 no",
  }],
  [300, "dsn.queued", { server: "serve-out", id: SENT, dsn: NOTICE, kind: "failure", to: "Ann@example.com" }],
  [300, "queue.done", { server: "serve-out", id: SENT }],
  [301, "message.accepted", {
    server: "serve-in",
    session: "t2",
    id: NOTICE_ARRIVED,
    from: "",
    to: ["Ann@example.com"],
  }],
  [301, "attempt.relayed", {
    server: "serve-out",
    id: NOTICE,
    recipient: "Ann@example.com",
    reply: `250 2.0.0 ${NOTICE_ARRIVED} accepted`,
  }],
  [301, "queue.done", { server: "serve-out", id: NOTICE }],
  [400, "command.refused", {
    server: "serve-in",
    session: "t3",
    peer: "192.0.2.9",
    command: "RCPT TO:<bob@example.net>",
    from: "spam@example.net",
  }],
];

function sourceOf(log: typeof LOG, format: typeof formatJson = formatJson): LogSource {
  const lines = log.map(([minute, event, fields]) =>
    `${format({ time: START + minute * MINUTE, level: "info", event, fields })}\n`
  );
  return {
    name: "test",
    begins: () => Promise.resolve(START),
    async *pieces({ since, until }) {
      // In pieces as files have them, which may hold more than the range.
      for (let at = 0; at < lines.length; at += 3) {
        if (
          log.slice(at, at + 3).some(([minute]) =>
            START + minute * MINUTE >= since && START + minute * MINUTE <= until
          )
        ) {
          yield await Promise.resolve(lines.slice(at, at + 3).join(""));
        }
      }
    },
  };
}

async function traced(what: string, options: { readonly limit?: number; readonly source?: LogSource } = {}) {
  const query = readQuery(what) ?? assert.fail(what);
  const { source = sourceOf(LOG), limit = 10 } = options;
  return await traceMessages(query, { sources: [source], range: { since: 0, until: Infinity }, limit });
}

const WHOLE = LOG.filter(([, , { id, session }]) => id !== OTHER && session !== "t3").map(([minute, event]) =>
  `${minute} ${event}`
);
const shown = (events: readonly { readonly time: number; readonly event: string }[]) =>
  events.map(({ time, event }) => `${(time - START) / MINUTE} ${event}`);

for (
  const [how, what] of [
    ["its queue id", SENT],
    ["its Message-ID", "<m1@example.com>"],
    ["its Message-ID without brackets", "m1@example.com"],
    ["the id that serve-in gave it", ARRIVED],
    ["its file", "/var/mail/example.net/bob/cur/1795478460.M1P2Q3Rdeadbeef.mx,S=1,W=2:2,S"],
    ["a line of the notice", `It was accepted here on Tue, 24 Nov 2026 with the queue id ${SENT}.`],
    ["the id of the notice", NOTICE],
  ] as const
) {
  Deno.test(`traceMessages() shows the whole way of a message by ${how}, over all servers, and nothing of others`, async () => {
    const { stories, more } = await traced(what);
    assert.equal(more, 0);
    assert.deepEqual(stories.map(({ events }) => shown(events)), [WHOLE]);
    assert.deepEqual(new Set(stories[0]?.ids), new Set([SENT, ARRIVED, NOTICE, NOTICE_ARRIVED]));
    assert.deepEqual(new Set(stories[0]?.sessions), new Set(["s1", "t1", "t2"]));
  });
}

Deno.test("traceMessages() goes back from the queue id to the login at serve-submit, and from there on", async () => {
  const submit = { server: "serve-submit", session: "p1aa", peer: "192.0.2.7" };
  const log: typeof LOG = [
    [0, "session.opened", submit],
    [0, "login.accepted", { ...submit, login: "ann@example.com", mechanism: "PLAIN" }],
    [0, "message.accepted", { ...submit, id: "abc12341", login: "ann@example.com", queue_id: SENT }],
    [0, "message.accepted", { ...submit, id: "abc12342", login: "ann@example.com", queue_id: OTHER }],
    ...LOG,
  ];
  const expected = new Set([SENT, ARRIVED, NOTICE, NOTICE_ARRIVED, "abc12341"]);
  for (const what of [SENT, "abc12341"]) {
    const { stories: [story] } = await traced(what, { source: sourceOf(log) });
    assert.deepEqual(new Set(story?.ids), expected, what);
    assert.deepEqual(shown(story?.events.slice(0, 2) ?? []), ["0 session.opened", "0 session.opened"]);
    assert.ok(story?.events.some(({ event }) => event === "login.accepted"));
  }
});

Deno.test("traceMessages() shows of a session the refusals in the transaction of the message, and no others", async () => {
  const [first, second] = [receivedId(500, "7"), receivedId(500, "8")];
  const session = "fd8b833";
  const accepted = { server: "serve-in", session, from: "list@example.net", to: ["bob@example.com"] };
  const lines: typeof LOG = [
    [500, "command.refused", { session, command: "RCPT TO:<one@example.com>" }],
    [501, "message.accepted", { ...accepted, id: first }],
    [502, "command.refused", { session, command: "RCPT TO:<two@example.com>" }],
    [503, "message.accepted", { ...accepted, id: second }],
    [504, "command.refused", { session, command: "RCPT TO:<three@example.com>" }],
    [505, "session.closed", { session, reason: "quit" }],
  ];
  const commands = async (what: string) => {
    const { stories } = await traced(what, { source: sourceOf(lines) });
    return stories.flatMap(({ events }) => events.flatMap(({ fields }) => fields["command"] ?? []));
  };
  assert.deepEqual(await commands(first), ["RCPT TO:<one@example.com>"]);
  assert.deepEqual(await commands(second), ["RCPT TO:<two@example.com>"]);
  assert.equal((await commands(session)).length, 3);
});

Deno.test("traceMessages() finds an address in any letter case, and the newest messages first of many", async () => {
  const many = Array.from(
    { length: 50 },
    (_, minute) =>
      [minute, "message.accepted", {
        session: `m${minute}x`,
        id: receivedId(minute, `z${minute}`),
        from: "Q@example.com",
        to: ["r@example.net"],
      }] as const,
  );
  const { stories, more } = await traced("q@EXAMPLE.com", { limit: 3, source: sourceOf(many) });
  assert.equal(more, 47);
  assert.deepEqual(
    stories.map(({ ids }) => ids[0]),
    [47, 48, 49].map((minute) => receivedId(minute, `z${minute}`)),
  );
});

Deno.test("traceMessages() shows a session that brought no message, by its id and by the sender", async () => {
  for (const what of ["t3aa", "spam@example.net"]) {
    const log = LOG.map(([minute, event, fields]) =>
      [minute, event, fields["session"] === "t3" ? { ...fields, session: "t3aa" } : fields] as const
    );
    const { stories } = await traced(what, { source: sourceOf(log) });
    assert.deepEqual(stories.map(({ events }) => shown(events)), [["400 command.refused"]], what);
  }
});

Deno.test("traceMessages() shows all messages of a session by its id", async () => {
  const log = LOG.map(([minute, event, fields]) =>
    [minute, event, fields["session"] === "s1" ? { ...fields, session: "s1aa" } : fields] as const
  );
  const { stories } = await traced("s1aa", { source: sourceOf(log) });
  assert.equal(stories.length, 1);
  assert.deepEqual(
    stories[0]?.events.filter(({ event }) => event === "message.accepted").map(({ fields }) => fields["id"])
      .sort(),
    [SENT, OTHER, ARRIVED, NOTICE_ARRIVED].sort(),
  );
});

Deno.test("traceMessages() reads the log as text just so", async () => {
  const { stories } = await traced(SENT, { source: sourceOf(LOG, formatText) });
  assert.deepEqual(stories.map(({ events }) => shown(events)), [WHOLE]);
});

Deno.test("followed() goes on to what new lines lead to", async () => {
  const { stories } = await traced(SENT, { source: sourceOf(LOG.slice(0, 4)) });
  const isWanted = followed({ kind: "id", text: SENT }, stories);
  const later = LOG.slice(4).filter(([, event, fields]) =>
    isWanted({ time: 0, level: "info", event, fields })
  );
  assert.deepEqual(
    later.map(([minute, event]) => `${minute} ${event}`),
    // What serve-in logged before its reply was known could not be known to belong to it.
    WHOLE.slice(6).filter((line) => line !== "2 session.closed" && line !== "301 message.accepted"),
  );
});

Deno.test("idsIn() takes from a reply only ids that are no longer than ours", () => {
  const longest = `tpcaolQ${(2n ** 64n - 1n).toString(36)}R0325f7d1`;
  assert.deepEqual(idsIn({ reply: `250 ${longest} tpcaolQ${"1".repeat(14)}R0325f7d1 ok` }), [longest]);
});

Deno.test("readQuery() tells what was typed", () => {
  assert.deepEqual(readQuery(" Message-ID: <a@b.example> "), { kind: "message-id", text: "<a@b.example>" });
  assert.deepEqual(readQuery("a@b.example"), { kind: "address", text: "a@b.example" });
  assert.deepEqual(readQuery(`${SENT}@out.example`), {
    kind: "message-id",
    text: `<${SENT}@out.example>`,
  });
  assert.deepEqual(readQuery("x7ab3"), { kind: "id", text: "x7ab3" });
  assert.deepEqual(readQuery("1795478460.M1P2Q3R0.mx,S=1:2,S"), {
    kind: "file",
    text: "1795478460.M1P2Q3R0.mx",
    path: "1795478460.M1P2Q3R0.mx,S=1:2,S",
  });
  assert.deepEqual(readQuery(`Received: from x by mx with ESMTPS id ${ARRIVED}; Tue, 24 Nov`), {
    kind: "id",
    text: ARRIVED,
  });
  assert.deepEqual(readQuery("<carl@example.org>: 550 5.1.1 no such user"), {
    kind: "address",
    text: "carl@example.org",
  });
  assert.equal(readQuery("hello there, world"), undefined);
});

/** A log of one piece. */
function sourceOfLines(
  events: readonly (readonly [second: number, fields: LogFields])[],
): LogSource {
  const text = events.map(([second, fields]) =>
    `${
      formatJson({
        time: START + second * 1000,
        level: "info",
        event: "attempt.deferred",
        fields: { ...fields },
      })
    }\n`
  ).join("");
  return {
    name: "test",
    begins: () => Promise.resolve(START),
    async *pieces() {
      yield await Promise.resolve(text);
    },
  };
}

Deno.test("traceMessages() says from when on it kept lines, where more match than it can keep", async () => {
  const attempts = (messages: number) =>
    Array.from(
      { length: 40_001 },
      (_, second) =>
        [second, {
          id: `mi1x0b2k0000${String(second % messages).padStart(6, "0")}`,
          recipient: "q@a.test",
        }] as const,
    );
  const { more, keptSince, cutOff } = await traced("q@a.test", { source: sourceOfLines(attempts(40_001)) });
  assert.deepEqual([more, keptSince, cutOff], [20_001 - 10, START + 20_000_000, false]);
  const whole = await traced("q@a.test", { source: sourceOfLines(attempts(40_001).slice(1)) });
  assert.deepEqual([whole.more, whole.keptSince], [40_000 - 10, undefined]);
  // One message that was tried too often to show it all.
  const one = await traced("q@a.test", { source: sourceOfLines(attempts(1)) });
  assert.deepEqual([one.more, one.keptSince, one.cutOff], [0, START + 20_000_000, true]);
  assert.equal(one.stories[0]?.events.length, MAX_EVENTS);
});
