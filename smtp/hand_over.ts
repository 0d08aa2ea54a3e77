/**
 * Handing a message of a local program over to a server, such as serve-out.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Transport } from "../net/transport.ts";
import { asciiForm, isAscii } from "./address.ts";
import { SmtpClient } from "./client.ts";
import type { RecipientResult } from "./send_result.ts";
import type { DsnOptions, Notify } from "./envelope.ts";
import { inTransactions, RECIPIENTS_EVERYWHERE } from "./transactions.ts";

/** A message with its envelope, as a program gave them. */
export interface HandedOver {
  /** Without angle brackets; `""` is the null reverse-path. */
  readonly sender: string;
  /** At least one; addresses without angle brackets. */
  readonly recipients: readonly string[];
  /** When a notice is wanted, the same for all. */
  readonly notify?: Notify;
  /** RET and ENVID. */
  readonly dsn?: DsnOptions;
  /** Octets of the message. */
  readonly size: number;
  /** Whether any of it may have one. */
  readonly eightBit: boolean;
  /** The message; asked for once for each transaction. */
  readonly chunks: () => AsyncIterable<Uint8Array>;
}

/** Milliseconds (RFC 5321 §4.5.3.2): the server is on this machine, but its disk may be busy. */
const TIMEOUTS = { command: 300_000, data: 180_000, dataEnd: 600_000 };

/** The server takes no mail now; `message` quotes it. */
export class NotServingError extends Error {
  /** `message` is the server's reply, or the failure. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "NotServingError";
  }
}

/**
 * Begins a dialogue.
 * @param transport Owned by the client from now on.
 * @throws {NotServingError}
 */
export async function openDialogue(
  transport: Transport,
  { hostname, clock }: { readonly hostname: string; readonly clock: Clock },
): Promise<SmtpClient> {
  const client = new SmtpClient(transport, { hostname, clock, timeouts: TIMEOUTS });
  try {
    for (const step of [() => client.greeting(), () => client.hello()]) {
      const { code, lines } = await step();
      if (code >= 300) throw new NotServingError(`it says ${code} ${lines.join(" ")}`);
    }
    return client;
  } catch (error) {
    client.close();
    if (error instanceof NotServingError) throw error;
    throw new NotServingError(errorText(error), { cause: error });
  }
}

const NO_TURN: RecipientResult = {
  kind: "lost",
  stage: "mail",
  fault: "closed",
  error: "the connection ended before this recipient's turn",
  afterDot: false,
};

/**
 * Sends the message, in as many transactions as the server needs.
 * @param client Past EHLO.
 * @returns one result for each recipient, in their order
 * @throws {RangeError} when an address holds control bytes
 */
export async function handOver(client: SmtpClient, message: HandedOver): Promise<readonly RecipientResult[]> {
  const { recipients, notify, dsn, size, eightBit, chunks } = message;
  // SMTPUTF8 only where an address needs it: with it, all header fields would count as UTF-8 too.
  const sender = asciiForm(message.sender) ?? message.sender;
  const results = new Map<number, RecipientResult>();
  await inTransactions([...recipients.keys()], {
    limit: client.capabilities.recipientsMax || RECIPIENTS_EVERYWHERE,
    usable: () => !client.closed,
    transact: async (batch) => {
      const addresses = batch.flatMap((index) => recipients[index] ?? [])
        .map((address) => asciiForm(address) ?? address);
      const sent = await client.send({
        reversePath: sender,
        recipients: addresses.map((address) => ({ address, ...(notify && { notify }) })),
        ...(dsn && { dsn }),
        size,
        eightBit,
        smtputf8: ![sender, ...addresses].every(isAscii),
        chunks,
      });
      return sent.recipients;
    },
    settled: (recipient, { result }) => results.set(recipient, result),
  });
  return recipients.map((_, index) => results.get(index) ?? NO_TURN);
}
