// Any argument to any command, and any parsed address: what comes out keeps the promises of its types.
import assert from "node:assert/strict";
import { fc } from "../support/property.ts";
import { silentLogger } from "../../base/log.ts";
import { AddressError, formatLocalPart, normalizeLiteral, parsePath } from "../../smtp/address.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import { parseCommand } from "../../smtp/command.ts";
import type { CommandContext } from "../../smtp/commands/command_context.ts";
import { commands } from "../../smtp/commands/mod.ts";
import { formatReply, SmtpError } from "../../smtp/reply.ts";
import { defaultLimits } from "../../smtp/server.ts";
import { defaultPolicy } from "../../smtp/server_policy.ts";
import type { Session } from "../../smtp/session.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { RecordingDelivery } from "../support/recording_delivery.ts";

const words = fc.constantFrom(
  ...[
    "FROM:",
    "TO:",
    "from:",
    "<",
    ">",
    "<>",
    "@",
    ".",
    "..",
    ":",
    ",",
    '"',
    "\\",
    "[",
    "]",
    "a",
    "alice",
    "@here.example",
  ],
  ...[
    "<bob@here.example>",
    "<a@client.test>",
    "xn--",
    "é",
    "\u{1f4ee}",
    "\u00ad",
    "\u202e",
    "\u0085",
    "\ud800",
    " ",
    "  ",
    "\t",
  ],
  ...[
    "SIZE=",
    "99",
    "-1",
    "1e3",
    "0x1",
    "BODY=8BITMIME",
    "SMTPUTF8",
    "=",
    "RET=FULL",
    "ENVID=",
    "NOTIFY=",
    "NEVER",
    ",",
  ],
  ...[
    "ORCPT=rfc822;",
    "+41",
    "+0A",
    "\\x{41}",
    "LAST",
    "IPv6:",
    "::1",
    "127.0.0.1",
    "x".repeat(64),
    "y".repeat(255),
  ],
);
const texts = fc.oneof(
  fc.array(words, { maxLength: 12 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", maxLength: 40 }),
);

const withGrammar = [...commands].filter(([verb]) => ["MAIL", "RCPT", "BDAT", "EHLO"].includes(verb));
const paths = fc.tuple(
  fc.constantFrom("FROM:<", "TO:<"),
  fc.oneof(words, fc.emailAddress()),
  fc.array(words, { maxLength: 1 }),
)
  .map(([begin, address, rest]) => [begin, address, ">", ...rest.map((word) => ` ${word}`)].join(""));

// RFC 5321 §4.2, without RFC 6531's non-ASCII texts, which we do not use.
const REPLY = /^(?:[2-5][0-5]\d-[\t -~]*\r\n)*[2-5][0-5]\d [\t -~]*\r\n$/;

Deno.test("every command answers any argument in any state, and throws nothing but an SmtpError (property)", async () => {
  const delivery = new RecordingDelivery();
  const context: CommandContext = {
    hostname: "mx.here.example",
    delivery,
    policy: { ...defaultPolicy, extensions: ["DSN"] },
    limits: defaultLimits,
    clock: new FakeClock(),
    logger: silentLogger,
    tlsAvailable: true,
  };
  const states = fc.record({
    hello: fc.boolean(),
    transaction: fc.boolean(),
    smtputf8: fc.boolean(),
    recipient: fc.boolean(),
  });
  const property = fc.asyncProperty(
    fc.oneof(fc.constantFrom(...commands), fc.constantFrom(...withGrammar)),
    fc.oneof(texts, paths),
    states,
    async ([verb, run], text, state) => {
      const session: Session = {
        id: "1",
        remote: { address: "192.0.2.9", port: 50_000 },
        local: { address: "192.0.2.1", port: 25 },
        errorCount: 0,
        refusedRecipientCount: 0,
        messageCount: 0,
        ...(state.hello ? { hello: { verb: "EHLO", domain: "client.test" } } : {}),
      };
      const to = { localPart: "alice", domain: "here.example", text: "alice@here.example" };
      if (state.transaction) {
        session.transaction = {
          reversePath: null,
          recipients: state.recipient ? [{ forwardPath: to }] : [],
          body: "7BIT",
          smtputf8: state.smtputf8,
        };
      }
      const { argument } = parseCommand(`${verb} ${text}`);
      try {
        const { reply, then } = await run(session, argument, context);
        assert.match(formatReply(reply), REPLY);
        if (reply.enhanced !== undefined) assert.equal(reply.enhanced[0], String(reply.code)[0]);
        if (typeof then === "object" && "receive" in then && then.receive === "chunk") {
          // Whatever the reply to the command, exactly this many octets follow.
          const [, octets, last] = /^(\d+)(?: +(LAST))?$/i.exec(argument) ?? [];
          assert.deepEqual([then.octets, then.last], [Number(octets), last !== undefined]);
        } else if (verb === "BDAT") assert.equal(then, "close");
      } catch (error) {
        assert.ok(error instanceof SmtpError, String(error));
        assert.match(formatReply(error.reply), REPLY);
      }
      const { transaction, hello } = session;
      if (hello) assert.match(hello.domain, /^[!-~]+$/);
      for (
        const address of [
          transaction?.reversePath,
          ...transaction?.recipients.map((r) => r.forwardPath) ?? [],
        ]
      ) {
        if (address) {
          assert.match(
            address.text,
            transaction?.smtputf8 ? /^\P{Cc}+$/u : /^[ -~]+$/,
          );
        }
      }
      await transaction?.message?.[Symbol.asyncDispose]();
    },
  );
  await fc.assert(property, { numRuns: 3000 });
  assert.equal(delivery.open, 0);
});

Deno.test("an address that was parsed is in its one spelling, and is parsed the same again (property)", () => {
  const options = { smtputf8: true, bare: "any" } as const;
  fc.assert(
    fc.property(fc.oneof(texts, fc.emailAddress()), (text) => {
      let parsed;
      try {
        parsed = parsePath(`<${text}>`, options);
      } catch (error) {
        assert.ok(error instanceof AddressError, String(error));
        return;
      }
      const { path } = parsed;
      if (path === null) return;
      const { localPart, domain } = path;
      const octets = (text: string) => new TextEncoder().encode(text).length;
      assert.ok(octets(localPart) <= 254);
      assert.ok(domain.length <= 255);
      const spelling = domain.startsWith("[") ? normalizeLiteral(domain) : normalizeDomain(domain);
      assert.ok(domain === "" || spelling === domain, domain);
      assert.deepEqual(parsePath(`<${path.text}>`, options).path, path);
      const written = `${formatLocalPart(localPart)}${domain === "" ? "" : `@${domain}`}`;
      // U-labels may be shorter than their A-labels.
      if (octets(written) > 254) return;
      const again = parsePath(`<${written}>`, options).path;
      assert.deepEqual([again?.localPart, again?.domain], [localPart, domain]);
    }),
    { numRuns: 4000 },
  );
});
