/**
 * A delivery that keeps what it is given, for tests of the protocol.
 *
 * @module
 */
import type { Delivery, Header, PendingMessage, RecipientDecision } from "../../smtp/delivery.ts";
import type { Envelope, Recipient } from "../../smtp/envelope.ts";
import { reply, SmtpError } from "../../smtp/reply.ts";
import { textOf } from "./bytes.ts";

/** A message that was committed. */
export interface StoredMessage {
  /** `M1`, `M2`, …, in the order in which messages were begun. */
  readonly id: string;
  /** As it was when the data began. */
  readonly envelope: Envelope;
  /** Whether it was filed as junk. */
  readonly junk: boolean;
  /** What was put on top. */
  readonly headers: readonly Header[];
  /** One character a byte. */
  readonly content: string;
}

/**
 * Keeps messages for `alice`, `bob` and `postmaster` in `here.example`. Other names there, and some senders, are
 * trouble by name, so that a dialogue shows by itself what it is about:
 *
 * - `full@` is refused at RCPT with 452 4.2.2, `broken@` by an error without a reply;
 * - `no-room@` as sender is refused with 452 4.3.1 at MAIL;
 * - a message to `no-begin@` is refused with 452 4.3.1 before its data, to `bad-begin@` by an error without a reply;
 * - one to `no-write@` with 452 4.3.1 in mid-data, to `bad-write@` by an error without a reply;
 * - one to `no-commit@` with 452 4.3.1 after its data, to `bad-commit@` by an error without a reply.
 */
export class RecordingDelivery implements Delivery {
  /** What was committed. */
  readonly stored: StoredMessage[] = [];
  /** Messages that were begun and neither committed nor disposed. */
  open = 0;
  /** Messages that were begun. */
  begun = 0;
  /** What storing a message waits for. */
  beforeCommit: Promise<void> = Promise.resolve();
  checkSender({ reversePath }: Omit<Envelope, "recipients">): void {
    if (reversePath?.localPart === "no-room") throw noRoom();
  }

  checkRecipient({ forwardPath: { localPart, domain } }: Recipient): RecipientDecision {
    if (domain !== "here.example" && domain !== "" && domain !== "xn--hre-fma.example") {
      return { accepted: false, reply: reply(550, "5.7.1", "This server does not relay") };
    }
    if (localPart === "full") return { accepted: false, reply: reply(452, "4.2.2", "The mailbox is full") };
    if (localPart === "broken") throw new Error("recipient table: secret detail");
    if (!KNOWN.test(localPart)) {
      return { accepted: false, reply: reply(550, "5.1.1", "No such mailbox here") };
    }
    return { accepted: true };
  }

  begin(envelope: Envelope): PendingMessage {
    const trouble = envelope.recipients.map(({ forwardPath }) => forwardPath.localPart).find((name) =>
      name.includes("-")
    );
    if (trouble === "no-begin") throw noRoom();
    if (trouble === "bad-begin") throw new Error("begin: secret detail");
    const id = `M${++this.begun}`;
    const chunks: string[] = [];
    let open = true;
    this.open++;
    const end = () => {
      if (open) this.open--;
      open = false;
    };
    return {
      id,
      write(chunk) {
        if (!open) throw new Error("a write after the end");
        if (trouble === "no-write") throw noRoom();
        if (trouble === "bad-write") throw new Error("write: secret detail");
        chunks.push(textOf(chunk));
      },
      commit: async (headers, filing) => {
        await this.beforeCommit;
        if (!open) throw new Error("a commit after the end");
        if (trouble === "no-commit") throw noRoom();
        if (trouble === "bad-commit") throw new Error("commit: secret detail");
        end();
        const written = chunks.join("");
        const { header } = filing ?? {};
        const content = header === undefined ? written : textOf(header.bytes) + written.slice(header.octets);
        this.stored.push({ id, envelope, headers, content, junk: filing?.junk ?? false });
      },
      [Symbol.asyncDispose]: () => Promise.resolve(end()),
    };
  }
}

const KNOWN =
  /^(?:alice|bob|a b|\.|josé|postmaster|no-begin|bad-begin|no-write|bad-write|no-commit|bad-commit|r\d+)$/i;

function noRoom(): SmtpError {
  return new SmtpError(reply(452, "4.3.1", "No room for this message now; try again later"), {
    cause: new Error("disk: secret detail"),
  });
}
