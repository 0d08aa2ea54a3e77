/**
 * A connection to a {@linkcode FakeServer}, past greeting, EHLO and TLS.
 *
 * @module
 */
import assert from "node:assert/strict";
import { PeerMemory } from "../../relay/peer_memory.ts";
import type { SessionOptions } from "../../relay/ready_session.ts";
import type { Target } from "../../relay/mx.ts";
import { HostConnection } from "../../relay/transmit.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeServer, fakeUpgrade } from "./fake_server.ts";
import { SELF_SIGNED, TARGET } from "./host_connection.ts";
import { RecordingLog } from "./recording_log.ts";
import { RecordingQueue } from "./recording_queue.ts";

/** What a connection is opened with. */
export interface FakeSessionOptions {
  /** What EHLO announces; default: everything but AUTH. */
  readonly capabilities?: readonly string[];
  /** Whether the certificate verifies; default: yes. */
  readonly authorized?: boolean;
  /** More of the session. */
  readonly session?: Partial<SessionOptions>;
}

/** Connects to mx.test, where the target does not say otherwise. Fails where that cannot be. */
export async function openTo(
  target: Partial<Target>,
  { capabilities, authorized = true, session = {} }: FakeSessionOptions = {},
) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, ...(capabilities && { capabilities }) });
  const queue = new RecordingQueue();
  const certificate = authorized ? { authorized } : SELF_SIGNED;
  const opened = await HostConnection.open({
    ...TARGET,
    ...target,
  }, {
    hostname: "client.test",
    clock,
    timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
    dial: () => Promise.resolve(server.connect()),
    upgrade: fakeUpgrade(certificate),
    peers: new PeerMemory(clock),
    logger: new RecordingLog(),
    ...session,
  });
  assert.ok(opened.kind === "open", JSON.stringify(opened));
  return { connection: opened.connection, server, queue };
}
