/**
 * serve-in as a child process that faults are put into, and what to ask of it before and after.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { RunningMailapp, type RunOptions, Workspace } from "../support/mailapp.ts";
import {
  checkedMessage,
  names,
  readMaildir,
  type StoredMessage,
  submit,
  type SubmitOptions,
} from "./checked_message.ts";

/** How often to kill at random in the long form (`deno task faults`); nothing in the short one. */
export const LONG_ROUNDS = Number(Deno.env.get("MAILAPP_FAULT_ROUNDS") ?? 0);

/** Tells figures, in the long form. */
export function report(figures: string): void {
  if (LONG_ROUNDS > 0) console.log(figures);
}

/** A server that runs in a workspace. */
export interface Serving {
  /** The process. */
  readonly server: RunningMailapp;
  /** Its port on 127.0.0.1. */
  readonly port: number;
}

/** Starts serve-in, and waits until it serves. */
export async function serveIn(config: string, options: RunOptions = {}): Promise<Serving> {
  const server = new RunningMailapp(["serve-in", "--config", config], options);
  const { port } = await server.event("listener.ready");
  await server.event("server.ready");
  return { server, port: Number(port) };
}

/** What a program asks for that may not be there, and root where this process is not. */
export function asRoot(...programs: string[]): string[] {
  return Deno.uid() === 0 ? programs : [...programs, "root"];
}

const FAKETIME = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
  .map((directory) => `${directory}/faketime/libfaketimeMT.so.1`)
  .find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  }) ?? "";

/** The environment of a program whose wall clock says what this file says (faketime(1)); timers run on. */
export function clockOf(file: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: FAKETIME,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
}

/** Paths and contents of a workspace's Maildirs. */
export class Mail {
  readonly #workspace: Workspace;

  /** Of this workspace. */
  constructor(workspace: Workspace) {
    this.#workspace = workspace;
  }

  /** A user's Maildir, or what is in it. */
  path(user: string, ...parts: string[]): string {
    return this.#workspace.file("mail", "example.com", user, ...parts);
  }

  /** Where large messages wait. */
  get incoming(): string {
    return this.#workspace.file("state", "incoming");
  }

  /** The names in a user's `tmp/`. */
  tmp(user: string): string[] {
    return names(this.path(user, "tmp"));
  }

  /** Removes a user's messages, as a reader does. */
  clear(user: string): void {
    for (const { path } of this.stored(user)) Deno.removeSync(path);
  }

  /** A user's messages; fails when one is torn. */
  stored(user: string): StoredMessage[] {
    return readMaildir(this.path(user));
  }
}

let count = 0;

/** A message of {@linkcode sendOne}. */
export interface OneMessage extends SubmitOptions {
  /** Its size. */
  readonly octets: number;
  /** Where it is sent; absent: over a connection of its own. */
  readonly dialogue?: Dialogue;
}

/** Sends a message; the last reply, and how to recognize the message. */
export async function sendOne(
  port: number,
  { octets, dialogue, ...options }: OneMessage,
): Promise<{ reply: string; id: string; digest: string }> {
  const message = checkedMessage(`m${++count}`, octets);
  using own = dialogue === undefined ? await greeted(port) : undefined;
  // The one before may have been refused before its data.
  await dialogue?.say("RSET");
  const reply = await submit(dialogue ?? own ?? assert.fail(), message, options);
  return { reply, id: message.id, digest: message.digest };
}

async function greeted(port: number): Promise<Dialogue> {
  const dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  return dialogue;
}

/**
 * A connection that has delivered to these users. With several threads each of them tries a mailbox out, and syncs the
 * directories on its path, with its own first message; what happens to the next message here is the same with any
 * number of threads.
 */
export async function acquainted(
  port: number,
  { mail, users }: { readonly mail: Mail; readonly users: readonly string[] },
): Promise<Dialogue> {
  const dialogue = await greeted(port);
  await deliverOne(port, { mail, users, octets: 1_000, dialogue });
  return dialogue;
}

/** Sends a message, which must be accepted and be there for each of the users. */
export async function deliverOne(
  port: number,
  { mail, users, octets, dialogue, patient = false }: {
    readonly mail: Mail;
    readonly users: readonly string[];
    readonly octets: number;
    /** As of {@linkcode OneMessage}. */
    readonly dialogue?: Dialogue;
    /** Whether the server may see only later that there is room again: each thread looks once a second. */
    readonly patient?: boolean;
  },
): Promise<void> {
  const to = users.map((user) => `${user}@example.com`);
  const send = () => sendOne(port, { to, octets, ...(dialogue && { dialogue }) });
  let sent = await send();
  for (let tries = 0; patient && sent.reply.startsWith("452 4.3.1 "); tries++) {
    assert.ok(tries < 10_000, "the room is never seen");
    sent = await send();
  }
  const { reply, id, digest } = sent;
  assert.match(reply, /^250 2\.0\.0 /);
  for (const user of users) {
    const found = mail.stored(user).filter((stored) => stored.id === id);
    assert.deepEqual(found.map((stored) => stored.digest), [digest]);
  }
}
