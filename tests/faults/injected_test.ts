// System calls of serve-in that fail (strace's fault injection): the right reply, nothing left behind, and the next
// message is stored by the same process.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { ONE_AND_SEVERAL, withThreads, Workspace } from "../support/mailapp.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { freezeBehind, freezeOnceThere, Strace, STRACE_NEEDS } from "../support/strace.ts";
import { names } from "./checked_message.ts";
import { acquainted, deliverOne, Mail, sendOne, serveIn, type Serving } from "./setting.ts";

interface Case extends Serving {
  readonly mail: Mail;
  readonly users: readonly string[];
  /** What the call fails with, such as `error=EIO`. */
  readonly failure: string;
}

/** A fault that is in place, or will be as soon as the program comes by. */
type Armed = { readonly strace: Promise<Strace> };

/** A place for faults, by the system call. */
interface Place {
  readonly name: string;
  readonly when: "before the data" | "before the dot";
  readonly errors: readonly string[];
  /** What the client is told, where it is not what the error says. */
  readonly reply?: RegExp;
  readonly arm: (at: Case) => Promise<Armed>;
}

const ANY = ["ENOSPC", "EDQUOT", "EIO", "EMFILE", "EACCES"];
const WRITING = ["ENOSPC", "EDQUOT", "EIO"];
const NO_ROOM = /^452 4\.3\.1 /;
const FAILED = /^451 4\.3\.0 /;

/** In place from now on. */
async function now({ server }: Case, inject: string, path?: string): Promise<Armed> {
  const strace = await Strace.attach(server.pid, {
    inject: [inject],
    ...(path !== undefined && { paths: [path] }),
  });
  return { strace: Promise.resolve(strace) };
}

/** In place as soon as files with unpredictable names have been created, and before anything is done with them. */
async function onceCreated(
  { server }: Case,
  { inject, files }: { readonly inject: string; readonly files: () => readonly (string | undefined)[] },
): Promise<Armed> {
  let paths: readonly string[] = [];
  const areThere = () => {
    const found = files();
    paths = found.filter((path) => path !== undefined);
    // Without a path strace would let every call fail, those of the runtime too.
    return paths.length > 0 && paths.length === found.length;
  };
  const { frozen } = await freezeOnceThere(server, areThere);
  const arm = async () => {
    await frozen;
    const strace = await Strace.attach(server.pid, { inject: [inject], paths });
    server.signal("SIGCONT");
    return strace;
  };
  return { strace: arm() };
}

/** The last user's file in `tmp/`; nothing until all have one. */
function lastFile({ mail, users }: Case): readonly (string | undefined)[] {
  const files = users.map((user) => mail.tmp(user).map((name) => mail.path(user, "tmp", name))[0]);
  return files.every((file) => file !== undefined) ? files.slice(-1) : [undefined];
}

function lastNew({ mail, users }: Case): string {
  return mail.path(users.at(-1) ?? "", "new");
}

const STAGING: readonly Place[] = [
  {
    name: "open of the staging file",
    when: "before the data",
    errors: ANY,
    arm: (at) => now(at, `openat:${at.failure}`),
  },
  {
    name: "write of the staging file",
    when: "before the data",
    errors: WRITING,
    arm: (at) =>
      onceCreated(at, {
        inject: `write:${at.failure}`,
        files: () => names(at.mail.incoming).map((name) => join(at.mail.incoming, name)),
      }),
  },
];

const MAILDIR: readonly Place[] = [
  {
    name: "open in tmp/",
    when: "before the dot",
    errors: ANY,
    arm: (at) => now(at, `openat:${at.failure}`),
  },
  {
    name: "write in tmp/",
    when: "before the dot",
    errors: WRITING,
    arm: (at) => onceCreated(at, { inject: `write:${at.failure}`, files: () => lastFile(at) }),
  },
  {
    name: "fsync of the file",
    when: "before the dot",
    errors: WRITING,
    arm: (at) => onceCreated(at, { inject: `fsync:${at.failure}`, files: () => lastFile(at) }),
  },
  {
    name: "rename into new/",
    when: "before the dot",
    errors: ["ENOSPC", "EDQUOT", "EIO", "EACCES"],
    arm: (at) => onceCreated(at, { inject: `rename:${at.failure}`, files: () => lastFile(at) }),
  },
  {
    name: "open of new/",
    when: "before the dot",
    errors: ["EMFILE", "EACCES", "EIO"],
    arm: (at) => now(at, `openat:${at.failure}`, lastNew(at)),
  },
  {
    name: "fsync of new/",
    when: "before the dot",
    errors: WRITING,
    // Its name is there already: someone may have seen it.
    reply: FAILED,
    arm: (at) => now(at, `fsync:${at.failure}`, lastNew(at)),
  },
];

