// Where mail goes, asked of a real named: each kind of zone with its outcome.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { DnsResolver } from "../../dns/resolver.ts";
import { silentLogger } from "../../base/log.ts";
import { findTargets, type TargetOptions, type Targets } from "../../relay/mx.ts";
import { systemClock } from "../../base/clock.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { freePort } from "../support/peers/ports.ts";
import { runOk, start } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { until } from "../support/until.ts";

const ZONES: Readonly<Record<string, string>> = {
  "one.example": "@ MX 10 mx\nmx A 192.0.2.1\nmx AAAA 2001:db8::1",
  "three.example": "@ MX 10 a\n@ MX 10 b\n@ MX 10 c\na A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3",
  "six.example": "@ AAAA 2001:db8::6",
  "four.example": "@ A 192.0.2.4",
  "null.example": "@ MX 0 .\n@ A 192.0.2.5",
  "nothing.example": "@ TXT hello",
  "alias.example": "@ MX 10 mail\nmail CNAME real\nreal A 192.0.2.6",
  "circle.example": "@ MX 10 x\nx CNAME y\ny CNAME x",
  "literal.example": "@ MX 10 192.0.2.7.",
  "self.example": "@ MX 10 mx.self.test.\n@ MX 20 later\nlater A 192.0.2.8",
  "behind.example":
    "@ MX 10 first\n@ MX 20 mx.self.test.\n@ MX 30 later\nfirst A 192.0.2.9\nlater A 192.0.2.8",
  "sub.example": "dom CNAME target\ntarget MX 10 mx\nmx A 192.0.2.10",
  "many.example": `${
    Array.from({ length: 100 }, (_, i) =>
      `@ MX ${i} mx-number-${i}-with-a-long-name\nmx-number-${i}-with-a-long-name A 192.0.2.${i}`).join("\n")
  }`,
  "private.example": "@ MX 10 mx\nmx A 10.0.0.1",
};

const OUTCOMES: Readonly<Record<string, string>> = {
  "one.example": "mx.one.example 2001:db8::1, mx.one.example 192.0.2.1",
  "three.example": "a.three.example 192.0.2.1, b.three.example 192.0.2.2, c.three.example 192.0.2.3",
  "six.example": "six.example 2001:db8::6",
  "four.example": "four.example 192.0.2.4",
  "null.example": "failed 5.1.10",
  "nothing.example": "failed 5.4.4",
  "no-such-name.one.example": "failed 5.1.2",
  "alias.example": "mail.alias.example 192.0.2.6",
  "circle.example": "failed 5.4.4",
  "literal.example": "failed 5.4.4",
  "self.example": "failed 5.4.6",
  "behind.example": "first.behind.example 192.0.2.9",
  "dom.sub.example": "mx.sub.example 192.0.2.10",
  "private.example": "deferred 4.4.4",
  // The zone could not be transferred: SERVFAIL.
  "broken.example": "deferred 4.4.3",
  // Not this server's business: REFUSED.
  "elsewhere.test": "deferred 4.4.3",
};

/** The configuration of a named with these zones, and one that fails. */
async function namedConf(
  folder: Folder,
  zones: Readonly<Record<string, string>>,
  port: number,
): Promise<string> {
  const statements: string[] = [];
  for (const [zone, records] of Object.entries(zones)) {
    const file = await folder.write(
      `${zone}.zone`,
      `$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n${records}\n`,
    );
    statements.push(`zone "${zone}" { type primary; file "${file}"; };`);
  }
  statements.push(
    `zone "broken.example" { type secondary; primaries { 127.0.0.1 port 1; }; file "${
      folder.at("broken")
    }"; };`,
  );
  const options = `directory "${folder.path}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; };
    pid-file none; session-keyfile none; recursion no; dnssec-validation no; check-integrity no; check-mx ignore; notify no;`;
  return await folder.write(
    "named.conf",
    `options { ${options} };\ncontrols { };\n${statements.join("\n")}\n`,
  );
}

function targetOptions(servers: readonly string[], clock = systemClock): TargetOptions {
  return {
    resolver: new DnsResolver({ clock, servers }),
    family: "auto",
    port: 25,
    allowPrivateTargets: false,
    hostname: "mx.self.test",
    ownListeners: [],
    routes: new Map(),
    tlsPolicy: new Map(),
    random: () => 0,
    logger: silentLogger,
  };
}

