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

/** Sends a message of its own connection; the reply, and whether each recipient has it, byte for byte. */
export async function sendOne(
  port: number,
  options: SubmitOptions & { readonly octets: number },
): Promise<{ reply: string; id: string; digest: string }> {
  const message = checkedMessage(`m${++count}`, options.octets);
  using dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  const reply = await submit(dialogue, message, options);
  return { reply, id: message.id, digest: message.digest };
}

/** Sends a message, which must be accepted and be there for each of the users. */
export async function deliverOne(
  port: number,
  { mail, users, octets }: {
    readonly mail: Mail;
    readonly users: readonly string[];
    readonly octets: number;
  },
): Promise<void> {
  const to = users.map((user) => `${user}@example.com`);
  const { reply, id, digest } = await sendOne(port, { to, octets });
  assert.match(reply, /^250 2\.0\.0 /);
  for (const user of users) {
    const found = mail.stored(user).filter((stored) => stored.id === id);
    assert.deepEqual(found.map((stored) => stored.digest), [digest]);
  }
}
