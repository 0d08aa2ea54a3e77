/**
 * A thread that holds dialogues of a server: it listens on the same ports as the others, has a log of its own, and
 * takes orders from the server's thread.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { FigureChanges } from "../../base/thread_figures.ts";
import type { Config } from "../../config/config.ts";
import type { Log } from "../../observe/logger.ts";
import { CommandError, EXIT } from "../exit_codes.ts";
import type { StopReason } from "../signals.ts";
import type { ThreadScope } from "../threads.ts";
import type { DialoguesStart, FromDialogues, ToDialogues } from "./messages.ts";
import type { Dialogues, DialoguesEnd } from "./own.ts";

/** The scope of such a thread. */
export type DialoguesScope<Start extends DialoguesStart = DialoguesStart> = ThreadScope<
  ToDialogues<Start>,
  FromDialogues
>;

/** Asks the server's thread; resolves to its answer, `undefined` where the question made no sense. */
export type Ask = (question: unknown) => Promise<unknown>;

/** What runs in such a thread. */
export interface RunningDialogues {
  readonly log: Log;
  readonly dialogues: Dialogues;
  /** Reads again what does not depend on the configuration, such as the certificate. */
  reopen(): Promise<void>;
  /** Changes what the dialogues use, before these apply the configuration. If it throws, nothing has changed. */
  apply(config: Config): Promise<void>;
  /** Closes what is left when the dialogues are over, but not the log. */
  close(): Promise<void>;
}

/** Runs the thread, for the rest of its life. */
export function runDialogues<Start extends DialoguesStart>(
  scope: DialoguesScope<Start>,
  open: (start: Start, ask: Ask) => Promise<RunningDialogues>,
): void {
  const thread = new DialoguesThread(scope, open);
  scope.onmessage = ({ data }) => thread.hear(data);
  scope.postMessage({ kind: "loaded" });
}

class DialoguesThread<Start extends DialoguesStart> {
  readonly #scope: DialoguesScope<Start>;
  readonly #open: (start: Start, ask: Ask) => Promise<RunningDialogues>;
  readonly #figures = new FigureChanges();
  readonly #questions = new Map<number, (answer: unknown) => void>();
  readonly #forced = new AbortController();
  readonly #accepting = Promise.withResolvers<void>();
  #asked = 0;
  #running: RunningDialogues | undefined;
  /** What comes while it starts waits for it: it may say something newer than what it is started with. */
  #started = Promise.resolve();
  #stopping = false;

  constructor(
    scope: DialoguesScope<Start>,
    open: (start: Start, ask: Ask) => Promise<RunningDialogues>,
  ) {
    this.#scope = scope;
    this.#open = open;
  }

  hear(message: ToDialogues<Start>): void {
    switch (message.kind) {
      case "start":
        this.#started = this.#start(message.start);
        return;
      case "follow":
        return void this.#started.then(() => this.#running?.dialogues.follow(message.endpoints));
      case "reopen":
        return void this.#answer(message, async ({ log, reopen }) => {
          // What goes wrong with the file is logged by the server's thread, which has it open too.
          await log.reopen().catch(() => {});
          await reopen();
        });
      case "apply":
        return void this.#answer(message, async ({ log, apply, dialogues }) => {
          await apply(message.config);
          await dialogues.apply(message.config);
          log.level = message.config.log.level;
        });
      case "figures":
        return void this.#answer(message, () => Promise.resolve());
      case "answer":
        this.#questions.get(message.number)?.(message.answer);
        return void this.#questions.delete(message.number);
      case "stop":
        return void this.#stop(message.reason, {
          forced: this.#forced.signal,
          ...(message.accepting && { accepting: this.#accepting.promise }),
        });
      case "refuse":
        return this.#accepting.resolve();
      case "force":
        this.#forced.abort();
    }
  }

  async #start(start: Start): Promise<void> {
    try {
      this.#running = await this.#open(start, (question) => this.#ask(question));
      this.#scope.postMessage({ kind: "ready" });
    } catch (error) {
      const exitCode = error instanceof CommandError ? error.exitCode : EXIT.software;
      this.#scope.postMessage({ kind: "failed", error: errorText(error), exitCode });
    }
  }

  async #ask(question: unknown): Promise<unknown> {
    const number = ++this.#asked;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#questions.set(number, resolve);
    this.#scope.postMessage({ kind: "question", number, question });
    return await promise;
  }

  async #answer(
    { number }: { readonly number: number },
    work: (running: RunningDialogues) => Promise<void>,
  ): Promise<void> {
    await this.#started;
    const running = this.#running;
    try {
      if (running !== undefined) await work(running);
    } catch (error) {
      running?.log.logger.error("config.not_reloaded", {
        error: errorText(error),
        action: "keeping the old one",
      });
    }
    this.#scope.postMessage({ kind: "done", number, figures: this.#figures.take() });
  }

  async #stop(reason: StopReason, end: DialoguesEnd): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const running = this.#running;
    if (running !== undefined) {
      await running.dialogues.shutdown(reason, end);
      await running.close();
      await running.log[Symbol.asyncDispose]();
    }
    this.#scope.postMessage({ kind: "ended", figures: this.#figures.take() });
  }
}
