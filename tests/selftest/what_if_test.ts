// What `mailapp what-if` says about changes of the configuration, held against what the servers then really do.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { Comparison } from "../../cli/what_if/differences.ts";
import type { Config } from "../../config/config.ts";
import { parseConfig } from "../../config/load.ts";
import { fileSource } from "../../observe/log_files.ts";
import { createTestAuthority } from "../../selftest/authority.ts";
import { copyConfig, startCopy } from "../../selftest/copies.ts";
import { FakeDns } from "../../selftest/dns_server.ts";
import { Peers } from "../../selftest/peers.ts";
import { makeSenderKey, SENDERS, senderZone } from "../../selftest/senders.ts";
import { freshClient, handIn, messageText, storedBy } from "../../selftest/stage.ts";
import { zoneOf } from "../../selftest/zone.ts";
import { toml } from "../support/program.ts";

type Tables = Record<string, Record<string, unknown>>;

const USERS = Array.from({ length: 9 }, (_, n) => `u${n}`);

function base(): Tables {
  return {
    "": { hostname: "mx.example.com", data_dir: "/var/lib/mailapp" },
    tls: { self_signed: true },
    "serve-in": { domains: ["example.com"] },
    "serve-in.checks": { dns_lists: [{ zone: "list.test", action: "refuse" }] },
    mailboxes: { path: "/var/mail/{domain}/{user}", users: USERS },
    "mailboxes.aliases": { postmaster: "u0", sales: "u5" },
    "serve-out": {},
    "serve-out.routes": { "routed.test": "one.hosts.test:25" },
  };
}

const parse = (tables: Tables) => parseConfig(toml(tables), { systemHostname: () => "mx.example.com" });

interface Probe {
  /** Occurs in what is told of it, and nowhere else. */
  readonly name: string;
  readonly recipients: readonly string[];
  readonly sender?: string;
  readonly octets?: number;
  readonly listed?: true;
  /** The same, where the log does not have the name. */
  readonly told?: string;
}

/** To serve-in. */
const INCOMING: readonly Probe[] = [
  { name: "u0@example.com", recipients: ["u0@example.com"] },
  { name: "u1@example.com", recipients: ["u1@example.com"], sender: SENDERS.reject },
  { name: "u2@example.com", recipients: ["u2@example.com"], sender: SENDERS.quarantine },
  { name: "carol@example.com", recipients: ["carol@example.com"] },
  { name: "sales@example.com", recipients: ["sales@example.com"] },
  { name: "u4+tag@example.com", recipients: ["u4+tag@example.com"] },
  { name: "u6@example.com", recipients: ["u6@example.com"], octets: 200 * 1024 },
  { name: "u7@example.com", recipients: ["u7@example.com", "u8@example.com"] },
  { name: "x@other.test", recipients: ["x@other.test"] },
  {
    name: "u3@example.com",
    recipients: ["u3@example.com"],
    sender: SENDERS.watching,
    listed: true,
    // It is refused before the log has the recipient.
    told: `a@${SENDERS.watching}`,
  },
];

/** To serve-out. */
const OUTGOING: readonly Probe[] = [
  { name: "a@good.test", recipients: ["a@good.test"] },
  { name: "b@routed.test", recipients: ["b@routed.test"] },
  { name: "c@weak.test", recipients: ["c@weak.test"] },
  { name: "d@good.test", recipients: ["d@good.test"], octets: 200 * 1024 },
];

type Change = readonly [what: string, change: (tables: Tables) => void];

const set = (table: string, key: string, value: unknown) => (tables: Tables) => {
  tables[table] = { ...tables[table], [key]: value };
};
const drop = (table: string, key: string) => (tables: Tables) => void delete tables[table]?.[key];

