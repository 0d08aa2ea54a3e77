/**
 * Holds a dialogue with the real server over a connection in memory, and checks its outcome.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Delivery } from "../../smtp/delivery.ts";
import { ConnectionError } from "../../net/conn_transport.ts";
import { SmtpServer } from "../../smtp/server.ts";
import type { Transport, UpgradeToTls } from "../../net/transport.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { MemoryTransport } from "../support/memory_transport.ts";
import { RecordingDelivery } from "../support/recording_delivery.ts";
import { RecordingLog } from "../support/recording_log.ts";
import type { Script } from "./dialogue.ts";
import { check, CLIENT_HELLO, encrypted, type Outcome, SERVER_HELLO, type Upgrade } from "./reference.ts";

// Why a session may end; whatever else is in the log is a fault.
const REASONS = new RegExp(`^(?:${
  [
    "quit",
    "refused",
    "closed by the peer(?: in mid-data)?",
    "timeout(?: in mid-data)?",
    "too many errors",
    "too many refused recipients",
    "session too long",
    "shutdown",
    "not SMTP",
    "mail data after a refused DATA",
    "chunk too big",
    "TLS handshake (?:failed|timed out)",
    "connection lost \\((?:ECONNRESET|CLOSED)\\)",
  ].join("|")
})$`);

// The largest that the server may ask to read into or write at once, in octets.
const MAX_READ = 64 * 1024;
const MAX_WRITE = 20 * 1024;
// What is held for a client that does not read: one write that waits.
const MAX_HELD = 2 * MAX_WRITE;
// Longer than any deadline.
const FOR_EVER = 3 * 3600_000;

/**
 * Holds the dialogue.
 * @throws {assert.AssertionError} when the server does what it must not
 */
export async function hold(script: Script): Promise<Outcome> {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const recording = new RecordingDelivery();
  const asked = { senders: [] as string[], recipients: [] as string[], refusedRecipients: 0 };
  const upgrades: Upgrade[] = [];
  const transport = new MemoryTransport({ clock });
  const observed = new ObservedTransport(transport);
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery: observedDelivery(recording, { asked, pace: script.pace }),
    policy: { bareLineEndings: script.bareLineEndings, completesAddresses: script.completesAddresses },
    logger: log,
    clock,
    limits: {
      maxMessageSize: script.maxMessageSize,
      maxRecipients: script.maxRecipients,
      maxErrors: script.maxErrors,
      maxRefusedRecipients: script.maxRefusedRecipients,
    },
    ...(script.tls ? { upgradeToTls: pretendedTls(observed, upgrades) } : {}),
  });
  let over = false;
  const done = server.handle(observed, { implicitTls: script.implicitTls && script.tls })
    .finally(() => over = true);
  let sent = "";
  let isEncrypted = false;
  let stalled = false;
  let mayBeLost = script.end === "reset";
  let late = false;
  let stopping: Promise<void> | undefined;
  const send = (text: string, sizes: readonly number[]) => {
    const wire = isEncrypted ? encrypted(text) : text;
    sent += wire;
    // Many bytes one at a time take long and show no more than some do.
    transport.send(bytesOf(wire), text.length > 600 ? sizes.map((size) => size * 40) : sizes);
  };
  if (script.implicitTls) await transport.waiting();
  for (const step of script.steps) {
    if (transport.closed) break;
    if (step.do === "send") {
      send(step.text, step.sizes);
      // Who does not read would wait forever.
      if (step.wait && !stalled) await transport.waiting();
    } else if (step.do === "handshake") {
      if (!stalled) await transport.waiting();
      const wanted = upgrades.some(({ done }) => done === undefined);
      send(CLIENT_HELLO, []);
      isEncrypted ||= wanted && !transport.closed;
      if (!stalled) await transport.waiting();
    } else if (step.do === "silence") {
      late = true;
      await clock.advance(step.ms);
    } else if (step.do === "shutdown") {
      mayBeLost = true;
      stopping ??= server.shutdown({ grace: step.grace });
    } else if (step.do === "stall") {
      mayBeLost = stalled = true;
      transport.stall();
    } else {
      stalled = false;
      transport.flow();
    }
  }
  if (script.end === "end") transport.end();
  else if (script.end === "reset") transport.reset();
  else late = true;
  for (let turn = 0; turn < 300 && !over; turn++) await Promise.resolve();
  if (!over) await clock.advance(FOR_EVER);
  assert.ok(over, "the dialogue hangs");
  await done;
  await stopping;

  const outcome: Outcome = {
    sent,
    heard: textOf(transport.take()),
    upgrades,
    ...asked,
    stored: recording.stored,
    lost: mayBeLost,
    late,
    stopped: stopping !== undefined,
  };
  try {
    check({ ...script, implicitTls: script.implicitTls && script.tls }, outcome);
    checkRemains(script, { transport, observed, recording, log, clock, server });
  } catch (error) {
    if (error instanceof assert.AssertionError) {
      error.message += `\nheard: ${JSON.stringify(outcome.heard)}\nsent: ${JSON.stringify(sent)}\nupgrades: ${
        JSON.stringify(upgrades)
      }`;
    }
    throw error;
  }
  return outcome;
}

interface Remains {
  readonly transport: MemoryTransport;
  readonly observed: ObservedTransport;
  readonly recording: RecordingDelivery;
  readonly log: RecordingLog;
  readonly clock: FakeClock;
  readonly server: SmtpServer;
}

