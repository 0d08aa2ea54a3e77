/**
 * Limits of serve-in: whether ordinary mail fits, and whether slow, deaf and greedy clients are stopped.
 *
 * @module
 */
import { failure, ok, warning } from "../doctor/finding.ts";
import type { Copy } from "./copies.ts";
import { SENDERS } from "./senders.ts";
import {
  brief,
  freshClient,
  freshToken,
  handIn,
  messageText,
  type Stage,
  storedBy,
  type Tell,
} from "./stage.ts";
import { CLOSED, SILENCE, Wire } from "./wire.ts";

interface Options {
  readonly copy: Copy;
  readonly tell: Tell;
}

const MIB = 1024 ** 2;
/** What senders count on (RFC 5321 §4.5.3.1.8), and what is usual: 20 MB of files in base64. */
const RECIPIENTS = 100;
const USUAL_SIZE = 25 * MIB;
/** Connections that a large provider opens at once from one address. */
const AT_ONCE = 5;
/** Larger messages are only announced, not sent. */
const MAX_SENT = 64 * MIB;

/** Against a copy with the limits as configured. */
export async function limitCases(stage: Stage, { copy, tell }: Options): Promise<void> {
  await recipients(stage, { copy, tell });
  await sizes(stage, { copy, tell });
  await connections(stage, { copy, tell });
}

async function recipients({ own = "" }: Stage, { copy, tell }: Options): Promise<void> {
  const tried = `a message to ${RECIPIENTS} recipients`;
  const { wire: opened, ehlo } = await Wire.open({ port: copy.port ?? 0, from: freshClient() });
  using wire = opened;
  if (!ehlo.startsWith("250")) return;
  await wire.say(`MAIL FROM:<a@${SENDERS.honest}>`);
  const replies = await wire.sayAll(Array.from({ length: RECIPIENTS }, () => `RCPT TO:<${own}>`));
  const taken = replies.filter((reply) => reply.startsWith("250")).length;
  if (taken === RECIPIENTS) return tell(ok("limit.recipients", tried, "all are accepted"));
  tell(failure("limit.recipients", tried, {
    what: `${taken} are accepted, then ${brief(replies[taken] ?? CLOSED)}`,
    next: `Set [serve-in] max_recipients to ${RECIPIENTS} or more, as RFC 5321 §4.5.3.1.8 asks`,
  }));
}

async function sizes({ config, own = "" }: Stage, { copy, tell }: Options): Promise<void> {
  const { maxMessageSize } = config.serveIn;
  const port = copy.port ?? 0;
  const usual = `a message of ${USUAL_SIZE / MIB} MiB, as mail programs send it`;
  const announced = async (size: number) => {
    const { wire: opened, ehlo } = await Wire.open({ port, from: freshClient() });
    using wire = opened;
    if (!ehlo.startsWith("250")) return ehlo;
    return await wire.say(`MAIL FROM:<a@${SENDERS.honest}> SIZE=${size}`);
  };
  const first = await announced(USUAL_SIZE);
  if (first.startsWith("250")) tell(ok("limit.size", usual, brief(first)));
  else {
    tell(warning("limit.size", usual, {
      what: brief(first),
      next:
        `Raise [serve-in] max_message_size, which is ${maxMessageSize} octets: other servers take 25 MB and more`,
    }));
  }
  const over = await announced(maxMessageSize + 1);
  const tooLarge = "a message that is announced as one octet too large";
  if (/^552[- ]5\.3\.4/.test(over)) tell(ok("limit.size_over", tooLarge, brief(over)));
  else tell(failure("limit.size_over", tooLarge, { what: brief(over), next: "This is a defect of mailapp" }));
  if (maxMessageSize > MAX_SENT) return;
  const token = freshToken();
  const line = `${"x".repeat(998)}\r\n`;
  const body = line.repeat(Math.ceil((maxMessageSize + 1) / line.length));
  const data = messageText({ from: `a@${SENDERS.honest}`, to: own, token, body });
  const handed = await handIn({ port, sender: `a@${SENDERS.honest}`, recipients: [own], data });
  const lying = "a message that is too large and does not say so";
  const kept = await storedBy(copy, token);
  if (/^552/.test(handed.reply) && kept.length === 0) tell(ok("limit.size_lie", lying, brief(handed.reply)));
  else {tell(
      failure("limit.size_lie", lying, { what: brief(handed.reply), next: "This is a defect of mailapp" }),
    );}
}

