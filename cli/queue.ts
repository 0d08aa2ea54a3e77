/**
 * `mailapp queue`: inspects and manages the queue of serve-out.
 *
 * @module
 */
import { dirname } from "@std/path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { loadConfig } from "../config/load.ts";
import { countDropped } from "../relay/maildrop/directory.ts";
import type { ActionResult, OperatorAction, QueueView } from "../relay/operator.ts";
import { isEverything, type QueueFilter, selects } from "../relay/queue_filter.ts";
import { isOpen } from "../relay/queue_entry.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import { systemClock } from "../base/clock.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { openQueue, type QueueAccess } from "../server/queue_access.ts";
import { askOnTerminal } from "./command_line/terminal_question.ts";
import { JsonArray } from "./command_line/json.ts";
import {
  groupsText,
  QUEUE_GROUPS,
  type QueueGrouping,
  QueueSummary,
  summaryText,
} from "./command_line/queue_summary.ts";
import { SORT_KEYS } from "./command_line/queue_order.ts";
import { detailsOf, foreignText, jsonOf, summaryOf } from "./command_line/queue_text.ts";
import { paged, pagerOption } from "./command_line/pager.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { registerQueueDatabase } from "./command_line/queue_database.ts";
import { count, printable, Progress } from "./command_line/terminal.ts";
import { printContent } from "./command_line/queue_content.ts";

interface Flags {
  readonly config?: string;
  readonly domain?: string;
  readonly sender?: string;
  readonly all?: true;
  readonly json?: true;
  readonly pager?: boolean;
  readonly sort?: string;
  readonly limit?: number;
  readonly group?: QueueGrouping;
  readonly dryRun?: true;
  readonly yes?: true;
}

const ACTIONS: Readonly<Record<OperatorAction, { does: string; done: string }>> = {
  retry: { does: "retry waiting messages now", done: "retried" },
  hold: { does: "do not try until released", done: "held" },
  release: { does: "try held messages now", done: "released" },
  bounce: { does: "give up, and notify the sender", done: "given up" },
  remove: { does: "give up, without a notice", done: "removed" },
};

/** Registers the subcommand and its own subcommands. */
export function registerQueue(program: Command, registrar: Registrar): void {
  const { io, action } = registrar;
  const queue = program.command("queue")
    .description("inspect and manage the queue of serve-out")
    .addHelpText("after", examples("mailapp queue list", "mailapp queue retry --domain example.net"));
  const enter = (name: string, description: string) =>
    queue.command(name)
      .description(description)
      .option("--domain <domain>", "only recipients in this domain", parseDomain)
      .option("--sender <address>", "only messages from this sender; '<>' is the null sender", parseSender)
      .option("--json", "print JSON: an array, one element for each message")
      .addOption(configOption());
  enter("list", "list messages and their status")
    .argument("[id...]", "queue ids; all if none is given")
    .option("--all", "all messages, as without any filter")
    .addOption(new Option("--sort <key>", "sort by this").choices(Object.keys(SORT_KEYS)))
    .option("--limit <number>", "show at most this many", parseLimit)
    .addOption(
      new Option("--group <what>", "only count messages by this").choices(QUEUE_GROUPS),
    )
    .addOption(pagerOption())
    .addHelpText(
      "after",
      examples("mailapp queue list --domain example.net", "mailapp queue list --group reason"),
    )
    .action(action((ids: string[], flags: Flags) => paged((io) => list(ids, { flags, io }), { flags, io })));
  enter("show", "show messages in full: every attempt, and what its reply means")
    .argument("<id...>", "messages")
    .addOption(pagerOption())
    .addHelpText("after", examples("mailapp queue show mi1x0b2k00000a3f7c2q"))
    .action(action((ids: string[], flags: Flags) => paged((io) => show(ids, { flags, io }), { flags, io })));
  queue.command("cat")
    .description("print a message as it is sent, header section and body")
    .argument("<id>", "the message")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp queue cat mi1x0b2k00000a3f7c2q | less"))
    .action(action((id: string, { config }: Flags) => printContent(id, { config, io })));
  for (const [name, { does }] of Object.entries(ACTIONS)) {
    const command = enter(name, does)
      .argument("[id...]", "messages")
      .option("--all", "all messages");
    if (isFinal(name)) {
      command.option("--dry-run", "only list what would be given up")
        .option("--yes", "do not ask before all messages are given up");
    }
    command
      .addHelpText("after", examples(`mailapp queue ${name} --domain example.net`))
      .action(action((ids: string[], flags: Flags) => act(name as OperatorAction, { ids, flags, io })));
  }
  registerQueueDatabase(queue, registrar);
}

