import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/log.ts";
import { createDial } from "../../net/dial.ts";
import type { Authenticator } from "../../smtp/authenticator.ts";
import { SmtpServer, type SmtpServerOptions } from "../../smtp/server.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { RecordingDelivery } from "../../tests/support/recording_delivery.ts";
import { Certificates } from "../../tls/certificates.ts";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { checkSubmission, type SubmissionCheck } from "./submission.ts";

/** Takes PLAIN with this response alone. */
const authenticator: Authenticator = {
  mechanisms: ["PLAIN"],
  start: () => ({
    next: (response) => {
      const text = new TextDecoder().decode(response);
      return Promise.resolve(
        text === "\0alice\0secret"
          ? { kind: "success", login: "alice" }
          : { kind: "failure", reason: "credentials", why: "wrong" },
      );
    },
  }),
};

interface Served {
  readonly implicit: boolean;
  readonly options?: Partial<SmtpServerOptions>;
  readonly withTls?: boolean;
}

/** What the check finds at a server in this process. */
async function check(
  { implicit, options = { authenticator }, withTls = true }: Served,
  more: Partial<SubmissionCheck> = {},
) {
  const directory = await Deno.makeTempDir();
  try {
    const leaf = await (await createTestAuthority()).issue({ names: ["mx.d.test"] });
    const files = { cert: `${directory}/cert.pem`, key: `${directory}/key.pem` };
    await Deno.writeTextFile(files.cert, leaf.cert);
    await Deno.writeTextFile(files.key, leaf.key);
    const common = { hostname: "mx.d.test", clock: systemClock, logger: silentLogger };
    using certificates = await Certificates.load({ ...common, ...files });
    const server = new SmtpServer({
      hostname: "mx.d.test",
      logger: silentLogger,
      delivery: new RecordingDelivery(),
      ...(withTls && { upgradeToTls: serverUpgrade({ certificates }) }),
      ...options,
    });
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const serving = server.serve(listener, { implicitTls: implicit });
    try {
      return await checkSubmission({
        endpoints: [{
          address: "127.0.0.1",
          port: listener.addr.port,
          tls: implicit ? "implicit" : "starttls",
        }],
        hostname: "mx.d.test",
        dial: createDial({ clock: systemClock, timeout: 5_000 }),
        clock: systemClock,
        ...more,
      });
    } finally {
      await server.shutdown({ grace: 5_000 });
      await serving;
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const ids = (findings: Awaited<ReturnType<typeof check>>) => findings.map(({ id }) => id);
// The authority of the test's certificate is not trusted.
const UNKNOWN = "submission.certificate";
const OUTSIDE = "submission.outside";

Deno.test("checkSubmission() finds an untrusted certificate, and nothing else, on both kinds of port", async () => {
  for (const implicit of [true, false]) {
    assert.deepEqual(ids(await check({ implicit })), [UNKNOWN, OUTSIDE]);
  }
});

Deno.test("checkSubmission() logs in where it is given a password, and does not show that", async () => {
  const right = { login: "alice", password: "secret" };
  assert.deepEqual(ids(await check({ implicit: true }, { login: right })), [UNKNOWN, OUTSIDE]);
  const wrong = { login: "alice", password: "wrong!" };
  const found = await check({ implicit: true }, { login: wrong });
  assert.deepEqual(ids(found), [UNKNOWN, "submission.login", OUTSIDE]);
  const text = JSON.stringify(found);
  assert.match(text, /535 5\.7\.8/);
  assert.match(text, /C: AUTH PLAIN …/);
  assert.ok(!text.includes("wrong!") && !text.includes(btoa("\0alice\0wrong!")), text);
});

Deno.test("checkSubmission() names a port without logins, one that takes mail without, one without STARTTLS, and a closed one", async () => {
  const open = await check({ implicit: false, options: {} });
  assert.deepEqual(ids(open), [UNKNOWN, "submission.no-login", OUTSIDE]);
  assert.deepEqual(ids(await check({ implicit: false, withTls: false, options: {} })), [
    "submission.no-starttls",
    OUTSIDE,
  ]);
  const nobody = await check({ implicit: true }, { dial: () => Promise.reject(new Error("refused")) });
  assert.deepEqual(ids(nobody), ["submission.no-connection", OUTSIDE]);
});
