/**
 * Looks at each message from outside: who sent it, as far as SPF, DKIM, ARC, DMARC and DNS lists can tell, what filters
 * say, and what is to become of it.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Resolver } from "../dns/resolver.ts";
import { NotedAnswers } from "../dns/noted_answers.ts";
import { TimedResolver } from "../dns/timed_resolver.ts";
import { sameAddress } from "../net/ip_address.ts";
import type { Envelope } from "../smtp/envelope.ts";
import type { Inspection, Inspector } from "../smtp/inspector.ts";
import { reply, SmtpError } from "../smtp/reply.ts";
import type { Session } from "../smtp/session.ts";
import { countChecks } from "./check_counters.ts";
import type { DnsLists } from "./dns_lists.ts";
import { type Filter, type FilteredMessage, FilterRun } from "./filter.ts";
import type { GreylistPort } from "./greylist.ts";
import { type InspectionOptions, logged, MailInspection, POLICY_SHARE, refusal } from "./inspection.ts";
import { judge, type Judgement } from "./judgement.ts";
import {
  checkSender,
  type OwnMail,
  passOwnMail,
  type SenderFindings,
  type SenderIdentity,
} from "./sender_checks.ts";

/** What a {@linkcode MailInspector} depends on. */
export interface MailInspectorOptions extends InspectionOptions {
  /** See {@linkcode OwnMail}. */
  readonly isOwnDomain: OwnMail["isOwnDomain"];
  /** Answers; absent where nothing is asked of DNS, and only filters are. */
  readonly resolver?: Resolver | undefined;
  /** Lists of addresses, tested. */
  readonly lists?: DnsLists | undefined;
  /** Whether one of them refuses. */
  readonly refusesListed?: boolean;
  /** Who is known; needed where unknown senders are asked to come again. */
  readonly greylist?: GreylistPort | undefined;
  /** Filters that others keep, in the order in which they have their say. */
  readonly filters?: readonly Filter[];
  /** Logs filters that fail. */
  readonly logger: Logger;
}

const NOTHING_ASKED: SenderFindings = { iprev: { result: "temperror" }, listings: [] };

/** Inspects the mail of a server. */
export class MailInspector implements Inspector {
  readonly #options: MailInspectorOptions;
  /** Whether something may refuse a message before its data. */
  readonly #decidesEarly: boolean;
  /** Filters that failed when they were last asked. */
  readonly #failing = new Set<Filter>();

  /** Asks nothing yet. */
  constructor(options: MailInspectorOptions) {
    this.#options = options;
    this.#decidesEarly = options.checks.greylist !== "off" || (options.refusesListed ?? false);
  }