/** Whether the action cannot be undone. */
function isFinal(action: string): boolean {
  return action === "bounce" || action === "remove";
}

function parseDomain(text: string): string {
  const domain = text.startsWith("[") ? text.toLowerCase() : normalizeDomain(text);
  if (domain === undefined) throw new InvalidArgumentError("That is not a domain name.");
  return domain;
}

function parseSender(text: string): string {
  return text.replace(/^<(.*)>$/s, "$1");
}

function filterOf(ids: readonly string[], { domain, sender }: Flags): QueueFilter {
  return {
    ...(ids.length > 0 && { ids }),
    ...(domain !== undefined && { domain }),
    ...(sender !== undefined && { sender }),
  };
}

async function open({ config: file }: Flags, io: Io): Promise<QueueAccess> {
  return await openQueue(await loadConfig(file, { env: io.env }), io);
}

/** Mentions the messages in the maildrop while serve-out is stopped: they are not in the queue yet. */
async function mentionDropped({ running, maildrop }: QueueAccess, io: Io): Promise<void> {
  if (running) return;
  const dropped = await countDropped(maildrop);
  if (dropped === 0) return;
  const wait = dropped === 1 ? "waits" : "wait";
  io.out(`${count(dropped, "message")} ${wait} in ${maildrop} for serve-out to start\n`);
}

interface Context {
  readonly flags: Flags;
  readonly io: Io;
}

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a number of at least 1.");
}

/** A longer list has a summary above it. */
const LONG_LIST = 50;
/** Messages fetched at once if the order is not that of the queue. */
const AT_ONCE = 200;

/** Lists how many messages there are for each domain, reason or sender. */
async function listGroups(
  queue: QueueAccess,
  { filter, grouping, flags, io }: Context & {
    readonly filter: QueueFilter;
    readonly grouping: QueueGrouping;
  },
): Promise<ExitCode> {
  using progress = new Progress("message", { io, clock: systemClock });
  const summary = new QueueSummary(grouping);
  for await (const view of queue.list(filter)) {
    summary.add(view, filter);
    progress.step();
  }
  progress.clear();
  const groups = summary.groups.slice(0, flags.limit ?? Infinity);
  if (flags.json) {
    using out = new JsonArray(io);
    for (const { name, oldestAge, ...group } of groups) {
      out.add({ [grouping]: name, ...group, oldestAgeMs: Math.round(oldestAge) });
    }
    out.end();
  } else io.out(groups.length === 0 ? "no matching messages\n" : groupsText(groups, grouping));
  return EXIT.ok;
}

/** The selected messages, sorted and limited as requested; a summary precedes a long list. */
async function* listed(
  queue: QueueAccess,
  { filter, flags, io }: Context & { readonly filter: QueueFilter },
): AsyncGenerator<QueueView> {
  const keyOf = flags.sort === undefined ? undefined : SORT_KEYS[flags.sort];
  if (flags.json && keyOf === undefined) {
    yield* firstOf(queue.list(filter), flags.limit);
    return;
  }
  using progress = new Progress("message", { io, clock: systemClock });
  const summary = new QueueSummary("domain");
  const known: { readonly id: string; readonly key: number | string }[] = [];
  const views: QueueView[] = [];
  for await (const view of queue.list(filter)) {
    known.push({ id: view.entry.id, key: keyOf?.(view) ?? 0 });
    if (views.length <= LONG_LIST) views.push(view);
    summary.add(view, filter);
    progress.step();
  }
  progress.clear();
  if (keyOf !== undefined) {
    known.sort(({ key: one }, { key: other }) => one < other ? -1 : one > other ? 1 : 0);
  }
  if (flags.sort === "newest") known.reverse();
  const chosen = known.slice(0, flags.limit ?? Infinity);
  if (known.length <= LONG_LIST) {
    for (const { id } of chosen) yield* views.filter(({ entry }) => entry.id === id);
    return;
  }
  if (!flags.json) io.out(`${summaryText(summary, known.length)}\n`);
  for (let at = 0; at < chosen.length; at += AT_ONCE) {
    // Messages that have left meanwhile are skipped.
    yield* queue.list({ ...filter, ids: chosen.slice(at, at + AT_ONCE).map(({ id }) => id) });
  }
}

