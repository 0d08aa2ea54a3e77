// docs/guide/first-hour.md, followed word for word on two bare Debians, with a small Internet between them; and what the
// guides to certificates, smarthosts and finding a message have one type there afterwards.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { ROOT_PROGRAMS } from "../support/debian_root.ts";
import { type Bind, startBind } from "../support/peers/bind.ts";
import { verifyWithOpenDkim } from "../support/peers/opendkim.ts";
import { PYTHON, startUntil } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { readBlocks, readSettings } from "../support/guide_blocks.ts";
import { makeNetwork } from "../support/bridged_hosts.ts";
import { Machine } from "../support/bare_machine.ts";

/** As `install` says, to see what its account sees. */
const AS_SERVICE = "setpriv --reuid=mailapp --regid=mailapp --clear-groups";

/** Another mail server of the world, which only greets: the one that doctor connects to. */
const GREETER = `
import socket, socketserver
class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mx.gmail.com ESMTP\\r\\n")
        self.rfile.readline()
        self.wfile.write(b"221 2.0.0 bye\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
print("ready", flush=True)
Server(("::", 25), Greeter).serve_forever()
`;

/** Serves the zones as they were printed, and the reverse names that they ask for. */
async function publish(zones: readonly string[], through: readonly string[]): Promise<Bind> {
  const served: Record<string, string | { whole: string }> = {
    "gmail.com": "@ MX 10 mx\nmx A 192.0.2.254\nmx AAAA 2001:db8::fe",
  };
  for (const whole of zones) {
    const [, domain = ""] = /^(\S+)\. (?:\d+ )?IN MX /m.exec(whole) ?? [];
    served[domain] = { whole };
    for (const [, reverse = "", name] of whole.matchAll(/\((\S+\.arpa)\. PTR (\S+)\)/g)) {
      served[reverse] = `@ PTR ${name}`;
    }
  }
  // Two zones, and for each machine an address of either family.
  assert.equal(Object.keys(served).length, 1 + 2 + 2 * 2, Object.keys(served).join(" "));
  return await startBind(served, { address: "192.0.2.254", port: 53, through });
}