/** In place for the file in `tmp/`, which is there when so much of the message has come. */
async function onGrowing(at: Case, inject: string): Promise<Armed> {
  const [path] = await until(() => lastFile(at).every((file) => file !== undefined) && lastFile(at), {
    what: "the file in tmp/",
  });
  return await now(at, inject, path);
}

/** The same of a large message for one mailbox, which is written there as it comes. */
const GROWING: readonly Place[] = MAILDIR.map((place): Place => {
  switch (place.name) {
    case "open in tmp/":
    case "write in tmp/":
      return { ...place, when: "before the data" };
    case "fsync of the file":
      return { ...place, arm: (at) => onGrowing(at, `fsync:${at.failure}`) };
    case "rename into new/":
      return { ...place, arm: (at) => onGrowing(at, `rename:${at.failure}`) };
    default:
      return place;
  }
});

/** Sends a message into a fault, and the next one after it. */
async function sendInto(place: Place, { octets, ...at }: Case & { readonly octets: number }): Promise<void> {
  const { server, port, mail, users, failure } = at;
  const error = failure.replace("error=", "");
  for (const user of users) mail.clear(user);
  const staged = isStaged({ users, octets });
  let armed: Armed | undefined;
  let inStaging: Promise<void> | undefined;
  const { reply } = await sendOne(port, {
    to: users.map((user) => `${user}@example.com`),
    octets,
    beforeData: async () => {
      if (place.when === "before the data") armed = await place.arm(at);
      else if (staged) {
        const { frozen } = await freezeBehind(server.pid, "openat");
        inStaging = frozen.then(() => server.signal("SIGCONT"));
      }
    },
    beforeDot: async () => {
      await inStaging;
      armed ??= await place.arm(at);
    },
  });
  assert.ok(armed, reply);
  // It was in place before the reply, or the server never came by, and would not any more.
  const strace = await Promise.race([armed.strace, undefined]);
  assert.ok(strace, reply);
  await strace.detach();
  assert.ok(strace.injected > 0, strace.lines.join("\n"));

  const severalRenamed = place.name === "rename into new/" && users.length > 1;
  const full = error === "ENOSPC" || error === "EDQUOT";
  assert.match(reply, place.reply ?? (severalRenamed || !full ? FAILED : NO_ROOM));
  for (const user of users) {
    assert.deepEqual(mail.stored(user), []);
    assert.deepEqual(mail.tmp(user), []);
  }
  assert.deepEqual(names(mail.incoming), []);
  await deliverOne(port, { mail, users, octets });
}

interface Kind {
  readonly users: readonly string[];
  readonly octets: number;
}

const isLarge = ({ octets }: Kind) => octets > 300_000;
const isStaged = (kind: Kind) => isLarge(kind) && kind.users.length > 1;

const KINDS: readonly (Kind & { readonly name: string })[] = [
  { name: "a small message", users: ["alice"], octets: 2_000 },
  { name: "a small message for two", users: ["alice", "bob"], octets: 2_000 },
  { name: "a large message", users: ["alice"], octets: 700_000 },
  { name: "a large message for two", users: ["alice", "bob"], octets: 400_000 },
];

for (const { name, users, octets } of KINDS) {
  testWith(
    STRACE_NEEDS,
    `serve-in stores nothing of ${name} when a call fails, and the next one whole`,
    async (t) => {
      await using workspace = await Workspace.create();
      const serving = await serveIn(await workspace.configure());
      await using server = serving.server;
      const mail = new Mail(workspace);
      await deliverOne(serving.port, { mail, users, octets });
      const kind = { users, octets };
      const places = isStaged(kind) ? [...STAGING, ...MAILDIR] : isLarge(kind) ? GROWING : MAILDIR;
      let refused = 0;
      for (const place of places) {
        for (const error of place.errors) {
          await t.step(`${error} at ${place.name}`, async () => {
            await sendInto(place, { ...serving, mail, users, octets, failure: `error=${error}` });
            const event = await server.event("message.refused", { after: refused++ });
            assert.equal(event["level"], "error");
            assert.match(String(event["error"]), /^StorageError: cannot /);
          });
        }
      }
      assert.equal(await server.stop(), 0);
    },
  );
}

/** Calls that make a Maildir, for users that have none yet. */
const MAKING: readonly {
  name: string;
  inject: string;
  reply: RegExp;
  path?: (mail: Mail, user: string) => string;
}[] = [
  { name: "ENOSPC at mkdir", inject: "mkdir:error=ENOSPC", reply: NO_ROOM },
  { name: "EDQUOT at mkdir", inject: "mkdir:error=EDQUOT", reply: NO_ROOM },
  { name: "EACCES at mkdir", inject: "mkdir:error=EACCES", reply: FAILED },
  { name: "EIO at mkdir", inject: "mkdir:error=EIO", reply: FAILED },
  {
    name: "EIO at fsync of the directory above",
    inject: "fsync:error=EIO",
    reply: FAILED,
    path: (mail, user) => join(mail.path(user), ".."),
  },
  {
    name: "EMFILE at open of the Maildir",
    inject: "openat:error=EMFILE",
    reply: FAILED,
    path: (mail, user) => mail.path(user),
  },
];

