// The server as it is shipped, under attack; the long form, with its figures, is `deno task abuse`.
import { ONE_AND_SEVERAL, withThreads } from "../support/mailapp.ts";
import { floods, hostileSenders, idleConnections, largeMessage, slowAndRude } from "./scenarios.ts";

const report = (line: string) => console.log(line);

for (const threads of ONE_AND_SEVERAL) {
  Deno.test(`2,000 idle connections lock out no other client, and 1,000 take less than ${threads === 1 ? 150 : 150 + 40 * threads} MB${withThreads(threads)}`, async () => {
    await idleConnections({ messages: 30, threads, report });
  });
}

Deno.test("500 connections a second lock out no other client", async () => {
  await floods({ perSecond: 500, seconds: 3, messages: 30, report });
});

Deno.test("slow clients, clients that do not read and bad commands lock out no other client, and are ended", async () => {
  await slowAndRude({ connections: 25, messages: 30, handshakes: false, report });
});

Deno.test("a message of 50 MiB to 100 recipients takes less than 32 MiB of memory", async () => {
  await largeMessage({ mailboxes: 8, report });
});

Deno.test("senders whose domains are silent, loop or swell lock out no other client", async () => {
  await hostileSenders({ connections: 30, seconds: 5, messages: 30, report });
});
