/**
 * Dovecot as an IMAP server over Maildirs that another program fills; it must be started as root.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { freePort, untilListening, untilListeningAt } from "./ports.ts";
import { PYTHON, type RunningProgram, runOk, startUntil } from "./process.ts";

/** Whose mail Dovecot shows. */
export interface DovecotOptions {
  readonly mailboxes: readonly {
    readonly user: string;
    /** The Maildir's path. */
    readonly maildir: string;
    /** The account that reads; Dovecot refuses root. It needs no entry in /etc/passwd. */
    readonly uid: number;
    readonly gid: number;
  }[];
  /** A passwd-file with other passwords. */
  readonly passwordFile?: string;
  /** An IPv4 address; 127.0.0.1 if absent. */
  readonly address?: string;
  /** What it is started by, such as `ip netns exec NAME`. */
  readonly through?: readonly string[];
}

/** A running Dovecot; every password is `secret` if no file has others. */
export interface Dovecot extends AsyncDisposable {
  /** Without TLS. */
  readonly port: number;
  /** Where it checks passwords for others. */
  readonly authSocket: string;
  readonly program: RunningProgram;
}

/** Starts Dovecot and waits until it answers. */
export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const { address = "127.0.0.1", through = [] } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("dovecot"));
  const port = freePort();
  const users = await folder.write(
    "users",
    options.mailboxes.map(({ user, uid, gid, maildir }) =>
      `${user}:{PLAIN}secret:${uid}:${gid}::${folder.path}::userdb_mail=maildir:${maildir}:INDEX=MEMORY\n`
    ).join(""),
  );
  const config = await folder.write(
    "dovecot.conf",
    `
base_dir = ${folder.path}/run
state_dir = ${folder.path}/state
instance_name = ${folder.path}
log_path = /dev/stderr
protocols = imap
listen = ${address}
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 0
service imap-login {
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = 0
  }
}
passdb {
  driver = passwd-file
  args = ${options.passwordFile ?? users}
}
userdb {
  driver = passwd-file
  args = ${users}
}
`,
  );
  const authSocket = `${folder.path}/run/auth-client`;
  const [command = "", ...args] = [...through, "dovecot", "-F", "-c", config];
  const program = await startUntil(command, {
    args,
    ready: async () => {
      if (through.length === 0) await untilListening(port, address);
      await untilListeningAt(authSocket);
    },
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    authSocket,
    program,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** One message as Python's imaplib saw it. */
export interface ImapMessage {
  readonly uid: number;
  /** RFC822.SIZE: octets with CRLF. */
  readonly size: number;
  /** The message itself. */
  readonly text: string;
  readonly flags: string;
}

// imaplib is a client that none of us wrote; it prints what it sees as JSON.
const IMAP_READER = `
import imaplib, json, re, sys
port, user, action = int(sys.argv[1]), sys.argv[2], sys.argv[3]
imap = imaplib.IMAP4("127.0.0.1", port)
imap.login(user, "secret")
def ok(answer):
    status, data = answer
    if status not in ("OK", "BYE"): raise SystemExit(f"{status} {data}")
    return data
def listed(folder):
    ok(imap.select(folder))
    messages = []
    for uid in ok(imap.uid("SEARCH", "ALL"))[0].split():
        head, body = next(item for item in ok(imap.uid("FETCH", uid, "(UID FLAGS RFC822.SIZE BODY.PEEK[])")) if isinstance(item, tuple))
        head = head.decode()
        messages.append({
            "uid": int(uid), "size": int(re.search(r"RFC822.SIZE (\\d+)", head)[1]),
            "flags": re.search(r"FLAGS \\((.*?)\\)", head)[1], "text": body.decode("latin-1"),
        })
    return messages
if action == "list":
    print(json.dumps(listed(sys.argv[4])))
elif action == "seen":
    ok(imap.select("INBOX"))
    ok(imap.uid("STORE", sys.argv[4], "+FLAGS", "(\\\\Seen)"))
elif action == "move":
    imap.create(sys.argv[5])
    ok(imap.select("INBOX"))
    ok(imap.uid("MOVE", sys.argv[4], sys.argv[5]))
elif action == "subscribed":
    print(json.dumps([line.decode().rsplit('"."', 1)[1].strip().strip('"') for line in ok(imap.lsub()) if line]))
imap.logout()
`;

/** Python's imaplib, logged in as one user. */
export interface ImapReader {
  /** All messages of a folder; `text` has one character a byte. */
  list(folder?: string): Promise<ImapMessage[]>;
  /** The folders that mail programs show. */
  subscribed(): Promise<string[]>;
  /** Marks a message of INBOX as read. */
  markSeen(uid: number): Promise<void>;
  /** Moves a message of INBOX into a folder, made if it is not there. */
  move(uid: number, folder: string): Promise<void>;
}

/** Reads mail over IMAP as that user. */
export function imapReader(port: number, user: string): ImapReader {
  const python = (...args: string[]) =>
    runOk(PYTHON, { args: ["-c", IMAP_READER, String(port), user, ...args] });
  return {
    list: async (folder = "INBOX") => JSON.parse(await python("list", folder)),
    subscribed: async () => JSON.parse(await python("subscribed")),
    async markSeen(uid) {
      await python("seen", String(uid));
    },
    async move(uid, folder) {
      await python("move", String(uid), folder);
    },
  };
}
