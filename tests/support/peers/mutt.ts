/**
 * mutt without a person: keys go in from a file, over a terminal that `script` makes.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { runOk } from "./process.ts";

/** Who runs mutt, on what. */
export interface MuttOptions {
  /** The Maildir to open. */
  readonly maildir: string;
  /** mutt's functions and keys in its own notation, such as `<display-message>q`; `<quit>` is added. */
  readonly keys: string;
  /** The account that reads, without an entry in /etc/passwd. */
  readonly uid: number;
  readonly gid: number;
}

/**
 * Opens the Maildir, presses the keys and quits.
 * @returns what mutt drew, terminal sequences and all
 */
export async function mutt(options: MuttOptions): Promise<string> {
  await using folder = await makeFolder("mutt");
  await Deno.chown(folder.path, options.uid, options.gid);
  const settings = await folder.write(
    "muttrc",
    `
set folder = "${options.maildir}"
set header_cache = ""
set confirmappend = no
set confirmcreate = no
set move = no
set delete = yes
set mark_old = no
set pager_stop = yes
set wait_key = no
set sleep_time = 0
set quit = yes
set mbox_type = Maildir
set sort = mailbox-order
set index_format = "%4C %Z %c %s"
push '${options.keys}<quit>'
`,
  );
  // The keys must not reach mutt through the terminal's input, which ends at once here.
  return await runOk("setpriv", {
    args: [
      ...[`--reuid=${options.uid}`, `--regid=${options.gid}`, "--clear-groups"],
      ...["script", "--quiet", "--return", "--flush", "--command"],
      ...[`mutt -n -F ${settings} -f ${options.maildir}`, "/dev/null"],
    ],
    env: {
      HOME: folder.path,
      USER: "reader",
      TERM: "vt100",
      COLUMNS: "100",
      LINES: "40",
      EMAIL: "r@reader.test",
    },
    cwd: folder.path,
  });
}