async function connections({ config }: Stage, { copy, tell }: Options): Promise<void> {
  const { maxConnections, maxConnectionsPerIp } = config.serveIn;
  const port = copy.port ?? 0;
  using stack = new DisposableStack();
  const greet = async (from: string) => stack.use(await Wire.connect({ port, from })).hear();
  const one = freshClient();
  const first = await Promise.all(Array.from({ length: AT_ONCE }, () => greet(one)));
  const taken = first.filter((reply) => reply.startsWith("220")).length;
  const tried = `${AT_ONCE} connections at once from one server`;
  if (taken === AT_ONCE) tell(ok("limit.connections", tried, "all are greeted"));
  else {
    tell(failure("limit.connections", tried, {
      what: `${taken} are greeted, then ${brief(first.find((reply) => !reply.startsWith("220")) ?? "")}`,
      next: `Raise [serve-in] max_connections (${maxConnections}) and max_connections_per_ip ` +
        `(${maxConnectionsPerIp}): large senders open several connections, and come back late when they are refused`,
    }));
  }
  const greedy = "one client that takes every connection";
  if (maxConnectionsPerIp * 2 > maxConnections) {
    tell(warning("limit.greedy", greedy, {
      what:
        `one address may have ${maxConnectionsPerIp} of ${maxConnections} connections, by the configuration`,
      next: "Set [serve-in] max_connections_per_ip to a small part of max_connections, such as 50 of 1000",
    }));
    return;
  }
  // More descriptors than a shell gives are not needed for it.
  if (maxConnectionsPerIp > 200) {
    return tell(
      ok("limit.greedy", greedy, `${maxConnectionsPerIp} of ${maxConnections} at most, by the configuration`),
    );
  }
  const more = await Promise.all(
    Array.from({ length: Math.max(0, maxConnectionsPerIp + 1 - AT_ONCE) }, () => greet(one)),
  );
  const last = [...first, ...more].find((reply) => !reply.startsWith("220"));
  const other = await greet(freshClient());
  if (last?.startsWith("421") && other.startsWith("220")) {
    tell(
      ok("limit.greedy", greedy, `after ${maxConnectionsPerIp}: ${brief(last)}; another client is greeted`),
    );
  } else {
    tell(failure("limit.greedy", greedy, {
      what: `${brief(last ?? "all are greeted")}; another client: ${brief(other)}`,
      next: "This is a defect of mailapp",
    }));
  }
}

/** For clients that the short deadlines must have ended, in milliseconds. */
const ENDED = 45_000;

/** Against a copy whose deadlines are short: clients that keep a connection, and give nothing for it. */
export async function deadlineCases({ own = "", config }: Stage, { copy, tell }: Options): Promise<void> {
  const port = copy.port ?? 0;
  const toData = ["EHLO slow.test", `MAIL FROM:<a@${SENDERS.honest}>`, `RCPT TO:<${own}>`, "DATA"];
  const dripping = (wire: Wire, text: string) => {
    let at = 0;
    return setInterval(() => void wire.send(text[at++ % text.length] ?? ""), 200);
  };
  const cases: readonly (readonly [
    string,
    string,
    (wire: Wire) => Promise<ReturnType<typeof setInterval> | undefined>,
  ])[] = [
    ["slow.silent", "a client that says nothing", () => Promise.resolve(undefined)],
    [
      "slow.command",
      "a client that sends a command letter by letter, without end",
      (wire) => Promise.resolve(dripping(wire, "NOOP ")),
    ],
    ["slow.data", "a client that sends a message letter by letter, without end", async (wire) => {
      await wire.sayAll(toData);
      return dripping(wire, "Subject: slow\r\n");
    }],
    ["slow.stop", "a client that falls silent in mid-message", async (wire) => {
      await wire.sayAll(toData);
      await wire.send("Subject: x\r\n");
      return undefined;
    }],
    ["slow.chunk", "a client that falls silent in a BDAT chunk", async (wire) => {
      await wire.sayAll(toData.slice(0, 3));
      await wire.send("BDAT 1000\r\nx");
      return undefined;
    }],
  ];
  await Promise.all([
    ...cases.map(async ([id, tried, begin]) => {
      using wire = await Wire.connect({ port, from: freshClient() });
      await wire.hear();
      const timer = await begin(wire);
      const last = await wire.ended(ENDED);
      clearInterval(timer);
      if (last !== SILENCE) tell(ok(id, tried, `ended: ${brief(last)}`));
      else tell(failure(id, tried, { what: "never ended", next: "This is a defect of mailapp" }));
    }),
    deaf(port, tell),
    ...(copy.tlsPort === undefined
      ? []
      : [silentHandshake(copy.tlsPort, { tell, hostname: config.hostname })]),
  ]);
}

/** A client that asks forever, and reads nothing. */
async function deaf(port: number, tell: Tell): Promise<void> {
  const tried = "a client that sends commands and never reads replies";
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const questions = new TextEncoder().encode("EHLO deaf.test\r\n".repeat(500));
  let over = false;
  const asking = (async () => {
    try {
      for (;;) await conn.write(questions);
    } catch {
      over = true;
    }
  })();
  const until = performance.now() + ENDED;
  while (!over && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 100));
  if (over) tell(ok("slow.deaf", tried, "ended"));
  else tell(failure("slow.deaf", tried, { what: "never ended", next: "This is a defect of mailapp" }));
  void asking;
}

/** Nothing, and a plain text, on the port where TLS comes first; others are served meanwhile. */
async function silentHandshake(
  port: number,
  { tell, hostname }: { readonly tell: Tell; readonly hostname: string },
): Promise<void> {
  const tried =
    "a client that never begins the handshake on the TLS port, and one that speaks plaintext there";
  using silent = await Wire.connect({ port, from: freshClient() });
  using plain = await Wire.connect({ port, from: freshClient() });
  await plain.send("EHLO plain.test\r\n");
  using good = await Wire.connect({ port, from: freshClient() });
  await good.startTls(hostname);
  const greeting = await good.hear();
  const [first, second] = await Promise.all([silent.ended(ENDED), plain.ended(ENDED)]);
  if (greeting.startsWith("220") && first !== SILENCE && second !== SILENCE) {
    tell(ok("slow.handshake", tried, "both ended; another client is served meanwhile"));
  } else {
    tell(failure("slow.handshake", tried, {
      what: `another client: ${brief(greeting)}; the silent one: ${brief(first)}; the plain one: ${
        brief(second)
      }`,
      next: "This is a defect of mailapp",
    }));
  }
}