async function* firstOf<T>(items: AsyncIterable<T>, limit = Infinity): AsyncGenerator<T> {
  let left = limit;
  for await (const item of items) {
    yield item;
    if (--left === 0) return;
  }
}

/** The list of all messages, as `mailq` prints it. */
export async function listQueue(flags: Pick<Flags, "config">, io: Io): Promise<ExitCode> {
  return await list([], { flags, io });
}

/** Tries again now, as `sendmail -q` does. */
export async function retryQueue(
  { ids = [], domain, sender }: QueueFilter,
  { flags, io }: { readonly flags: Pick<Flags, "config">; readonly io: Io },
): Promise<ExitCode> {
  const all = ids.length === 0 && domain === undefined && sender === undefined;
  const chosen: Flags = {
    ...flags,
    ...(domain !== undefined && { domain }),
    ...(sender !== undefined && { sender: parseSender(sender) }),
    ...(all && { all: true }),
  };
  return await act("retry", { ids, flags: chosen, io });
}

async function list(ids: readonly string[], { flags, io }: Context): Promise<ExitCode> {
  await using queue = await open(flags, io);
  using out = new JsonArray(io);
  const missing = new Set(ids);
  const totals = { messages: 0, pending: 0, held: 0 };
  const filter = filterOf(ids, flags);
  if (flags.group !== undefined) return await listGroups(queue, { filter, grouping: flags.group, flags, io });
  for await (const view of listed(queue, { filter, flags, io })) {
    missing.delete(view.entry.id);
    if (flags.json) out.add(jsonOf(view));
    else io.out(summaryOf(view, filter));
    totals.messages++;
    for (const recipient of view.entry.recipients) {
      if (!isOpen(recipient) || !selects(filter, recipient)) continue;
      if (recipient.status === "held") totals.held++;
      else totals.pending++;
    }
  }
  if (flags.json) out.end();
  else if (totals.messages === 0) {
    io.out(isEverything(filter) ? "nothing is queued\n" : "no matching messages\n");
  } else {
    const shown = flags.limit === undefined ? "" : " shown";
    const { messages, pending, held } = totals;
    const recipients = held === 0
      ? `${count(pending, "recipient")} pending`
      : pending === 0
      ? `${count(held, "recipient")} held`
      : `${count(pending, "recipient")} pending, ${held} held`;
    io.out(`${count(messages, "message")}${shown}, ${recipients}\n`);
  }
  if (!flags.json) await mentionDropped(queue, io);
  if (!flags.json && isEverything(filter)) io.out(foreignText(dirname(queue.maildrop)));
  return flags.limit === undefined ? reportMissing(missing, io) : EXIT.ok;
}

async function show(ids: readonly string[], { flags, io }: Context): Promise<ExitCode> {
  await using queue = await open(flags, io);
  using out = new JsonArray(io);
  const missing = new Set(ids);
  for await (const view of queue.list(filterOf(ids, flags))) {
    missing.delete(view.entry.id);
    if (flags.json) out.add(jsonOf(view));
    else io.out(detailsOf(view));
  }
  if (flags.json) out.end();
  return reportMissing(missing, io);
}

