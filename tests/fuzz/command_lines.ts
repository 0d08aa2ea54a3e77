/**
 * Command lines as a hostile or clumsy client sends them, made by chance.
 *
 * @module
 */
import { fc } from "../support/property.ts";

/** A text in UTF-8, one character a byte. */
function utf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** One of the values. */
export const any = <T>(...values: T[]) => fc.constantFrom(...values);

const hosts = any(
  "client.test",
  "a",
  "[192.0.2.7]",
  "[IPv6:2001:db8::1]",
  "x-1.client.test",
  "mx.here.example",
);

export const hellos = fc.oneof(
  { weight: 8, arbitrary: hosts.map((host) => `EHLO ${host}`) },
  { weight: 2, arbitrary: hosts.map((host) => `HELO ${host}`) },
  any(
    ...["EHLO", "HELO ", "EHLO a b", "ehlo -", "EHLO " + utf8("bücher.test"), "EHLO [::1]", "EHLO \x1b[2J"],
    ...[
      "EHLO 2001:db8::1",
      "HELO (a\\)",
      "EHLO " + utf8("\u0085\u2028"),
      "EHLO " + "x.".repeat(400),
      "EHLO  a.",
    ],
  ),
);

const senders = any(
  ...["a@client.test", "", "b@[192.0.2.7]", '"x y"@client.test', "no-room@client.test", "canary@evil.test"],
  ...[
    utf8("josé@client.test"),
    "@r.test:c@client.test",
    ".a@client.test",
    "a..b.@client.test",
    "x".repeat(64) + "@client.test",
    "x".repeat(200) + "@client.test",
    "UPPER@CLIENT.TEST.",
  ],
);

const mailParameters = any(
  ...["", "", "", "", " SIZE=100", " BODY=8BITMIME", " SMTPUTF8", " SIZE=100 BODY=7BIT SMTPUTF8"],
  ...[
    " SIZE=99999999999",
    " SIZE=-1",
    " SIZE=",
    " SMTPUTF8=x",
    " BODY=x",
    " AUTH=<>",
    " SIZE=1 SIZE=1",
    "  SIZE=1",
  ],
  ...["SIZE=1", " =", " RET=FULL", " \t"],
);

/** Paths as RFC 5321 does not write them. */
const loose = any<(path: string) => string>(
  (path) => path,
  (path) => ` ${path}`,
  (path) => ` <${path}>`,
  (path) => `\t ${path}`,
  (path) => `${path}>`,
  (path) => ` <${path}`,
);

export const mails = fc.oneof(
  fc.constant("MAIL FROM:<a@client.test>"),
  fc.tuple(senders, mailParameters).map(([path, rest]) => `MAIL FROM:<${path}>${rest}`),
  fc.tuple(loose, senders, mailParameters).map(([form, path, rest]) => `MAIL FROM:${form(path)}${rest}`),
);

export const goodRecipients = any(
  "alice@here.example",
  "bob@here.example",
  "r1@here.example",
  "ALICE@Here.Example.",
);

const recipients = fc.oneof(
  { weight: 6, arbitrary: goodRecipients },
  any(
    ...["postmaster", "PostMaster", "carol@here.example", "full@here.example", "broken@here.example"],
    ...["no-begin@here.example", "bad-begin@here.example", "no-write@here.example", "bad-write@here.example"],
    ...["no-commit@here.example", "bad-commit@here.example", "x@elsewhere.test", "u%x@here.example"],
    ...[
      '"a b"@here.example',
      '"\\a\\l\\i\\c\\e"@here.example',
      "../../etc@here.example",
      "@a,@b:bob@here.example",
    ],
    ...["bob@[127.0.0.1]", utf8("josé@here.example"), utf8("bob@hêre.example"), "", "bob", "bob@"],
  ),
);

export const rcpts = fc.oneof(
  goodRecipients.map((path) => `RCPT TO:<${path}>`),
  fc.tuple(recipients, any("", "", "", "", " NOTIFY=NEVER", " x", " ORCPT=rfc822;a", " "))
    .map(([path, rest]) => `RCPT TO:<${path}>${rest}`),
  fc.tuple(loose, fc.oneof(goodRecipients, recipients), any("", "", " ", " x")).map(([form, path, rest]) =>
    `RCPT TO:${form(path)}${rest}`
  ),
);

const others = any(
  ...[
    "NOOP",
    "NOOP x",
    "RSET",
    "RSET x",
    "HELP",
    "VRFY root",
    "EXPN all",
    "AUTH PLAIN AAAA",
    "QUIT",
    "QUIT now",
  ],
  ...[
    "STARTTLS",
    "STARTTLS x",
    "DATA",
    "DATA x",
    "MAIL TO: a@b",
    "RCPT FROM: c@d",
    "MAIL FROM: <a@b>",
    "MAIL",
  ],
  ...[
    "GET / HTTP/1.1",
    "POST / HTTP/1.0",
    "CONNECT x:25 HTTP/1.1",
    "Host: here.example",
    "",
    " ",
    ".",
    "XFOO bar",
  ],
  ...[
    "RCPT TO:<bob@here.example",
    "DATA\0",
    "NOOP \x7f",
    "no\rop",
    "NOOP \xff\xfe",
    utf8("\ufeffNOOP"),
    "mail from:<>",
  ],
);

// What makes a valid line nearly valid.
const slips = any(
  ...' \t\0\r\n.<>@:"\\[]=x\x7f\x80\xff\xc3;,-',
  "\r\n",
  "<<",
  ">>",
  " ".repeat(20),
  "y".repeat(600),
);

const commandLines = fc.oneof(
  { weight: 4, arbitrary: hellos },
  { weight: 4, arbitrary: mails },
  { weight: 4, arbitrary: rcpts },
  { weight: 4, arbitrary: others },
);

const slippedLines = fc.tuple(commandLines, fc.nat(40), slips, fc.boolean()).map((
  [line, at, slip, replace],
) => line.slice(0, at) + slip + line.slice(at + (replace ? 1 : 0)));

const longLines = fc.tuple(
  any("NOOP ", "x", "RCPT TO:<", "EHLO "),
  any(505, 1990, 2046, 2048, 2049, 4097, 9000),
)
  .map(([head, length]) => head + "a".repeat(length));

const noise = fc.array(fc.nat(255), { maxLength: 60 }).map((bytes) => String.fromCharCode(...bytes));

const lineEnds = fc.oneof({ weight: 30, arbitrary: any("\r\n") }, any("\n", "\r\r\n", "", " \r\n", "\r"));

export const lines = fc.tuple(
  fc.oneof(
    { weight: 12, arbitrary: commandLines },
    { weight: 3, arbitrary: slippedLines },
    longLines,
    noise,
  ),
  lineEnds,
).map(([line, end]) => line + end);

export const groups = fc.array(lines, { minLength: 1, maxLength: 6 }).map((texts) => texts.join(""));
