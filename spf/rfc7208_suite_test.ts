// The test suite of openspf.org for RFC 7208, every case.
import assert from "node:assert/strict";
import { parseAllDocuments } from "yaml";
import { reverseName } from "../dns/name.ts";
import type { Answer, MxRecord, Resolver, TlsaRecord } from "../dns/resolver.ts";
import { testWithData } from "../tests/support/requires.ts";
import { checkSpf } from "./check.ts";

interface Scenario {
  readonly description: string;
  readonly tests: Readonly<Record<string, Case>>;
  readonly zonedata: Readonly<Record<string, readonly Entry[]>>;
}

interface Case {
  readonly helo: string;
  readonly host: string;
  readonly mailfrom: string;
  /** One, or any of several. */
  readonly result: string | readonly string[];
  /** `DEFAULT`: the domain's owner says nothing. */
  readonly explanation?: string;
}

/** A record; `TIMEOUT`: questions for which there is none are not answered. */
type Entry = "TIMEOUT" | Readonly<Record<string, unknown>>;

/** Answers from the zone data of a scenario. A record of the type SPF counts as TXT where the name has none. */
class ZoneData implements Resolver {
  readonly #zone = new Map<string, readonly Entry[]>();

  constructor(zone: Scenario["zonedata"]) {
    for (const [name, entries] of Object.entries(zone)) this.#zone.set(name.toLowerCase(), entries);
  }

  mx(name: string): Promise<Answer<MxRecord>> {
    return this.#ask(name, "MX", (data) => {
      const [preference, exchange] = data as [number, string];
      return { preference, exchange: exchange.toLowerCase() || "." };
    });
  }

  a(name: string): Promise<Answer<string>> {
    return this.#ask(name, "A", String);
  }

  aaaa(name: string): Promise<Answer<string>> {
    return this.#ask(name, "AAAA", String);
  }

  txt(name: string): Promise<Answer<string>> {
    return this.#ask(name, "TXT", (data) => Array.isArray(data) ? data.join("") : String(data));
  }

  ptr(address: string): Promise<Answer<string>> {
    return this.#ask(reverseName(address), "PTR", (data) => String(data).toLowerCase().replace(/\.$/, ""));
  }

  cname(): Promise<Answer<string>> {
    throw new Error("not asked by SPF");
  }

  tlsa(): Promise<Answer<TlsaRecord>> {
    throw new Error("not asked by SPF");
  }

  #ask<T>(name: string, type: string, read: (data: unknown) => T): Promise<Answer<T>> {
    return Promise.resolve(this.#answer(name.toLowerCase().replace(/\.$/, ""), { type, read, hops: 0 }));
  }

  #answer<T>(
    name: string,
    { type, read, hops }: { type: string; read: (data: unknown) => T; hops: number },
  ): Answer<T> {
    if (hops > 8) return { kind: "failed", reason: "alias loop" };
    const entries = this.#zone.get(name);
    if (entries === undefined) return { kind: "no-such-name", authenticated: false };
    const all = entries.flatMap((entry) => typeof entry === "string" ? [] : Object.entries(entry));
    const alias = all.find(([key]) => key === "CNAME")?.[1];
    if (alias !== undefined) {
      return this.#answer(String(alias).toLowerCase().replace(/\.$/, ""), { type, read, hops: hops + 1 });
    }
    const key = type === "TXT" && !all.some(([key]) => key === "TXT") ? "SPF" : type;
    const records = all.filter((entry) => entry[0] === key && entry[1] !== "NONE").map(([, data]) =>
      read(data)
    );
    if (records.length > 0) return { kind: "found", records, authenticated: false };
    return entries.includes("TIMEOUT")
      ? { kind: "failed", reason: "timeout" }
      : { kind: "none", authenticated: false };
  }
}

testWithData("data/spf/rfc7208-tests.yml", {
  name: "checkSpf() passes the test suite of RFC 7208",
  required: true,
}, async (file, t) => {
  const documents = parseAllDocuments(await Deno.readTextFile(file));
  assert.ok(Array.isArray(documents));
  let count = 0;
  for (const document of documents) {
    assert.deepEqual(document.errors, []);
    const { description, tests, zonedata } = document.toJS() as Scenario;
    await t.step(description, async () => {
      for (const [name, { helo, host, mailfrom, result, explanation }] of Object.entries(tests)) {
        const verdict = await checkSpf({
          ip: host,
          helo,
          mailFrom: mailfrom,
          resolver: new ZoneData(zonedata),
          receiver: "receiver.test",
        });
        const allowed = typeof result === "string" ? [result] : result;
        assert.ok(allowed.includes(verdict.result), `${name}: ${JSON.stringify(verdict)}`);
        if (explanation !== undefined) assert.equal(verdict.explanation ?? "DEFAULT", explanation, name);
        count++;
      }
    });
  }
  assert.equal(count, 203);
});
