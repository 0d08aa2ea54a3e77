// The dashboard with real servers: in Chromium by keyboard, in the dark, on a phone, without scripts; and against hostile
// pages and visitors.
import assert from "node:assert/strict";
import axe from "axe-core";
import { Browser } from "./support/browser.ts";
import { HOSTILE, World } from "./support/dashboard_world.ts";
import { testWith } from "./support/requires.ts";
import { until } from "./support/until.ts";

const PAGES = ["/login", "/", "/queue", "/refused", "/traffic", "/trace", "/reports", "/health"];

/** Logs in by hand. */
async function logIn(browser: Browser, { url, token }: World): Promise<void> {
  await browser.goto(`${url}/`);
  assert.equal(await browser.evaluate("location.pathname"), "/login");
  await browser.submit(
    `document.querySelector("[name=token]").value = ${
      JSON.stringify(token)
    }; document.querySelector("main button").click()`,
  );
  assert.equal(await browser.evaluate("location.pathname"), "/");
}

/** What axe finds against WCAG 2.2 A and AA. */
async function axeFindings(browser: Browser, only?: readonly string[]): Promise<unknown[]> {
  await browser.evaluate(`${axe.source}; undefined`);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const runOnly = JSON.stringify(only ? { type: "rule", values: only } : { type: "tag", values: tags });
  return await browser.evaluate(
    `axe.run(document, { runOnly: ${runOnly}, resultTypes: ["violations"] }).then(({ violations }) =>
      violations.map(({ id, nodes }) => ({ id, at: nodes.map(({ html, any }) => [html, any[0]?.message]) })))`,
  );
}