async function act(
  action: OperatorAction,
  { ids, flags, io }: Context & { readonly ids: readonly string[] },
): Promise<ExitCode> {
  const filter = filterOf(ids, flags);
  if (isEverything(filter) && !flags.all) {
    throw new CommandError(
      `queue ${action}: select messages by ids, --domain, --sender or --all`,
      EXIT.usage,
    );
  }
  if (ids.length > 0 && flags.all) {
    throw new CommandError(`queue ${action}: ids and --all exclude each other`, EXIT.usage);
  }
  if (flags.dryRun) return await list(ids, { flags, io });
  if (isFinal(action) && isEverything(filter)) requireConsent(action, { flags, io });
  await using queue = await open(flags, io);
  using progress = new Progress("message", { io, clock: systemClock });
  using out = new JsonArray(io);
  const missing = new Set(ids);
  const totals = { messages: 0, recipients: 0, inFlight: 0, unsaved: 0 };
  const leftAlone = new Map<string, number>();
  for await (const result of queue.apply(action, filter, { by: callerOf(io) })) {
    missing.delete(result.id);
    progress.step();
    if (flags.json) out.add(result);
    else if (ids.length > 0 || result.inFlight.length > 0) {
      progress.clear();
      io.out(outcome(action, result));
    }
    if (result.changed.length > 0) totals.messages++;
    totals.recipients += result.changed.length;
    totals.inFlight += result.inFlight.length;
    if (result.unsaved) totals.unsaved++;
    const { note, leftAlone: left = [] } = result;
    if (note !== undefined) leftAlone.set(note, (leftAlone.get(note) ?? 0) + left.length);
  }
  progress.clear();
  if (flags.json) out.end();
  else {
    const { recipients, messages } = totals;
    io.out(`${ACTIONS[action].done}: ${count(recipients, "recipient")} of ${count(messages, "message")}\n`);
    if (totals.unsaved > 0) {
      io.out(`${count(totals.unsaved, "message")} not on disk yet; serve-out stores it when it can\n`);
    }
    if (totals.inFlight > 0) {
      io.out(`not changed: ${count(totals.inFlight, "recipient")} (being sent now; repeat the command)\n`);
    }
    for (const [note, number] of leftAlone) io.out(`not changed: ${count(number, "recipient")} (${note})\n`);
  }
  if (
    !queue.running && !flags.json && totals.recipients > 0 && ["retry", "release", "bounce"].includes(action)
  ) {
    io.out("serve-out is not running; this takes effect when it starts\n");
  }
  const code = reportMissing(missing, io);
  return code === EXIT.ok && totals.inFlight > 0 ? EXIT.tryAgain : code;
}

/** Who runs this, for the log: the account, and whose it was before sudo. */
function callerOf({ env }: Io): string {
  const before = env.get("SUDO_USER");
  return `mailapp queue, uid ${Deno.uid()}${before === undefined ? "" : `, ${before.slice(0, 32)} by sudo`}`;
}

/**
 * Asks on a terminal before the whole queue is given up.
 * @throws {CommandError} unless the user agrees, or has said `--yes`
 */
function requireConsent(action: OperatorAction, { flags, io }: Context): void {
  if (flags.yes) return;
  if (!io.isTerminal || !Deno.stdin.isTerminal() || flags.json) {
    throw new CommandError(
      `queue ${action} --all gives up every message: say --yes, or look first with --dry-run`,
      EXIT.usage,
    );
  }
  const answer = askOnTerminal(`Give up every message in the queue (${action})? [y/N]`, io);
  if (/^y(?:es)?$/i.test(answer?.trim() ?? "")) return;
  throw new CommandError("nothing was changed", EXIT.unavailable);
}

function reportMissing(missing: ReadonlySet<string>, io: Io): ExitCode {
  for (const id of missing) {
    io.err(`mailapp: no such message in the queue, or not one that was selected: ${printable(id)}\n`);
  }
  return missing.size > 0 ? EXIT.unavailable : EXIT.ok;
}

function outcome(action: OperatorAction, { id, changed, inFlight, note }: ActionResult): string {
  const lines = changed.map((address) => `${id}: ${printable(address)} ${ACTIONS[action].done}\n`);
  for (const address of inFlight) {
    lines.push(`${id}: ${printable(address)} is being sent now; not changed\n`);
  }
  if (note !== undefined) lines.push(`${id}: ${note}\n`);
  return lines.join("");
}