  /**
   * Begins to ask about the client and the reverse-path; waits for the answers only where they may refuse the message.
   * @throws {SmtpError} with the reply
   */
  begin(envelope: Envelope, session: Session): Inspection | Promise<Inspection> {
    const identity: SenderIdentity = {
      ip: session.remote.address,
      helo: session.hello?.domain ?? "",
      mailFrom: envelope.reversePath?.text ?? "",
    };
    const { resolver, clock, checks: { timeoutMs } } = this.#options;
    const timed = resolver &&
      new TimedResolver({
        resolver,
        clock,
        timeoutMs: timeoutMs * (1 - POLICY_SHARE),
        noted: new NotedAnswers(),
      });
    const sender = timed === undefined
      ? Promise.resolve(NOTHING_ASKED)
      : this.#checkSender(identity, { session, timed });
    // If the message is dropped, nothing waits for it.
    sender.catch(() => {});
    const inspect = () => {
      const { hostname } = this.#options;
      const message = sender.then((findings) => ({
        hostname,
        ...describe(envelope, { session, identity, findings }),
      }));
      return new MailInspection(this.#options, {
        identity,
        sender,
        timed,
        filters: this.#showFilters(message),
      });
    };
    return this.#decidesEarly ? this.#decide(envelope, { identity, sender, timed }).then(inspect) : inspect();
  }

  async #checkSender(
    identity: SenderIdentity,
    { session, timed }: { readonly session: Session; readonly timed: TimedResolver },
  ): Promise<SenderFindings> {
    const { hostname, checks, lists, isOwnDomain } = this.#options;
    const findings = await checkSender(identity, {
      resolver: timed,
      spf: checks.spf,
      ...(lists && { lists }),
    });
    const isOwnClient = sameAddress(session.remote.address, session.local.address);
    return passOwnMail(findings, { helo: identity.helo, isOwnClient, hostname, isOwnDomain });
  }

  /** Refuses what need not come. @throws {SmtpError} */
  async #decide(
    { recipients }: Envelope,
    { identity, sender, timed }: {
      readonly identity: SenderIdentity;
      readonly sender: Promise<SenderFindings>;
      readonly timed: TimedResolver | undefined;
    },
  ): Promise<void> {
    try {
      const findings = await sender;
      const judgement = judge(findings, { identity, enforceDmarc: false, trustedSealers: [] });
      const log = () => ({
        to: recipients.map(({ forwardPath }) => forwardPath.text),
        ...logged(findings, judgement, {
          answers: timed?.noted,
          now: this.#options.clock.monotonic(),
          isRefused: true,
        }),
      });
      if (judgement.action === "refuse") {
        countChecks(findings, judgement);
        throw new SmtpError(refusal(judgement), { log: log() });
      }
      const seconds = await this.#greylist(findings, { identity, judgement });
      if (seconds === undefined) return;
      throw new SmtpError(
        reply(451, "4.7.1", `Greylisted: unknown here yet; try again in ${seconds} seconds`),
        { log: log() },
      );
    } catch (error) {
      timed?.[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether an unknown sender is to come again: not before so many seconds. */
  async #greylist(
    findings: SenderFindings,
    { identity: { ip, helo, mailFrom }, judgement }: {
      readonly identity: SenderIdentity;
      readonly judgement: Judgement;
    },
  ): Promise<number | undefined> {
    const { checks, greylist } = this.#options;
    if (greylist === undefined || judgement.allowed) return undefined;
    if (checks.greylist === "off" || (checks.greylist === "suspicious" && !judgement.suspicious)) {
      return undefined;
    }
    const decision = await greylist.ask({
      ip,
      domain: mailFrom === "" ? helo : mailFrom.slice(mailFrom.lastIndexOf("@") + 1),
      authorized: findings.spf?.result === "pass",
    });
    if (decision.known) return undefined;
    countChecks(findings, { action: "greylist" });
    return Math.ceil(decision.waitMs / 1000);
  }

  #showFilters(message: Promise<FilteredMessage>): FilterRun[] {
    const { filters = [], clock } = this.#options;
    return filters.map((filter) =>
      new FilterRun(filter, { message, clock, ended: (failure) => this.#tell(filter, failure) })
    );
  }

  /** Says once that a filter fails, and once that it does no more. */
  #tell(filter: Filter, failure: string | undefined): void {
    const { logger } = this.#options;
    if (failure === undefined) {
      if (this.#failing.delete(filter)) logger.info("filter.recovered", { filter: filter.name });
    } else if (!this.#failing.has(filter)) {
      this.#failing.add(filter);
      logger.warn("filter.failed", { filter: filter.name, error: failure });
    }
  }
}

/** What filters are told. */
function describe(
  { recipients }: Envelope,
  { session, identity: { ip, helo, mailFrom }, findings: { iprev } }: {
    readonly session: Session;
    readonly identity: SenderIdentity;
    readonly findings: SenderFindings;
  },
): Omit<FilteredMessage, "hostname"> {
  return {
    id: `${session.id}.${session.messageCount + 1}`,
    client: { address: ip, port: session.remote.port },
    ...(iprev.result === "pass" && iprev.name !== undefined && { clientName: iprev.name }),
    helo,
    from: mailFrom,
    to: recipients.map(({ forwardPath }) => forwardPath.text),
  };
}