testWith(
  STRACE_NEEDS,
  "serve-in makes a Maildir with the next message when a call fails with the first",
  async (t) => {
    await using workspace = await Workspace.create();
    const users = MAKING.map((_, index) => `user${index}`);
    const { server, port } = await serveIn(
      await workspace.configure({ mailboxes: { users: ["alice", ...users] } }),
    );
    await using _ = server;
    const mail = new Mail(workspace);
    // They are made at the start, one by one: a failure that is meant for one must not come in the way of the next.
    for (const user of users) {
      await server.event("maildir.made", { where: { mailbox: `${user}@example.com` } });
    }
    for (const [index, { name, inject, reply, path }] of MAKING.entries()) {
      await t.step(name, async () => {
        const user = `user${index}`;
        // Someone has taken it away.
        await Deno.remove(mail.path(user), { recursive: true });
        await using strace = await Strace.attach(server.pid, {
          inject: [inject],
          ...(path !== undefined && { paths: [path(mail, user)] }),
        });
        const { reply: said } = await sendOne(port, { to: [`${user}@example.com`], octets: 2_000 });
        assert.match(said, reply);
        await strace.detach();
        assert.ok(strace.injected > 0, strace.lines.join("\n"));
        assert.deepEqual(mail.stored(user), []);
        assert.deepEqual(mail.tmp(user), []);
        await deliverOne(port, { mail, users: [user], octets: 2_000 });
      });
    }
    assert.equal(await server.stop(), 0);
  },
);

const LASTING: readonly { error: string; atDot: RegExp; atRcpt: RegExp }[] = [
  { error: "ENOSPC", atDot: NO_ROOM, atRcpt: NO_ROOM },
  { error: "EDQUOT", atDot: NO_ROOM, atRcpt: /^452 4\.2\.2 / },
  { error: "EIO", atDot: FAILED, atRcpt: /^450 4\.2\.0 / },
  { error: "EACCES", atDot: FAILED, atRcpt: /^450 4\.2\.0 / },
  { error: "EROFS", atDot: FAILED, atRcpt: /^450 4\.2\.0 / },
];

for (const threads of ONE_AND_SEVERAL) {
  testWith(
    STRACE_NEEDS,
    `serve-in refuses at RCPT what has failed before, until it can be done again${withThreads(threads)}`,
    async (t) => {
      await using workspace = await Workspace.create();
      const { server, port } = await serveIn(await workspace.configure({ "serve-in": { threads } }));
      await using _ = server;
      const mail = new Mail(workspace);
      const users = ["alice"];
      for (const { error, atDot, atRcpt } of LASTING) {
        await t.step(error, async () => {
          // Of several threads each learns for itself what has failed.
          using dialogue = await acquainted(port, { mail, users });
          const small = { to: ["alice@example.com"], octets: 2_000, dialogue };
          await using strace = await Strace.attach(server.pid, { inject: [`openat:error=${error}`] });
          assert.match((await sendOne(port, small)).reply, atDot);
          assert.match((await sendOne(port, small)).reply, atRcpt);
          await strace.detach();
          await deliverOne(port, { mail, users, octets: 2_000, dialogue });
          await deliverOne(port, { mail, users, octets: 2_000 });
          assert.deepEqual(mail.tmp("alice"), []);
        });
      }
      assert.equal(await server.stop(), 0);
    },
  );
}

testWith(
  STRACE_NEEDS,
  "serve-in refuses at RCPT a mailbox that it cannot look into, and no other",
  async () => {
    await using workspace = await Workspace.create();
    const { server, port } = await serveIn(await workspace.configure());
    await using _ = server;
    const mail = new Mail(workspace);
    using dialogue = await acquainted(port, { mail, users: ["alice", "bob"] });
    const toAlice = { to: ["alice@example.com"], octets: 2_000, dialogue };
    const armed: Strace[] = [];
    // The recipient is accepted before; the message shows what is wrong.
    const beforeData = async () => {
      const paths = [mail.path("alice", "new")];
      armed.push(await Strace.attach(server.pid, { inject: ["statx:error=EIO"], paths }));
    };
    assert.match((await sendOne(port, { ...toAlice, beforeData })).reply, FAILED);
    assert.match((await sendOne(port, toAlice)).reply, /^450 4\.2\.0 /);
    await deliverOne(port, { mail, users: ["bob"], octets: 2_000, dialogue });
    for (const strace of armed) await strace.detach();
    await deliverOne(port, { mail, users: ["alice"], octets: 2_000, dialogue });
    assert.equal(await server.stop(), 0);
  },
);
