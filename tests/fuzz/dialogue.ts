/**
 * Dialogues as a hostile or clumsy client holds them, made by chance.
 *
 * @module
 */
import { fc } from "../support/property.ts";
import { FALSE_ENDS } from "../support/bytes.ts";
import { any, goodRecipients, groups, hellos, lines, mails, rcpts } from "./command_lines.ts";

/** What the client does next. Texts have one character a byte. */
export type Step =
  /** Sends, cut into pieces of these sizes; then waits until the server waits, or goes on at once. */
  | { readonly do: "send"; readonly text: string; readonly sizes: readonly number[]; readonly wait: boolean }
  /** Sends what begins a handshake, and speaks TLS from then on if the server had asked for it. */
  | { readonly do: "handshake" }
  /** Lets this many milliseconds pass. */
  | { readonly do: "silence"; readonly ms: number }
  /** Stops reading, or reads again. */
  | { readonly do: "stall" | "flow" }
  /** The server is told to stop, with this many milliseconds of grace. */
  | { readonly do: "shutdown"; readonly grace: number };

/** One dialogue, and the server that it is held with. */
export interface Script {
  readonly implicitTls: boolean;
  readonly tls: boolean;
  readonly bareLineEndings: "refuse" | "repair";
  readonly completesAddresses: boolean;
  readonly maxMessageSize: number;
  readonly maxRecipients: number;
  readonly maxErrors: number;
  readonly maxRefusedRecipients: number;
  /** Turns of the microtask queue that each call of the delivery takes. */
  readonly pace: number;
  readonly steps: readonly Step[];
  /** How the client leaves. `silence`: it does not, and the server's deadlines must see to it. */
  readonly end: "end" | "reset" | "silence";
}

// Mail data is full of commands that must never run. It begins like mail, as mail does.
const bodyPieces = any(
  ...[
    "MAIL FROM:<canary@evil.test>\r\n",
    "RCPT TO:<bob@here.example>\r\n",
    "DATA\r\n",
    "BDAT 4 LAST\r\n",
    "QUIT\r\n",
  ],
  ...[
    "STARTTLS\r\n",
    "RSET\r\n",
    "EHLO canary.test\r\n",
    "\r\n",
    "\r\n\r\n",
    "..\r\n",
    ".x\r\n",
    "...",
    ".",
    "x",
    "\n",
  ],
  ...[
    "\r",
    "\0",
    "\xff\x80",
    "Received: by x\r\n",
    "y".repeat(1000),
    "z".repeat(70) + "\r\n",
    "\r\n.",
    "\r\n.",
  ],
  ...FALSE_ENDS,
);

const bodies = fc.tuple(
  any(
    ...["Subject: x\r\n", "Subject: x\r\n\r\n", "A: b", ".", ".\r\n", ""],
    ...[" x\r\nA: b\r\n", "From a b\r\n", ">From a b\r\nA: b\r\n", "\xef\xbb\xbfA: b\r\n", "A  :b\r\n"],
  ),
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.array(any("line\r\n", "..stuffed\r\n", "é\r\n", "DATA\r\n", "\r\n"), { maxLength: 6 }),
    },
    { weight: 2, arbitrary: fc.array(bodyPieces, { maxLength: 10 }) },
  ),
).map(([head, pieces]) => head + pieces.join(""));

const endings = fc.oneof(
  { weight: 12, arbitrary: any("\r\n.\r\n") },
  any(".\r\n", "\r\n.", "\r\n", "", "\n.\n"),
);

const sizes = fc.oneof(
  { weight: 4, arbitrary: fc.constant([]) },
  { weight: 1, arbitrary: fc.constant([1]) },
  { weight: 2, arbitrary: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }) },
  { weight: 2, arbitrary: fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }) },
);

function send(text: fc.Arbitrary<string>, wait: fc.Arbitrary<boolean> = fc.boolean()): fc.Arbitrary<Step> {
  return fc.record({ do: fc.constant("send"), text, sizes, wait });
}

const always = fc.constant(true);

/** A whole transaction, by DATA: pipelined or step by step. */
const dataTransaction: fc.Arbitrary<Step[]> = fc.oneof(
  fc.tuple(
    mails,
    fc.array(rcpts, { minLength: 1, maxLength: 4 }),
    bodies,
    endings,
    sizes,
    sizes,
    fc.boolean(),
  )
    .map(([mail, to, body, ending, first, second, wait]): Step[] => [
      { do: "send", text: `${[mail, ...to].join("\r\n")}\r\nDATA\r\n`, sizes: first, wait },
      { do: "send", text: body + ending, sizes: second, wait },
    ]),
  fc.tuple(goodRecipients, bodies, endings, sizes).map(([to, body, ending, sizes]): Step[] => [
    { do: "send", text: "RSET\r\nMAIL FROM:<a@client.test>\r\n", sizes, wait: true },
    { do: "send", text: `RCPT TO:<${to}>\r\n`, sizes, wait: true },
    { do: "send", text: "DATA\r\n", sizes, wait: true },
    { do: "send", text: body, sizes, wait: true },
    { do: "send", text: ending, sizes, wait: true },
  ]),
);