const CHANGES: readonly Change[] = [
  ["nothing", () => {}],
  ["a mailbox goes", set("mailboxes", "users", USERS.filter((user) => user !== "u4"))],
  ["a mailbox comes", set("mailboxes", "users", [...USERS, "carol"])],
  ["an alias goes", drop("mailboxes.aliases", "sales")],
  ["an alias leads elsewhere", set("mailboxes.aliases", "sales", "u6")],
  ["a catch-all", set("mailboxes.aliases", "*", "u0")],
  ["an alias comes", set("mailboxes.aliases", "carol", ["u0", "u1"])],
  ["no subaddresses", set("mailboxes", "subaddress_separator", "")],
  ["Maildirs elsewhere", set("mailboxes", "path", "/srv/{domain}/{user}")],
  ["small messages", set("serve-in", "max_message_size", "100KiB")],
  ["one recipient", set("serve-in", "max_recipients", 1)],
  ["one more domain", set("serve-in", "domains", ["example.com", "other.test"])],
  ["another domain", (tables) => {
    set("serve-in", "domains", ["other.test"])(tables);
  }],
  ["DMARC off", set("serve-in.checks", "dmarc", "off")],
  ["DMARC marked", set("serve-in.checks", "dmarc", "mark")],
  ["no folder for junk", set("mailboxes", "junk_folder", "")],
  ["a list that files as junk", set("serve-in.checks", "dns_lists", [{ zone: "list.test", action: "junk" }])],
  ["no list", set("serve-in.checks", "dns_lists", [])],
  ["a list that allows", set("serve-in.checks", "dns_lists", [{ zone: "list.test", action: "allow" }])],
  ["another route", set("serve-out.routes", "routed.test", "two.hosts.test:25")],
  ["no route", drop("serve-out.routes", "routed.test")],
  ["a smarthost", set("serve-out.routes", "*", "two.hosts.test:25")],
  ["TLS that is verified", (tables) => set("serve-out.tls_policy", "weak.test", "verify")(tables)],
  ["small messages of programs", set("serve-out", "max_message_size", "100KiB")],
];

/** What outcome each sentence about a decision means. */
const MEANT: readonly (readonly [RegExp, RegExp])[] = [
  [/^refused/, /^5/],
  [/^filed as junk$/, /^2xx: (?:Junk|Spam) /],
  [/^filed in Junk$/, /^2xx: Junk /],
  [/^stored in the inbox$/, /^2xx: inbox /],
  [/^stored in /, /^2xx: /],
  [/accepts 1 at a time/, /^4xx: /],
  [/^taken$/, /^2(?:xx: |50 )/],
  [/^(?:sent|tried with the policy) /, /^250 attempt\.relayed /],
  [/^not sent there/, /^250 attempt\.deferred /],
];

