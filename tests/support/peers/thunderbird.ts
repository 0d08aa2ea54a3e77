/**
 * Thunderbird without a display, driven over Marionette, its remote protocol: JSON messages with their length.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { type RunningProgram, start } from "./process.ts";

/** A message, and the account that sends it. */
export interface ThunderbirdMessage {
  readonly host: string;
  readonly port: number;
  /** TLS at once, or by STARTTLS. */
  readonly implicit: boolean;
  readonly login: string;
  readonly password: string;
  readonly to: string;
  readonly subject: string;
  readonly body: string;
}

/** Runs in Thunderbird: makes an account as its dialogue does, and sends. Its result is the status, 0 for success. */
const SEND = `
const [way, done] = arguments;
(async () => {
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const server = MailServices.outgoingServer.createServer("smtp");
  const smtp = server.QueryInterface(Ci.nsISmtpServer);
  smtp.hostname = way.host;
  smtp.port = way.port;
  server.username = way.login;
  server.socketType = way.implicit ? Ci.nsMsgSocketType.SSL : Ci.nsMsgSocketType.alwaysSTARTTLS;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.password = way.password;
  const account = MailServices.accounts.createAccount();
  account.incomingServer = MailServices.accounts.createIncomingServer("nobody", "s" + way.subject.length, "none");
  const identity = MailServices.accounts.createIdentity();
  identity.email = way.login;
  identity.fullName = "Alice";
  identity.smtpServerKey = server.key;
  identity.doFcc = false;
  account.addIdentity(identity);
  const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  fields.from = way.login;
  fields.to = way.to;
  fields.subject = way.subject;
  fields.body = way.body;
  const sending = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener"]),
    onStartSending() {}, onSendProgress() {}, onStatus() {}, onSendNotPerformed() {}, onGetDraftFolderURI() {},
    onTransportSecurityError(id, status) { done("TLS: " + status); },
    onStopSending(id, status) { done(status); },
  };
  await sending.createAndSendMessage(null, identity, account.key, fields, false, false,
    Ci.nsIMsgSend.nsMsgDeliverNow, null, "text/plain", way.body, null, null, listener, way.password, null,
    Ci.nsIMsgCompType.New);
})().catch((error) => done(String(error)));
`;

const TRUST = `
Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
  .addCertFromBase64(arguments[0], "CT,CT,CT");
`;

const PREFERENCES = {
  "app.update.enabled": false,
  "app.donation.eoy.version.viewed": 999,
  "mail.provider.suppress_dialog_on_startup": true,
  "mail.rights.override": true,
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.proxy.type": 0,
};

/** A running Thunderbird. Disposed, it is ended. */
export class Thunderbird implements AsyncDisposable {
  readonly #all: AsyncDisposable;
  readonly #conn: Deno.TcpConn;
  readonly #decoder = new TextDecoder();
  #text = "";
  #count = 0;

  private constructor(conn: Deno.TcpConn, all: AsyncDisposable) {
    this.#conn = conn;
    this.#all = all;
  }

  /** Starts it with an empty profile that trusts this authority, a certificate in PEM. */
  static async start(authority: string): Promise<Thunderbird> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await makeFolder("thunderbird"));
    const port = freePort();
    const preferences = Object.entries({ ...PREFERENCES, "marionette.port": port });
    const profile = folder.at("profile");
    await Deno.mkdir(profile);
    await Deno.writeTextFile(
      `${profile}/user.js`,
      preferences.map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`).join(""),
    );
    const program: RunningProgram = stack.use(start("thunderbird", {
      args: [
        ...["--headless", "--marionette", "--remote-allow-system-access", "--no-remote"],
        ...["--profile", profile],
      ],
      env: { HOME: folder.path },
    }));
    await program.line(/Listening on port/, { within: 300_000 });
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    stack.defer(() => conn.close());
    const thunderbird = new Thunderbird(conn, stack.move());
    await thunderbird.#receive();
    await thunderbird.#command("WebDriver:NewSession", {});
    await thunderbird.#command("Marionette:SetContext", { value: "chrome" });
    await thunderbird.#command("WebDriver:SetTimeouts", { script: 120_000 });
    const certificate = authority.replaceAll(/-----[^-]+-----|\s/g, "");
    await thunderbird.#command("WebDriver:ExecuteScript", { script: TRUST, args: [certificate] });
    return thunderbird;
  }

  /** Sends a message; the status as Thunderbird has it, 0 for success. */
  async send(message: ThunderbirdMessage): Promise<unknown> {
    const answer = await this.#command("WebDriver:ExecuteAsyncScript", { script: SEND, args: [message] });
    return (answer as { readonly value?: unknown }).value;
  }

  async #command(name: string, parameters: unknown): Promise<unknown> {
    const message = JSON.stringify([0, ++this.#count, name, parameters]);
    const bytes = new TextEncoder().encode(message);
    await this.#conn.write(new TextEncoder().encode(`${bytes.length}:${message}`));
    const [, , error, result] = await this.#receive() as [number, number, unknown, unknown];
    if (error !== null) throw new Error(`${name}: ${JSON.stringify(error)}`);
    return result;
  }

  async #receive(): Promise<unknown> {
    const buffer = new Uint8Array(65536);
    for (;;) {
      // All of it is ASCII here, so that characters are octets.
      const [whole = "", length = ""] = /^(\d+):/.exec(this.#text) ?? [];
      const end = whole.length + Number(length);
      if (whole !== "" && this.#text.length >= end) {
        const message = this.#text.slice(whole.length, end);
        this.#text = this.#text.slice(end);
        return JSON.parse(message);
      }
      const count = await this.#conn.read(buffer);
      if (count === null) throw new Error("Thunderbird has hung up");
      this.#text += this.#decoder.decode(buffer.subarray(0, count), { stream: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#all[Symbol.asyncDispose]();
  }
}
