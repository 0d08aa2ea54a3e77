/**
 * Hands one message's data to its inspection: first the header section as a whole, then the body.
 *
 * @module
 */
import type { MemoryBudget } from "../base/memory_budget.ts";
import { HeaderCollector } from "../message/header_collector.ts";
import type { HeaderSection } from "../message/header_section.ts";
import { MAX_FIELDS } from "../message/header_field.ts";
import type { Inspection, Verdict } from "./inspector.ts";
import * as replies from "./replies.ts";
import { type Reply, reply } from "./reply.ts";

/** Memory that each field takes beside its octets. */
const FIELD_COST = 128;

const tooMany = reply(451, "4.3.2", "Too many large header sections at this moment; try again later");

/** One message's data on its way past the inspection. */
export class InspectedData implements Disposable {
  /** Refuses the message, where its header section has too many fields or takes too much memory. */
  refusal: Reply | undefined;
  readonly #inspection: Inspection;
  readonly #budget: MemoryBudget;
  #collector: HeaderCollector | undefined;
  readonly #section: HeaderSection;
  #taken = 0;
  #disposed = false;

  /** `budget` is for the header sections of all messages. */
  constructor(inspection: Inspection, budget: MemoryBudget) {
    this.#inspection = inspection;
    const collector = this.#collector = new HeaderCollector();
    this.#section = collector.section;
    this.#budget = budget;
  }

  /** The header section; whole once the message is over. */
  get section(): HeaderSection {
    return this.#section;
  }

  /** See {@linkcode Inspection.reserve}; `undefined` before the header section is complete. */
  get reserve(): number | undefined {
    return this.#collector === undefined ? this.#inspection.reserve : undefined;
  }

  /** Takes mail data. */
  push(piece: Uint8Array): Promise<void> | void {
    const collector = this.#collector;
    if (collector === undefined) return this.#inspection.body(piece);
    const start = collector.push(piece);
    this.refusal ??= this.#count(collector);
    if (this.refusal !== undefined || start === undefined) return;
    this.#endHeader(collector);
    if (start < piece.length) return this.#inspection.body(piece.subarray(start));
  }

  /** Ends the message, and returns the verdict. */
  async verdict(): Promise<Verdict> {
    if (this.#collector !== undefined) this.#endHeader(this.#collector);
    return await this.#inspection.verdict();
  }

  /** Ends the inspection. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#budget.give(this.#taken);
    this.#inspection[Symbol.dispose]();
  }

  #count({ octets, section }: HeaderCollector): Reply | undefined {
    const cost = octets + FIELD_COST * section.fields.length;
    if (section.fields.length > MAX_FIELDS) return replies.tooManyFields;
    if (!this.#budget.take(cost - this.#taken)) return tooMany;
    this.#taken = cost;
    return undefined;
  }

  #endHeader(collector: HeaderCollector): void {
    collector.finish();
    this.#collector = undefined;
    this.#inspection.header(collector.section);
  }
}