/** The outcome of each probe under a configuration, and the logs. */
async function tried(
  config: Config,
  { directory, dns, peers, authority, name }: {
    readonly directory: string;
    readonly dns: FakeDns;
    readonly peers: Peers;
    readonly authority: string;
    readonly name: string;
  },
): Promise<{ readonly outcomes: Map<string, string>; readonly logs: readonly string[] }> {
  const places = { directory, dnsPort: dns.port, peersPort: peers.port, entry: import.meta.url };
  const [inConfig, outConfig] = [
    await copyConfig(config, { name: `${name}-in`, places }),
    await copyConfig(config, { name: `${name}-out`, places }),
  ];
  const serveIn = await startCopy("serve-in", inConfig, { places });
  const serveOut = await startCopy("serve-out", outConfig, { places, trusted: [authority] });
  const outcomes = new Map<string, string>();
  // The list is tested before it is used.
  for (let look = 0; look < 100 && dns.asked.every(({ name }) => name !== "1.0.0.127.list.test"); look++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const text = ({ name: probe, sender = SENDERS.honest, octets = 0 }: Probe, token: string) =>
    messageText({
      from: `a@${sender}`,
      to: probe,
      token,
      extra: [`X-Probe: ${probe}`],
      body: `x${"\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(octets / 64)}`,
    });
  for (const probe of INCOMING) {
    const token = `${probe.name}-${name}`;
    const client = probe.listed ? "127.0.9.9" : freshClient();
    const { reply } = await handIn({
      port: serveIn.port ?? 0,
      from: client,
      sender: `a@${probe.sender ?? SENDERS.honest}`,
      recipients: probe.recipients,
      data: text(probe, token),
    });
    const stored = (await storedBy(serveIn, `X-Probe: ${probe.name}`)).map(({ folder, text }) =>
      `${folder || "inbox"} ${/^Delivered-To: (.*)$/mu.exec(text)?.[1]} ${config.mailboxes.path}`
    ).sort();
    outcomes.set(probe.name, `${reply[0]}xx: ${stored.join(", ")}`);
  }
  for (const probe of OUTGOING) {
    const before = peers.messages.length;
    const { reply } = await handIn({
      port: serveOut.port ?? 0,
      from: "127.0.0.1",
      sender: `a@${SENDERS.honest}`,
      recipients: probe.recipients,
      data: text(probe, `${probe.name}-${name}`),
    });
    const event = reply.startsWith("250")
      ? await serveOut.log.find(
        ({ event, recipient }) => event.startsWith("attempt.") && recipient === probe.name,
        20_000,
      )
      : undefined;
    const [arrived] = peers.messages.slice(before);
    outcomes.set(probe.name, `${reply.slice(0, 3)} ${event?.event} at ${arrived?.address}`);
  }
  await Promise.all([serveIn.stop(), serveOut.stop()]);
  return { outcomes, logs: [inConfig, outConfig].map(({ dataDir }) => join(dataDir, "log")) };
}

/** An installation that is looser here, stricter there, and what would undo that. */
function otherBase(): Tables {
  const tables = base();
  set("serve-in.checks", "dmarc", "mark")(tables);
  set("serve-in.checks", "dns_lists", [{ zone: "list.test", action: "junk" }])(tables);
  set("serve-in", "max_message_size", "100KiB")(tables);
  set("mailboxes", "junk_folder", "Spam")(tables);
  set("mailboxes", "subaddress_separator", "")(tables);
  set("serve-out", "max_message_size", "100KiB")(tables);
  set("serve-out.tls_policy", "weak.test", "verify")(tables);
  return tables;
}

const OTHER_CHANGES: readonly Change[] = [
  ["DMARC enforced", set("serve-in.checks", "dmarc", "enforce")],
  ["DMARC off", set("serve-in.checks", "dmarc", "off")],
  [
    "a list that refuses",
    set("serve-in.checks", "dns_lists", [{ zone: "list.test", action: "refuse" }]),
  ],
  ["no list", set("serve-in.checks", "dns_lists", [])],
  ["larger messages", set("serve-in", "max_message_size", "10MiB")],
  ["subaddresses", set("mailboxes", "subaddress_separator", "+")],
  ["another folder for junk", set("mailboxes", "junk_folder", "Junk")],
  ["no folder for junk", set("mailboxes", "junk_folder", "")],
  ["larger messages of programs", set("serve-out", "max_message_size", "10MiB")],
  ["TLS as the domain asks", drop("serve-out.tls_policy", "weak.test")],
  ["TLS with any certificate", set("serve-out.tls_policy", "weak.test", "require")],
  ["TLS that is verified of a good domain", set("serve-out.tls_policy", "good.test", "verify")],
  ["DMARC enforced, and the list's mail in the inbox", (tables) => {
    set("serve-in.checks", "dmarc", "enforce")(tables);
    set("serve-in.checks", "dns_lists", [])(tables);
  }],
];

const SUITES = [
  { name: "each change", base, changes: CHANGES },
  { name: "each change of another installation", base: otherBase, changes: OTHER_CHANGES },
];

for (const { name, base: makeBase, changes } of SUITES) {
  Deno.test({
    name: `mailapp what-if says of ${name} what the servers then do otherwise`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn(t) {
      const directory = await Deno.makeTempDir({ prefix: "mailapp-test-" });
      await using dns = await FakeDns.start(zoneOf(senderZone(await makeSenderKey())));
      await using peers = Peers.start();
      const authority = await createTestAuthority();
      const stranger = await createTestAuthority("a stranger");
      const hosts = {
        "mx.good.test": authority,
        "one.hosts.test": authority,
        "two.hosts.test": authority,
        "mx.weak.test": stranger,
      };
      for (const [host, issuer] of Object.entries(hosts)) {
        const address = peers.add({ certificate: await issuer.issue({ names: [host] }) });
        Object.assign(dns.zone, zoneOf({ [host]: { A: [address] } }));
      }
      Object.assign(
        dns.zone,
        zoneOf({
          "good.test": { MX: ["mx.good.test"] },
          "routed.test": { MX: ["mx.good.test"] },
          "weak.test": { MX: ["mx.weak.test"] },
          "2.0.0.127.list.test": { A: ["127.0.0.2"] },
          "9.9.0.127.list.test": { A: ["127.0.0.2"] },
        }),
      );
      const common = { directory, dns, peers, authority: authority.cert };
      try {
        const before = parse(makeBase());
        const first = await tried(before, { ...common, name: "before" });
        for (const [number, [what, change]] of changes.entries()) {
          await t.step(what, async () => {
            const tables = makeBase();
            change(tables);
            const after = parse(tables);
            const comparison = new Comparison({ before, after }, { maxExamples: 1000 });
            const range = { since: 0, until: Infinity };
            await comparison.readLog(first.logs.map((path) => fileSource(path)), range);
            const said = comparison.result.differences.flatMap(({ examples }) =>
              examples.map(({ what }) => what)
            );
            const predicted = [...INCOMING, ...OUTGOING].filter(({ name, told = name }) =>
              said.some((one) => one.includes(name) || one.includes(told))
            ).map(({ name }) => name);
            const second = await tried(after, { ...common, name: `change-${number}` });
            const changed = [...first.outcomes].filter(([probe, outcome]) =>
              second.outcomes.get(probe) !== outcome
            );
            for (const { would, examples } of comparison.result.differences) {
              const [, meant] = MEANT.find(([words]) => words.test(would)) ?? assert.fail(would);
              for (const { what } of examples) {
                const probe = [...INCOMING, ...OUTGOING].find(({ recipients, told }) =>
                  [...recipients, ...(told === undefined ? [] : [told])].some((one) => what.includes(one))
                );
                assert.match(second.outcomes.get(probe?.name ?? "") ?? "", meant, `${what}: ${would}`);
              }
            }
            assert.deepEqual(
              predicted.sort(),
              changed.map(([probe]) => probe).sort(),
              JSON.stringify(
                [comparison.result.differences, [...first.outcomes], [...second.outcomes]],
                null,
                1,
              ),
            );
          });
        }
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  });
}

Deno.test("mailapp what-if says of a login whether it may send in another's name, and what the log does not tell", () => {
  const told = (before: Tables, after: Tables, fields: Record<string, unknown>) => {
    const comparison = new Comparison({ before: parse(before), after: parse(after) });
    const { event, ...rest } = { event: "message.accepted", server: "serve-in", ...fields };
    comparison.take({ time: 0, level: "info", event, fields: rest });
    const { differences, untold } = comparison.result;
    return [differences.map(({ would }) => would), [...untold.keys()]];
  };
  const submitting = () => ({ ...base(), "serve-submit": {} });
  const refused = {
    event: "command.refused",
    server: "serve-submit",
    command: "MAIL FROM:<boss@example.com>",
    reply: "550 5.7.1 <boss@example.com> is not an address of u1@example.com",
  };
  const allowed = { ...submitting(), "serve-submit.send_as": { u1: ["boss@example.com"] } };
  assert.deepEqual(told(submitting(), allowed, refused), [["taken from that login"], []]);
  assert.deepEqual(told(submitting(), submitting(), refused), [[], []]);
  const off = { ...base(), "serve-in.checks": { dmarc: "off" } };
  const taken = { from: "a@b.test", to: ["u1@example.com"], octets: 9, iprev: "pass", spf: "fail" };
  assert.deepEqual(told(off, { ...base(), "serve-in.checks": { dmarc: "enforce" } }, taken), [
    [],
    ["what DMARC says of a message that was taken while it was off"],
  ]);
  const greylisted = {
    event: "command.refused",
    command: "DATA",
    reply: "451 4.7.1 Greylisted: unknown here yet; try again in 60 seconds",
  };
  const greylisting = { ...base(), "serve-in.checks": { greylist: "all" } };
  assert.deepEqual(told(greylisting, off, greylisted), [["not asked to come again"], []]);
});

Deno.test("mailapp what-if reads a million lines", async () => {
  const path = await Deno.makeTempFile();
  try {
    const time = "2026-11-30T08:00:00.000Z";
    const lines = [
      {
        event: "message.accepted",
        session: "s1",
        peer: "192.0.2.1",
        id: "x1.1",
        from: "a@b.test",
        to: ["u1@example.com"],
        octets: 900,
        spf: "pass",
        dmarc: "pass",
        iprev: "pass",
        message_id: "<m@b.test>",
      },
      { event: "session.closed", session: "s1", peer: "192.0.2.1", reason: "quit", messages: 1 },
      {
        event: "command.refused",
        session: "s2",
        peer: "192.0.2.1",
        command: "RCPT TO:<carol@example.com>",
        reply: "550 5.1.1 no",
      },
      {
        event: "attempt.relayed",
        id: "mi1x0b2k00000a3f7c2q",
        recipient: "b@routed.test",
        host: "one.hosts.test",
        tls: "verified",
      },
      { event: "message.delivered", id: "x1.1", mailbox: "u1@example.com", file: "/x" },
    ].map((fields) =>
      JSON.stringify({
        time,
        level: "info",
        server: fields.event.startsWith("att") ? "serve-out" : "serve-in",
        ...fields,
      })
    );
    const block = `${lines.join("\n")}\n`.repeat(2000);
    using file = await Deno.open(path, { write: true });
    for (let n = 0; n < 100; n++) await file.write(new TextEncoder().encode(block));
    const tables = base();
    set("mailboxes", "users", [...USERS, "carol"])(tables);
    set("serve-out.routes", "routed.test", "two.hosts.test:25")(tables);
    const comparison = new Comparison({ before: parse(base()), after: parse(tables) });
    await comparison.readLog([fileSource(path)], { since: 0, until: Infinity });
    const { differences } = comparison.result;
    assert.deepEqual(
      differences.map(({ was, would, count, examples }) => [was, would, count, examples.length]),
      [
        ["recipient refused", "taken", 200_000, 3],
        ["sent via one.hosts.test:25", "sent via two.hosts.test:25", 200_000, 3],
      ],
    );
  } finally {
    await Deno.remove(path);
  }
});
