/**
 * `mailapp queue`: inspects and manages what serve-out has still to send.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { loadConfig } from "../config/load.ts";
import { countDropped } from "../relay/maildrop/directory.ts";
import type { ActionResult, OperatorAction } from "../relay/operator.ts";
import { isEverything, type QueueFilter, selects } from "../relay/queue_filter.ts";
import { isOpen } from "../relay/queue_entry.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import { systemClock } from "../base/clock.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { openQueue, type QueueAccess } from "../server/queue_access.ts";
import { JsonArray } from "./command_line/json.ts";
import { detailsOf, jsonOf, summaryOf } from "./command_line/queue_text.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { count, printable, Progress } from "./command_line/terminal.ts";

interface Flags {
  readonly config?: string;
  readonly domain?: string;
  readonly sender?: string;
  readonly all?: true;
  readonly json?: true;
}

const ACTIONS: Readonly<Record<OperatorAction, { does: string; done: string }>> = {
  retry: { does: "try again now what waits", done: "tried again" },
  hold: { does: "do not try until release", done: "held" },
  release: { does: "try now what is held", done: "released" },
  bounce: { does: "give up, and tell the sender", done: "returned to the sender" },
  remove: { does: "give up, and tell nobody", done: "removed" },
};

/** Registers the subcommand and its own subcommands. */
export function registerQueue(program: Command, { io, action }: Registrar): void {
  const queue = program.command("queue")
    .description("inspect and manage what serve-out has still to send")
    .addHelpText("after", examples("mailapp queue list", "mailapp queue retry --domain example.net"));
  const enter = (name: string, description: string) =>
    queue.command(name)
      .description(description)
      .option("--domain <domain>", "only recipients in this domain", parseDomain)
      .option("--sender <address>", "only messages from this sender; '<>' is the null sender", parseSender)
      .option("--json", "print JSON: an array, one element for each message")
      .addOption(configOption());
  enter("list", "list messages and what becomes of them")
    .argument("[id...]", "messages; all if none is named")
    .option("--all", "all messages, as without any filter")
    .addHelpText("after", examples("mailapp queue list --domain example.net --json"))
    .action(action((ids: string[], flags: Flags) => list(ids, { flags, io })));
  enter("show", "show everything about messages, every attempt and what its answer means")
    .argument("<id...>", "messages")
    .addHelpText("after", examples("mailapp queue show mi1x0b2k00000a3f7c2q"))
    .action(action((ids: string[], flags: Flags) => show(ids, { flags, io })));
  for (const [name, { does }] of Object.entries(ACTIONS)) {
    enter(name, does)
      .argument("[id...]", "messages")
      .option("--all", "all messages")
      .addHelpText("after", examples(`mailapp queue ${name} --domain example.net`))
      .action(action((ids: string[], flags: Flags) => act(name as OperatorAction, { ids, flags, io })));
  }
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

/** Says what programs have left while serve-out is stopped, which is not in the queue yet. */
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

async function list(ids: readonly string[], { flags, io }: Context): Promise<ExitCode> {
  await using queue = await open(flags, io);
  using progress = new Progress("message", { io, clock: systemClock });
  using out = new JsonArray(io);
  const missing = new Set(ids);
  const totals = { messages: 0, recipients: 0 };
  const filter = filterOf(ids, flags);
  for await (const view of queue.list(filter)) {
    missing.delete(view.entry.id);
    progress.clear();
    if (flags.json) out.add(jsonOf(view));
    else io.out(summaryOf(view, filter));
    totals.messages++;
    totals.recipients += view.entry.recipients.filter((one) => isOpen(one) && selects(filter, one)).length;
  }
  progress.clear();
  if (flags.json) out.end();
  else if (totals.messages === 0) {
    io.out(isEverything(filter) ? "nothing is queued\n" : "no matching messages\n");
  } else {
    io.out(`${count(totals.messages, "message")}, ${count(totals.recipients, "recipient")} pending\n`);
  }
  if (!flags.json) await mentionDropped(queue, io);
  return complain(missing, io);
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
  return complain(missing, io);
}

async function act(
  action: OperatorAction,
  { ids, flags, io }: Context & { readonly ids: readonly string[] },
): Promise<ExitCode> {
  const filter = filterOf(ids, flags);
  if (isEverything(filter) && !flags.all) {
    throw new CommandError(`queue ${action}: say which: ids, --domain, --sender or --all`, EXIT.usage);
  }
  if (ids.length > 0 && flags.all) {
    throw new CommandError(`queue ${action}: ids and --all exclude each other`, EXIT.usage);
  }
  await using queue = await open(flags, io);
  using progress = new Progress("message", { io, clock: systemClock });
  using out = new JsonArray(io);
  const missing = new Set(ids);
  const totals = { messages: 0, recipients: 0, inFlight: 0, unsaved: 0 };
  const leftAlone = new Map<string, number>();
  for await (const result of queue.apply(action, filter)) {
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
    for (const [note, number] of leftAlone) io.out(`left alone: ${count(number, "recipient")} (${note})\n`);
  }
  if (
    !queue.running && !flags.json && totals.recipients > 0 && ["retry", "release", "bounce"].includes(action)
  ) {
    io.out("serve-out does not run; it goes on when it does\n");
  }
  const code = complain(missing, io);
  return code === EXIT.ok && totals.recipients === 0 && totals.inFlight > 0 ? EXIT.tryAgain : code;
}

function complain(missing: ReadonlySet<string>, io: Io): ExitCode {
  for (const id of missing) {
    io.err(`mailapp: no such message in the queue, or not one that was selected: ${printable(id)}\n`);
  }
  return missing.size > 0 ? EXIT.unavailable : EXIT.ok;
}

function outcome(action: OperatorAction, { id, changed, inFlight, note }: ActionResult): string {
  const lines = changed.map((address) => `${id}: ${printable(address)} ${ACTIONS[action].done}\n`);
  for (const address of inFlight) {
    lines.push(`${id}: ${printable(address)} is being sent just now; left alone\n`);
  }
  if (note !== undefined) lines.push(`${id}: ${note}\n`);
  return lines.join("");
}