function brief(found: Targets): string {
  if (found.kind !== "targets") return `${found.kind} ${found.status}`;
  return found.targets.map(({ host, address }) => `${host} ${address}`).sort().join(", ");
}

function sorted(expected: string): string {
  return expected.split(", ").sort().join(", ");
}

testWith(["named"], "findTargets() asking a real named", async (t) => {
  await using folder = await makeFolder("named");
  const port = freePort();
  await using named = start("named", { args: ["-g", "-c", await namedConf(folder, ZONES, port)] });
  await named.line(/ running$/);
  const options = targetOptions([`127.0.0.1:${port}`]);
  for (const [domain, expected] of Object.entries(OUTCOMES)) {
    await t.step(`${domain}: ${expected}`, async () => {
      assert.equal(brief(await findTargets(domain, options)), sorted(expected));
    });
  }
  await t.step("many.example: an answer that is cut over UDP, the best hosts of a hundred", async () => {
    const found = await findTargets("many.example", options);
    assert.ok(found.kind === "targets");
    assert.equal(found.targets[0]?.host, "mx-number-0-with-a-long-name.many.example");
    assert.equal(found.targets.length, 16);
  });
  await t.step("three.example: in any order", async () => {
    const first = new Set<string | undefined>();
    for (const random of [() => 0, () => 0.5, () => 0.99]) {
      const found = await findTargets("three.example", { ...options, random });
      first.add(found.kind === "targets" ? found.targets[0]?.host : undefined);
    }
    assert.equal(first.size, 3);
  });
});

Deno.test("findTargets() asking a server that never answers defers", async () => {
  const silent = createSocket("udp4");
  await new Promise<void>((resolve) => silent.bind(0, "127.0.0.1", resolve));
  let questions = 0;
  silent.on("message", () => questions++);
  const clock = new FakeClock();
  const finding = findTargets("one.example", targetOptions([`127.0.0.1:${silent.address().port}`], clock));
  // What Deno asks waits in real time, the rest by the clock.
  let found: Targets | undefined;
  finding.then((targets) => found = targets);
  await until(() => found !== undefined, "the targets", () => clock.advance(100));
  assert.equal(brief(await finding), "deferred 4.4.3");
  assert.ok(questions >= 3, `${questions} questions`);
  await new Promise<void>((resolve) => silent.close(resolve));
});

// In a network and mount namespace of its own, named has port 53 and resolv.conf says what the test wants.
testWith(
  ["named", "unshare", "ip", "mount"],
  "a search list with a wildcard does not make up MX records",
  async () => {
    await using folder = await makeFolder("search");
    const conf = await namedConf(folder, {
      ...ZONES,
      "corp.example": "@ MX 10 mx\nmx A 192.0.2.66\n* MX 10 mx",
      "test": "gone.test.corp MX 10 wrong\nreal MX 10 mx\nmx A 192.0.2.1",
    }, 53);
    const resolvConf = await folder.write(
      "resolv.conf",
      "search corp.example\nnameserver 127.0.0.1\noptions ndots:5\n",
    );
    const root = new URL("../../", import.meta.url);
    const script = await folder.write(
      "ask.ts",
      `
    import { DnsResolver } from "${new URL("dns/resolver.ts", root)}";
    import { systemClock } from "${new URL("base/clock.ts", root)}";
    const resolver = new DnsResolver({ clock: systemClock });
    const naive = await Deno.resolveDns("gone.test", "MX").then((records) => records.length, () => 0);
    const [gone, real] = [await resolver.mx("gone.test"), await resolver.mx("real.test")];
    console.log(JSON.stringify({ naive, gone: gone.kind, real: real.kind }));
    Deno.exit(0);
  `,
    );
    const deno = `"${Deno.execPath()}" run -A --config "${new URL("deno.json", root).pathname}" "${script}"`;
    const answer = await runOk("unshare", {
      args: [
        "--net",
        "--mount",
        ...(Deno.uid() === 0 ? [] : ["--map-root-user"]),
        "sh",
        "-ec",
        `ip link set lo up
       mount --bind "${resolvConf}" /etc/resolv.conf
       named -g -c "${conf}" 2>"${folder.at("named.log")}" & named=$!
       until grep -q ' running$' "${folder.at("named.log")}"; do kill -0 $named; sleep 0.05; done
       ${deno}
       kill $named; wait $named`,
      ],
    });
    // The trap is there, and it is not stepped into.
    assert.deepEqual(JSON.parse(answer), { naive: 1, gone: "no-such-name", real: "found" });
  },
);
