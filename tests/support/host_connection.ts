/**
 * A {@linkcode HostConnection} to a server of the test, on a clock of the test.
 *
 * @module
 */
import { FakeClock } from "./fake_clock.ts";
import { FakeServer, fakeUpgrade, type Script } from "./fake_server.ts";
import { RecordingLog } from "./recording_log.ts";
import { RecordingQueue } from "./recording_queue.ts";
import type { Target } from "../../relay/mx.ts";
import { PeerMemory } from "../../relay/peer_memory.ts";
import type { SessionOptions } from "../../relay/ready_session.ts";
import { HostConnection, type RecipientOutcome } from "../../relay/transmit.ts";

/** Where it leads. */
export const TARGET: Target = {
  host: "mx.test",
  address: "192.0.2.1",
  family: 4,
  port: 25,
  via: "mx",
  tls: "prefer",
  authenticated: false,
};

/** What the handshake says of a certificate that is self-signed. */
export const SELF_SIGNED = { authorized: false, authorizationError: "DEPTH_ZERO_SELF_SIGNED_CERT" };

/** What differs from a good server with a self-signed certificate. */
export interface World {
  readonly script?: Script;
  readonly capabilities?: readonly string[];
  readonly target?: Partial<Target>;
  readonly certificate?: Parameters<typeof fakeUpgrade>[0];
  readonly options?: Partial<SessionOptions>;
}

/** A server, a queue, a log and a clock; `open` connects. */
export function world({ script, capabilities, target, certificate = SELF_SIGNED, options }: World = {}) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, ...(script && { script }), ...(capabilities && { capabilities }) });
  const queue = new RecordingQueue();
  const log = new RecordingLog();
  const session: SessionOptions = {
    hostname: "client.test",
    clock,
    timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
    dial: () => Promise.resolve(server.connect()),
    upgrade: fakeUpgrade(certificate),
    peers: new PeerMemory(clock),
    logger: log,
    ...options,
  };
  const open = () => HostConnection.open({ ...TARGET, ...target }, session);
  return { clock, server, queue, log, open };
}

/** `0 relayed 2.0.0` */
export function brief({ recipient, result, attempt }: RecipientOutcome): string {
  return `${recipient} ${result} ${attempt.status}`;
}