/** One chunk: its command, which may lie, and its octets. */
const chunks = fc.tuple(
  bodies,
  fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, any(-9, -2, -1, 1, 2, 7, 900)),
  fc.oneof(
    { weight: 12, arbitrary: any("", "", " LAST") },
    any(" last", "  LAST", " LAST ", " LAST x", "LAST", " x"),
  ),
).map(([body, lie, tail]) => `BDAT ${Math.max(0, body.length + lie)}${tail}\r\n${body}`);

const oddChunks = any(
  ...[
    "BDAT\r\n",
    "BDAT -1\r\n",
    "BDAT 0x10\r\n",
    "BDAT 99999999999999999999 LAST\r\n",
    "BDAT 2147483648 LAST\r\n",
  ],
  ...[
    "BDAT 0\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 1 LAST\r\n\r",
    "BDAT +1\r\nx",
    "BDAT 00003 LAST\r\nabc",
    "BDAT 1\nx",
  ],
);

const chunkTransaction: fc.Arbitrary<Step[]> = fc.tuple(
  mails,
  fc.array(rcpts, { minLength: 1, maxLength: 3 }),
  fc.array(
    send(fc.oneof({ weight: 8, arbitrary: chunks }, oddChunks, lines)),
    { minLength: 1, maxLength: 4 },
  ),
  any("BDAT 0 LAST\r\n", "BDAT 3 LAST\r\n.\r\n", "RSET\r\n", "DATA\r\n", "NOOP\r\n", "QUIT\r\n", ""),
  sizes,
).map(([mail, to, parts, last, sizes]) => [
  { do: "send", text: `${[mail, ...to].join("\r\n")}\r\n`, sizes, wait: false },
  ...parts,
  { do: "send", text: last, sizes, wait: true },
]);

/** STARTTLS, perhaps with something after it that someone put there (CVE-2011-0411), and the handshake. */
const tlsStart: fc.Arbitrary<Step[]> = fc.tuple(
  any(
    "",
    "",
    "EHLO evil.test\r\n",
    "MAIL FROM:<canary@evil.test>\r\nRCPT TO:<bob@here.example>\r\n",
    "\x16",
    "x",
  ),
  fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, sizes),
  fc.oneof({ weight: 4, arbitrary: always }, fc.boolean()),
  fc.oneof(
    { weight: 5, arbitrary: fc.constant<Step[]>([{ do: "handshake" }]) },
    any<Step[]>(
      [{ do: "send", text: "\x16\x03\x01garbage", sizes: [], wait: true }],
      [{ do: "silence", ms: 31_000 }],
      [],
    ),
  ),
).map(([injected, sizes, wait, then]): Step[] => [
  { do: "send", text: `EHLO client.test\r\nSTARTTLS\r\n${injected}`, sizes, wait },
  ...then,
]);

const rareSteps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("silence"), ms: any(500, 11_000, 31_000, 301_000, 1_900_000) }),
  },
  fc.record({ do: fc.constant("shutdown"), grace: any(0, 1000, 600_000) }),
  { weight: 2, arbitrary: fc.record({ do: any<"stall" | "flow">("stall", "flow") }) },
);

/** Reads nothing until deadlines pass, and sends on after them. */
const deafness: fc.Arbitrary<Step[]> = fc.tuple(any(29_000, 299_000, 301_000, 303_000), send(groups)).map((
  [ms, sent],
) => [{ do: "stall" }, { do: "silence", ms }, sent, { do: "silence", ms: 4000 }]);

const one = (step: fc.Arbitrary<Step>) => step.map((step) => [step]);

const steps: fc.Arbitrary<Step[]> = fc.tuple(
  fc.oneof({ weight: 9, arbitrary: one(send(hellos.map((line) => `${line}\r\n`))) }, fc.constant<Step[]>([])),
  fc.array(
    fc.oneof(
      { weight: 24, arbitrary: dataTransaction },
      { weight: 21, arbitrary: chunkTransaction },
      { weight: 18, arbitrary: one(send(groups)) },
      { weight: 9, arbitrary: tlsStart },
      { weight: 3, arbitrary: one(rareSteps) },
      { weight: 1, arbitrary: deafness },
    ),
    { minLength: 1, maxLength: 5 },
  ),
).map(([first, rest]) => [...first, ...rest.flat()]);

/** A dialogue made by chance. */
export const scripts: fc.Arbitrary<Script> = fc.record({
  implicitTls: fc.oneof({ weight: 15, arbitrary: fc.constant(false) }, fc.constant(true)),
  tls: fc.oneof({ weight: 8, arbitrary: fc.constant(true) }, fc.constant(false)),
  bareLineEndings: any("refuse", "refuse", "refuse", "repair"),
  completesAddresses: any(false, false, false, true),
  maxMessageSize: any(50_000, 50_000, 50_000, 300, 20),
  maxRecipients: any(100, 100, 2),
  maxErrors: any(1000, 10, 2),
  maxRefusedRecipients: any(100, 100, 1),
  pace: any(0, 0, 1, 7),
  steps,
  end: any("end", "end", "end", "reset", "reset", "silence"),
});

/** A dialogue without what depends on when bytes arrive: it must come out the same however the bytes are cut. */
export const timelessScripts: fc.Arbitrary<Script> = scripts.map((script) => ({
  ...script,
  implicitTls: false,
  tls: false,
  end: "end",
  steps: script.steps.flatMap((step): Step[] => step.do === "send" ? [{ ...step, wait: false }] : []),
}));