testWith(["chromium"], "the dashboard in a browser", async (t) => {
  await using world = await World.start(30);
  await using browser = await Browser.start();
  await browser.look({ width: 1280, height: 900, dark: false });
  await logIn(browser, world);
  const shots = Deno.env.get("MAILAPP_SCREENSHOTS");

  for (
    const { dark, width, only } of [
      { dark: false, width: 1280, only: undefined },
      // What depends on the size of the window and on colours.
      { dark: true, width: 320, only: ["color-contrast", "target-size", "scrollable-region-focusable"] },
    ]
  ) {
    {
      await t.step(`nothing hinders anybody, ${dark ? "dark" : "light"}, ${width} pixels wide`, async () => {
        await browser.look({ width, height: 900, dark });
        const paths = [
          ...PAGES,
          `/queue/${world.ids[1]}`,
          `/trace?what=${world.ids[0]}`,
          "/queue?domain=odd.example&show=messages",
        ];
        const findings: unknown[] = [];
        for (const path of paths) {
          await browser.goto(world.url + path);
          for (const finding of await axeFindings(browser, only)) findings.push([path, finding]);
          const [wide, window] = await browser.evaluate<[number, number]>(
            "[document.documentElement.scrollWidth, innerWidth]",
          );
          assert(wide <= window, `${path} is ${wide} pixels wide`);
          if (shots !== undefined && path.length < 10) {
            const name = `dashboard-${path.slice(1) || "overview"}-${width}${dark ? "-dark" : ""}.png`;
            await Deno.writeFile(`${shots}/${name}`, await browser.screenshot());
          }
        }
        assert.deepEqual(findings, []);
      });
    }
  }

  await t.step("a log line, a reply and a search with markup in them stay text", async () => {
    await browser.look({ width: 1280, height: 900, dark: false });
    const search = `/trace?what=${encodeURIComponent(HOSTILE)}`;
    for (
      const path of [
        "/refused",
        "/reports",
        "/health",
        "/queue",
        `/queue/${world.ids[1]}`,
        `/trace?what=${world.ids[0]}`,
        search,
        "/queue?domain=odd.example&show=messages",
      ]
    ) {
      await browser.goto(world.url + path);
      assert.equal(await browser.evaluate("document.title.includes('owned')"), false, path);
      assert.equal(
        await browser.evaluate("document.querySelectorAll('main script, main img').length"),
        0,
        path,
      );
      const text = await browser.evaluate<string>("document.documentElement.outerHTML");
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(text, /[\u202e\u001b]/, path);
    }
    await browser.goto(`${world.url}/refused`);
    const shown = await browser.evaluate<string>("document.body.innerText");
    assert.match(shown, /<script>document\.title="owned"<\/script>/);
  });

  await t.step("the reports of others, and all that doctor found", async () => {
    await browser.goto(`${world.url}/reports`);
    const reports = await browser.evaluate<string>("document.querySelector('main').innerText");
    assert.match(reports, /Receiver & Sons\s+example\.com\s+[^]*?\s40\s+3\s/);
    assert.match(reports, /192\.0\.2\.7\s+example\.com\s+3\s+Receiver & Sons/);
    await browser.goto(`${world.url}/health`);
    const health = await browser.evaluate<string>("document.querySelector('main').textContent");
    assert.match(health, /FAILURE\s*smtp 192\.0\.2\.1:25\s*it is closed\s*Open it\./);
    assert.match(health, /1 checks passed/);
  });

  await t.step("no request goes to any other host, and the policy has nothing to block", () => {
    const foreign = browser.requests.filter((url) => !url.startsWith(world.url) && !url.startsWith("data:"));
    assert.deepEqual(foreign, []);
    assert.deepEqual(browser.complaints, []);
  });

  await t.step("it is used by keyboard alone", async () => {
    await browser.goto(`${world.url}/`);
    const seen: string[] = [];
    for (let step = 0; step < 10; step++) {
      await browser.press("Tab");
      seen.push(await browser.evaluate("document.activeElement.textContent.trim()"));
    }
    assert.deepEqual(seen.slice(0, 4), ["Skip to the content", "Overview", "Queue", "Refused"]);
    assert.notEqual(await browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "none");
  });

  await t.step("a live page is renewed, and stopped by its button", async () => {
    await browser.goto(`${world.url}/`);
    assert.equal(await browser.evaluate("document.querySelectorAll('header > button').length"), 1);
    await browser.evaluate("document.querySelector('h1').dataset.old = 'yes'");
    await until(
      async () => await browser.evaluate("document.querySelector('h1').dataset.old === undefined"),
      "the page to be renewed",
    );
    await browser.evaluate("document.querySelector('header > button').click()");
    assert.equal(
      await browser.evaluate("document.querySelector('header > button').textContent"),
      "Update automatically",
    );
  });

  await t.step("without scripts: finding, holding and releasing messages, each asked again", async () => {
    await browser.allowScripts(false);
    await browser.goto(`${world.url}/queue?domain=odd.example&show=messages`);
    const act = async (action: string) => {
      await browser.submit(
        `document.querySelector("[name=id]").click(); document.querySelector("[value=${action}]").click()`,
      );
      assert.match(await browser.evaluate("document.body.innerText"), /Yes, do it/);
      assert.equal(world.logged(`operator.${action}`).length, 0);
      await browser.submit(`document.querySelector("main button").click()`);
      await until(() => world.logged(`operator.${action}`).length > 0, `operator.${action}`);
    };
    await act("hold");
    const [held] = world.logged("operator.hold");
    assert.deepEqual(held?.["id"], world.ids[1]);
    assert.equal(held?.["by"], "dashboard, dashboard from 127.0.0.1");
    assert.match(
      await browser.evaluate("document.body.innerText"),
      /hold: message \w+, recipients in odd\.example/,
    );
    await browser.goto(`${world.url}/queue?reason=held&show=messages`);
    assert.match(await browser.evaluate("document.body.innerText"), /Messages 1 to 1 of 1/);
    await act("release");
    await browser.allowScripts(true);
  });

  await t.step("another page in the same browser can neither read nor act", async () => {
    const evil =
      `data:text/html,<form method=post action="${world.url}/queue/act"><input name=action value=remove><input name=scope value=all><input name=domain value=late.example></form>`;
    await browser.goto(evil);
    await browser.submit("document.forms[0].submit()");
    assert.match(await browser.evaluate("document.body.innerText"), /from another page/);
    await browser.goto("data:text/html,x");
    assert.equal(
      await browser.evaluate(
        `fetch("${world.url}/", { credentials: "include" }).then(() => "read", () => "not")`,
      ),
      "not",
    );
    assert.deepEqual(world.logged("operator.remove"), []);
  });

  await t.step("a name that was rebound to it gets no answer", async () => {
    await using other = await Browser.start(["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
    const { port } = new URL(world.url);
    await other.goto(`http://evil.example:${port}/login`);
    assert.match(await other.evaluate("document.body.innerText"), /Use the loopback address/);
    assert.equal(world.logged("dashboard.refused").at(-1)?.["host"], `evil.example:${port}`);
  });
});

Deno.test("the dashboard takes forms only with their token, from its own page, and rejects guesses", async () => {
  await using world = await World.start(2);
  const form = (fields: Record<string, string>, headers: Record<string, string> = {}) => ({
    method: "POST",
    body: new URLSearchParams(fields),
    headers: { origin: world.url, ...headers },
  });
  const act = { action: "remove", scope: "ids", id: world.ids[0] ?? "" };
  assert.equal((await world.ask("/queue/act", form(act))).status, 403);
  assert.equal((await world.ask("/queue/act", form({ ...act, form_token: "x" }))).status, 403);
  const page = (await world.ask(`/queue/${world.ids[0]}`)).text;
  const [, form_token = ""] = /name="form_token"\s+value="([^"]+)"/.exec(page) ?? [];
  assert.notEqual(form_token, "");
  for (const origin of ["null", "http://evil.example", `${world.url}.evil.example`]) {
    assert.equal(
      (await world.ask("/queue/act", form({ ...act, form_token }, { origin }))).status,
      403,
      origin,
    );
  }
  const json = {
    method: "POST",
    body: "{}",
    headers: { origin: world.url, "content-type": "application/json" },
  };
  assert.equal((await world.ask("/queue/act", json)).status, 415);
  const long = form({ ...act, form_token, more: "x".repeat(70_000) });
  assert.equal((await world.ask("/queue/act", long)).status, 413);
  for (const bad of [{ ...act, action: "eat" }, { ...act, id: "../x" }, { ...act, scope: "all" }]) {
    assert.equal((await world.ask("/queue/act", form({ ...bad, form_token }))).status, 400);
  }
  const late = await world.ask("/queue/act", form({ ...act, form_token }, { authorization: "Bearer wrong" }));
  assert.equal(late.status, 401);
  assert.deepEqual(world.logged("operator.remove"), []);
  for (let guess = 0; guess < 12; guess++) {
    const { status } = await world.ask("/login", form({ token: `guess-${guess}-guess-guess` }));
    assert([403, 429].includes(status), String(status));
  }
  const { status } = await world.ask("/login", form({ token: world.token }));
  assert.equal(status, 429);
  assert.equal((await world.ask("/", { headers: { authorization: "" } })).location, "/login");
  assert.equal(world.logged("dashboard.login_refused").at(-1)?.["reason"], "too many");
  const log = await Deno.readTextFile(world.logFile);
  assert(!log.includes(world.token) && !log.includes("guess-1-"), "a token is in the log");
});

Deno.test("the dashboard says what is wrong when a server is gone, and shows what it knew", async () => {
  await using world = await World.start(3);
  await until(async () => (await world.ask("/queue")).text.includes("<b>3</b>"), "the queue");
  assert.equal(await world.serveOut?.stop(), 0);
  await until(
    async () => (await world.ask("/queue")).text.includes("serve-out is not running, so nothing is sent"),
    "what is wrong",
  );
  const { status, text } = await world.ask("/queue");
  assert.equal(status, 200);
  assert.match(text, /<b>3<\/b> messages/);
  const gone = await world.ask(`/queue/${world.ids[0]}`);
  assert.equal(gone.status, 500);
  assert.match(gone.text, /serve-out is not running/);
  assert.equal((await world.ask("/trace?what=u0@late.example")).status, 200);
});