/** Nothing is left behind, and the log says what there was. */
function checkRemains(script: Script, { transport, observed, recording, log, clock, server }: Remains): void {
  assert.ok(transport.closed, "the connection is left open");
  assert.equal(recording.open, 0, "a message is neither stored nor dropped");
  assert.equal(clock.pending, 0, "a timer is left");
  assert.equal(server.connectionCount, 0);
  assert.ok(observed.largestRead <= MAX_READ, `a read of ${observed.largestRead} octets`);
  assert.ok(observed.largestWrite <= MAX_WRITE, `a write of ${observed.largestWrite} octets`);
  assert.ok(transport.heldOctets <= MAX_HELD, `${transport.heldOctets} octets held for who does not read`);
  const closed = log.named("session.closed");
  assert.equal(closed.length, 1);
  const reason = String(closed[0]?.fields["reason"]);
  assert.match(reason, REASONS);
  assert.equal(closed[0]?.fields["messages"], recording.stored.length);
  assert.equal(log.named("message.accepted").length, recording.stored.length);
  assert.deepEqual(log.named("message.cleanup_failed"), []);
  for (const { fields } of log.named("command.failed")) {
    assert.match(String(fields["error"]), /secret detail/, "a command failed by itself");
  }
  const words = textOf(transport.take());
  assert.ok(!words.includes("secret detail"), "internals are shown");
  for (const message of recording.stored) {
    // The empty line that may be put before it does not count.
    assert.ok(message.content.length <= script.maxMessageSize + 2);
    const lawful = message.envelope.smtputf8 ? FOLDED_UTF8 : FOLDED;
    for (const { value } of message.headers) {
      assert.match(value, lawful, "a trace field with its own line end");
    }
  }
}

// Printable characters; a line goes on only after CRLF and white space, and none is longer than 998.
const FOLDED = /^(?!.*[^\r\n]{999})[\t -~]*(?:\r\n[\t ]+[!-~][\t -~]*)*$/;
const FOLDED_UTF8 = /^(?!.*[^\r\n]{999})[\t -~\u00a0-\uffff]*(?:\r\n[\t ]+[!-\uffff][\t -~\u00a0-\uffff]*)*$/;

/** Delegates, and notes what is asked of it. */
class ObservedTransport implements Transport {
  readonly remote;
  readonly local;
  /** Octets read so far. */
  octetsRead = 0;
  largestRead = 0;
  largestWrite = 0;
  readonly #transport: MemoryTransport;

  constructor(transport: MemoryTransport) {
    this.#transport = transport;
    this.remote = transport.remote;
    this.local = transport.local;
  }

  get deadline(): number {
    return this.#transport.deadline;
  }

  set deadline(deadline: number) {
    this.#transport.deadline = deadline;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    // An empty buffer would spin.
    assert.ok(buffer.length > 0, "a read into nothing");
    this.largestRead = Math.max(this.largestRead, buffer.length);
    const octets = await this.#transport.read(buffer);
    this.octetsRead += octets ?? 0;
    return octets;
  }

  write(data: Uint8Array): Promise<void> {
    this.largestWrite = Math.max(this.largestWrite, data.length);
    return this.#transport.write(data);
  }

  closeWrite(): Promise<void> {
    return this.#transport.closeWrite();
  }

  close(): void {
    this.#transport.close();
  }
}

/** TLS as far as a dialogue knows it: a handshake, and bytes that mean nothing to who takes them for plaintext. */
function pretendedTls(observed: ObservedTransport, upgrades: Upgrade[]): UpgradeToTls {
  return async (plain) => {
    const upgrade: Upgrade = { begun: observed.octetsRead };
    upgrades.push(upgrade);
    const one = new Uint8Array(1);
    for (const expected of CLIENT_HELLO) {
      const read = await plain.read(one);
      if (read === null || one[0] !== expected.charCodeAt(0)) {
        throw new ConnectionError("not a handshake", { code: "EPROTO" });
      }
    }
    await plain.write(bytesOf(SERVER_HELLO));
    upgrade.done = observed.octetsRead;
    return {
      tls: { protocol: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" },
      transport: {
        remote: plain.remote,
        local: plain.local,
        get deadline() {
          return plain.deadline;
        },
        set deadline(deadline) {
          plain.deadline = deadline;
        },
        async read(buffer) {
          const octets = await plain.read(buffer);
          for (let at = 0; at < (octets ?? 0); at++) buffer[at] = (buffer[at] ?? 0) ^ 0xff;
          return octets;
        },
        write: (data) => plain.write(data.map((byte) => byte ^ 0xff)),
        closeWrite: () => plain.closeWrite?.() ?? Promise.resolve(),
        close: () => plain.close(),
      },
    };
  };
}

/** Delegates, at its own pace, and notes who was accepted. */
function observedDelivery(
  recording: RecordingDelivery,
  { asked, pace }: {
    readonly asked: { senders: string[]; recipients: string[]; refusedRecipients: number };
    readonly pace: number;
  },
): Delivery {
  const pass = async () => {
    for (let turn = 0; turn < pace; turn++) await Promise.resolve();
  };
  return {
    async checkSender(envelope) {
      await pass();
      recording.checkSender(envelope);
      asked.senders.push(envelope.reversePath?.text ?? "");
    },
    async checkRecipient(recipient) {
      await pass();
      const decision = recording.checkRecipient(recipient);
      if (decision.accepted) asked.recipients.push(recipient.forwardPath.text);
      else asked.refusedRecipients++;
      return decision;
    },
    async begin(envelope) {
      await pass();
      const pending = recording.begin(envelope);
      return {
        id: pending.id,
        async write(chunk) {
          await pass();
          await pending.write(chunk);
        },
        async commit(headers) {
          await pass();
          await pending.commit(headers);
          await pass();
        },
        async [Symbol.asyncDispose]() {
          await pass();
          await pending[Symbol.asyncDispose]();
        },
      };
    },
  };
}
