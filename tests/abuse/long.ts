/**
 * The long form of the attacks, with figures: `deno task abuse`. Needs 6 GiB of room below TMPDIR.
 *
 * @module
 */
import { guessing } from "./guessing.ts";
import {
  floods,
  hostileSenders,
  idleConnections,
  idleTlsConnections,
  largeMessage,
  slowAndRude,
} from "./scenarios.ts";

const report = (line: string) => console.log(line);

await idleConnections({ messages: 500, report });
await idleTlsConnections({ connections: 1000, report });
await floods({ perSecond: 500, seconds: 20, messages: 500, report });
await slowAndRude({ connections: 200, messages: 500, handshakes: true, report });
await largeMessage({ mailboxes: 100, report });
await hostileSenders({ connections: 200, seconds: 30, messages: 500, report });
await guessing({ guesses: 10_000, addresses: 200, quiet: 10_000, report });
