/**
 * Sends messages, one after the other, over a connection each, and prints how long each took from connecting to the
 * 250 after its data, in milliseconds, ascending, as JSON. A separate program; arguments: port, messages, recipient.
 *
 * @module
 */
import { Dialogue } from "../support/dialogue.ts";

const [port, messages, recipient] = Deno.args;
const steps = [
  ["EHLO honest.test", /^250/],
  ["MAIL FROM:<sender@honest.test>", /^250 /],
  [`RCPT TO:<${recipient}>`, /^250 /],
  ["DATA", /^354 /],
  [`Subject: honest\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(52)}.`, /^250 /],
] as const;

const latencies: number[] = [];
for (let message = 0; message < Number(messages); message++) {
  const startedAt = performance.now();
  using dialogue = await Dialogue.connect(Number(port));
  const expect = (reply: string, pattern: RegExp) => {
    if (!pattern.test(reply)) throw new Error(`got ${JSON.stringify(reply)}`);
  };
  expect(await dialogue.hear(), /^220 /);
  for (const [line, pattern] of steps) expect(await dialogue.say(line), pattern);
  latencies.push(performance.now() - startedAt);
  expect(await dialogue.say("QUIT"), /^221 /);
}
console.log(JSON.stringify(latencies.sort((a, b) => a - b)));
