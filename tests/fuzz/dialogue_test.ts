// Dialogues made by chance, held with the real server; the long form is `deno task fuzz`.
import assert from "node:assert/strict";
import { fc } from "../support/property.ts";
import { scripts, timelessScripts } from "./dialogue.ts";
import { hold } from "./hold.ts";

Deno.test("SmtpServer does what RFC 5321 says in 1,500 dialogues with hostile clients (property)", async () => {
  await fc.assert(fc.asyncProperty(scripts, async (script) => void await hold(script)), { numRuns: 1500 });
});

Deno.test("SmtpServer says and stores the same however the bytes are cut (property)", async () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(timelessScripts, cuts, async (script, sizes) => {
      const sentAs = async (sizes: readonly number[]) => {
        const steps = script.steps.map((step) => step.do === "send" ? { ...step, sizes } : step);
        return await hold({ ...script, steps });
      };
      const [whole, pieces] = [await sentAs([]), await sentAs(sizes)];
      const behindRefused = /^421 4\.7\.0 Mail data came after/m;
      // What came together with a refused DATA is told apart from what came later.
      fc.pre(!behindRefused.test(whole.heard) && !behindRefused.test(pieces.heard));
      assert.equal(withoutReason(pieces.heard), withoutReason(whole.heard));
      assert.deepEqual(
        pieces.stored.map(({ content }) => content),
        whole.stored.map(({ content }) => content),
      );
    }),
    { numRuns: 300 },
  );
});

/** Of two things that are wrong with a message, the one that is seen first is told. */
function withoutReason(heard: string): string {
  return heard.replace(
    /^(?:550 5\.5\.2 The message|552 5\.3\.4|452 4\.3\.1|451 4\.3\.0) .*\r$/gm,
    "(refused)\r",
  );
}