testWith(
  [...ROOT_PROGRAMS, "named", "nsenter", "opendkim", "setpriv", PYTHON],
  "the first hour: two bare Debians, set up by the guide, exchange mail that the other accepts",
  async (t) => {
    const built = await builtMailapp();
    await using network = await makeNetwork(2);
    const inTheMiddle = ["ip", "netns", "exec", network.middle];
    const [firstHost = "", secondHost = ""] = network.hosts;
    await using first = await Machine.boot({
      netns: firstHost,
      addresses: ["192.0.2.1", "2001:db8::1"],
      domain: "example.com",
      correspondent: "example.net",
    });
    await using second = await Machine.boot({
      netns: secondHost,
      addresses: ["192.0.2.2", "2001:db8::2"],
      domain: "example.net",
      correspondent: "example.com",
    });
    const machines = [first, second];
    const onBoth = (run: (machine: Machine) => Promise<string>) => Promise.all(machines.map(run));
    await using _greeter = await startUntil("ip", {
      args: [...inTheMiddle.slice(1), PYTHON, "-c", GREETER],
      ready: ({ line }) => line(/^ready$/),
    });
    await using stack = new AsyncDisposableStack();

    /** What stands outside of the blocks, before and after them. */
    const before: Readonly<Record<string, () => Promise<void>>> = {
      "chmod 755 /usr/local/bin/mailapp": async () => {
        for (const machine of machines) await Deno.copyFile(built, machine.file("/usr/local/bin/mailapp"));
      },
      // "A few seconds later"
      "mailapp healthcheck serve-in": async () => {
        for (const machine of machines) {
          for (const unit of ["mailapp-in", "mailapp-out"]) {
            await machine.logged(unit, /"event":"server\.ready"/);
          }
        }
      },
      // "Send a message to alice@example.com from somewhere else"
      "ls /var/mail/example.com/alice/new": async () => {
        await onBoth((machine) =>
          machine.sh(
            `mailapp sendmail -f alice@${machine.place.domain} alice@${machine.place.correspondent}`,
            {
              stdin: `From: alice@${machine.place.domain}\nSubject: from ${machine.place.domain}\n\nHello.\n`,
            },
          )
        );
        for (const machine of machines) {
          await machine.arrival(`Subject: from ${machine.place.correspondent}\n`);
        }
      },
    };
    const after: Readonly<Record<string, (outputs: readonly string[]) => Promise<void> | void>> = {
      "mailapp healthcheck serve-in": (outputs) => {
        for (const output of outputs) {
          assert.match(output, /serve-in .*accepts mail\nserve-out .*accepts mail\n/);
        }
      },
      "mailapp dns": async (zones) => {
        stack.use(await publish(zones, inTheMiddle));
      },
      "mailapp doctor": (outputs) => {
        for (const output of outputs) {
          const bad = output.split("\n").filter((line) => /^(?:FAILURE|WARNING)/.test(line));
          // As the guide says; over IPv4 and over IPv6.
          const verifies = /its certificate does not verify: DEPTH_ZERO_SELF_SIGNED_CERT/;
          assert.deepEqual(bad.map((line) => verifies.test(line) ? "certificate" : line), [
            "certificate",
            "certificate",
          ]);
          assert.match(output, /^\d\d ok \(--all shows them\)$/m);
          for (const check of ["mx", "spf", "dkim", "dmarc", "reverse", "outward"]) {
            assert.doesNotMatch(output, new RegExp(`: ${check} `));
          }
        }
      },
      "ls /var/mail/example.com/alice/new": (outputs) => {
        for (const output of outputs) {
          assert.match(output, /^\d+\./);
          assert.match(output, /"event":"message\.delivered"/);
        }
      },
      "mailapp send-test you@somewhere.example": (outputs) => {
        for (const output of outputs) assert.match(output, /dkim=pass header\.d=example\.(?:com|net):/);
      },
    };
    // tests/interop/first_hour_tls_test.ts follows the part about the certificate, with its own authority.
    const blocks = (await readBlocks("first-hour")).filter(({ text }) =>
      !text.startsWith("mailapp certificate obtain\n")
    );
    for (const name of Object.keys({ ...before, ...after })) {
      assert.ok(blocks.some(({ text }) => text.startsWith(`${name}\n`)), `the guide has: ${name}`);
    }
    for (const block of blocks) {
      const [name = ""] = block.text.split("\n");
      const done = await t.step(name, async () => {
        await before[name]?.();
        const outputs = await onBoth((machine) => machine.follow(block));
        await after[name]?.(outputs);
      });
      // Each builds on those before.
      if (!done) return;
    }

    await t.step(
      "what arrived came from the right name, encrypted, with signatures that verify",
      async () => {
        for (const [receiver, sender] of [[first, second], [second, first]] as const) {
          const keys = JSON.parse(await sender.sh("mailapp dkim show --json")) as Record<string, string>[];
          const records = Object.fromEntries(keys.map(({ name, value }) => [name, value ?? ""]));
          for (const subject of [`from ${sender.place.domain}`, "A test of mailapp"]) {
            const bytes = await receiver.arrival(`Subject: ${subject}\n`);
            const name = `mx.${sender.place.domain}`;
            const [, from, address = "", protocol] =
              /^Received: from (\S+) \(\[(?:IPv6:)?(\S+)\]\)[^]*?\swith (\w+)/m
                .exec(new TextDecoder().decode(bytes)) ?? [];
            assert.deepEqual([from, protocol], [name, "ESMTPS"]);
            assert.ok(sender.place.addresses.includes(address), address);
            // What a receiver that is strict about it looks up.
            const reverse = await receiver.sh(`getent hosts ${address}`);
            assert.deepEqual(reverse.trim().split(/\s+/), [address, name]);
            const [verdict, ...more] = await verifyWithOpenDkim(bytes, records);
            assert.deepEqual(more, []);
            assert.deepEqual([verdict?.result, verdict?.domain], ["pass", sender.place.domain]);
          }
        }
      },
    );

    await t.step("the link makes it sendmail, for an account without rights too", async () => {
      await first.sh(
        "setpriv --reuid=nobody --regid=nogroup --clear-groups /usr/sbin/sendmail -f alice@example.com alice@example.net",
        { stdin: "From: alice@example.com\nSubject: by sendmail\n\nHello.\n" },
      );
      await second.arrival("Subject: by sendmail\n");
    });

    await t.step(
      "doctor knows the servers' account, and finds the same when that account asks",
      async () => {
        for (const account of ["", AS_SERVICE]) {
          const output = await first.sh(`${account} mailapp doctor --all`);
          assert.match(output, /^ok: storage \/var\/lib\/mailapp: /m);
          assert.match(output, /^0 failures, 2 warnings, /m);
        }
      },
    );

    await t.step("the queues are empty, and check-config still finds nothing", async () => {
      for (const machine of machines) {
        assert.deepEqual(JSON.parse(await machine.sh("mailapp queue list --json")), []);
        for (const account of ["", AS_SERVICE]) {
          assert.match(await machine.sh(`${account} mailapp check-config`), /\nok\n$/);
        }
      }
    });

    await t.step("find-a-message.md: of one that waits, and of one that has come", async () => {
      await first.sh("mailapp sendmail -f alice@example.com somebody@nowhere.example", { stdin: "Hello.\n" });
      await first.logged("mailapp-out", /"event":"attempt\.deferred"/);
      const [{ id }] = JSON.parse(await first.sh("mailapp queue list --json")) as [{ id: string }];
      // Its units run outside of systemd, so that their log is no journal.
      const log = [...first.journal("mailapp-in"), ...first.journal("mailapp-out")].join("\n");
      await Deno.writeTextFile(first.file("/tmp/journal.log"), `${log}\n`);
      const [block, ...more] = await readBlocks("find-a-message");
      assert.ok(block !== undefined && more.length === 0);
      const typed = block.text.replaceAll("mi1x0b2k00000a3f7c2q", id).replaceAll(
        "bob@example.net",
        "alice@example.net",
      );
      const lines = typed.trimEnd().split("\n").filter((line) =>
        line.includes(id) || line.includes("alice@example.net")
      );
      assert.equal(lines.length, 3);
      const [sent = "", came = "", bounce = ""] = await Promise.all(
        lines.map((line) => first.sh(`${line.replace(/ +#.*$/, "")} --log /tmp/journal.log`)),
      );
      for (const text of [sent, bounce]) {
        assert.match(
          text,
          new RegExp(`^message ${id} from alice@example\\.com to somebody@nowhere\\.example$`, "m"),
        );
        assert.match(text, /somebody@nowhere\.example: deferred by/);
        assert.match(text, new RegExp(`in the queue now:\n${id} `));
      }
      assert.match(
        came,
        /accepted from alice@example\.net to [^]*stored for|stored for [^]*accepted from alice@example\.net/,
      );
      await first.sh(`mailapp queue remove ${id}`);
    });

    await t.step("certificates.md: one of certbot's replaces the self-signed one", async () => {
      const [certbot, ours, ...more] = await readBlocks("certificates", "certbot");
      assert.ok(ours !== undefined && more.length === 0);
      assert.match(certbot?.text ?? "", /^certbot certonly --standalone -d mx\.example\.com /m);
      const leaf = await (await createTestAuthority()).issue({
        names: ["mx.example.com"],
        notAfter: new Date(Date.now() + 60 * 86_400_000),
      });
      const lineage = "letsencrypt/archive/mx.example.com";
      await first.sh(`install -d -m 0700 /etc/letsencrypt/live /etc/letsencrypt/archive
        install -d /etc/letsencrypt/live/mx.example.com /etc/${lineage}
        for name in fullchain privkey; do
          ln -s ../../archive/mx.example.com/\${name}1.pem /etc/letsencrypt/live/mx.example.com/$name.pem
        done`);
      await Deno.writeTextFile(first.file(`/etc/${lineage}/fullchain1.pem`), leaf.cert);
      await Deno.writeTextFile(first.file(`/etc/${lineage}/privkey1.pem`), leaf.key, { mode: 0o600 });
      await first.configure(/^self_signed = true.*\n/m, await readSettings("certificates", "certbot"));
      const output = await first.follow(ours);
      assert.match(output, /its key can be read by the group mailapp/);
      await first.logged("mailapp-in", /"event":"server\.ready"/);
      assert.match(
        await first.sh("mailapp doctor --all"),
        /^ok: certificate mx\.example\.com: for mx\.example\.com, /m,
      );
      assert.match(await first.sh("cat /etc/letsencrypt/renewal-hooks/deploy/mailapp"), /RENEWED_LINEAGE/);
    });

    await t.step("smarthost.md: mail goes to it, and nowhere else", async () => {
      const [password, rest, ...more] = await readBlocks("smarthost");
      assert.ok(password !== undefined && rest !== undefined && more.length === 0);
      await first.follow({ ...password, text: password.text.replace(/^editor (\S+)/m, "echo secret >$1") });
      await first.configure(/^# "\*" = \{ host = .*\n/m, await readSettings("smarthost"));
      const send = "mailapp send-test ";
      const [before = "", after = ""] = rest.text.split(send);
      assert.match(await first.follow({ ...rest, text: before }), /smtp\.provider\.net/);
      // There is none.
      await assert.rejects(first.follow({ ...rest, text: send + after }), /smtp\.provider\.net/);
    });
  },
);
