/**
 * Chromium without a display, spoken to by its DevTools protocol.
 *
 * @module
 */
import assert from "node:assert/strict";

const PATIENCE = 60_000;

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** A browser with one page; disposed, it is ended. */
export class Browser implements AsyncDisposable {
  /** All addresses that were asked for. */
  readonly requests: string[] = [];
  /** What the page's policy has blocked, and errors of scripts. */
  readonly complaints: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #socket: WebSocket;
  readonly #directory: string;
  readonly #errors: Promise<void>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #events: Answer[] = [];
  #wake = () => {};
  #session = "";
  #id = 0;

  private constructor(
    { child, socket, directory, errors }: {
      child: Deno.ChildProcess;
      socket: WebSocket;
      directory: string;
      errors: Promise<void>;
    },
  ) {
    this.#child = child;
    this.#socket = socket;
    this.#directory = directory;
    this.#errors = errors;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(String(data)) as Answer);
  }

  /** Starts Chromium. */
  static async start(args: readonly string[] = []): Promise<Browser> {
    const directory = await Deno.makeTempDir({ prefix: "mailapp-chromium-" });
    const child = new Deno.Command("chromium", {
      args: [
        "--headless=new",
        // Tests run as root, where its own sandbox cannot.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-port=0",
        `--user-data-dir=${directory}`,
        ...args,
        "about:blank",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const found = Promise.withResolvers<string>();
    const errors = (async () => {
      let said = "";
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        if (said.length < 100_000) said += text;
        const [, url] = /DevTools listening on (ws:\S+)/.exec(said) ?? [];
        if (url !== undefined) found.resolve(url);
      }
      found.reject(new Error(`chromium has ended:\n${said}`));
    })();
    const socket = new WebSocket(await found.promise);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("chromium takes no connection"));
    });
    const browser = new Browser({ child, socket, directory, errors });
    const { targetInfos } = await browser.#send("Target.getTargets") as {
      targetInfos: { type: string; targetId: string }[];
    };
    const targetId = targetInfos.find(({ type }) => type === "page")?.targetId;
    const { sessionId } = await browser.#send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = String(sessionId);
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await browser.#send(`${domain}.enable`);
    return browser;
  }

  /** Loads a page. */
  async goto(url: string): Promise<void> {
    this.#events = [];
    const { errorText } = await this.#send("Page.navigate", { url });
    assert.equal(errorText, undefined, url);
    await this.#event("Page.loadEventFired");
  }

  /** Does something in the page that loads another one. */
  async submit(expression: string): Promise<void> {
    this.#events = [];
    await this.evaluate(expression);
    await this.#event("Page.loadEventFired");
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    }) as { result: { value: T }; exceptionDetails?: unknown };
    assert.equal(
      exceptionDetails,
      undefined,
      `${expression.slice(0, 200)}: ${JSON.stringify(exceptionDetails)}`,
    );
    return result.value;
  }

  /** Presses a key. */
  async press(key: string): Promise<void> {
    const code = { Tab: 9, Enter: 13 }[key] ?? 0;
    const fields = { key, code: key, windowsVirtualKeyCode: code, ...(key === "Enter" && { text: "\r" }) };
    await this.#send("Input.dispatchKeyEvent", { type: "keyDown", ...fields });
    await this.#send("Input.dispatchKeyEvent", { type: "keyUp", ...fields });
  }

  /** Whether scripts of pages run. */
  async allowScripts(value: boolean): Promise<void> {
    await this.#send("Emulation.setScriptExecutionDisabled", { value: !value });
  }

  /** The size of the window in CSS pixels, and whether the system is dark. */
  async look({ width, height, dark }: { width: number; height: number; dark: boolean }): Promise<void> {
    await this.#send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const features = [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }];
    await this.#send("Emulation.setEmulatedMedia", { features });
  }

  /** The window as PNG. */
  async screenshot(): Promise<Uint8Array> {
    const { data } = await this.#send("Page.captureScreenshot", { format: "png" });
    return Uint8Array.from(atob(String(data)), (char) => char.charCodeAt(0));
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    await this.#send("Browser.close").catch(() => {});
    await closed;
    await this.#child.status;
    await this.#errors.catch(() => {});
    await Deno.remove(this.#directory, { recursive: true }).catch(() => {});
  }

  #take(answer: Answer): void {
    if (answer.id !== undefined) {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
      return;
    }
    const { method, params = {} } = answer;
    if (method === "Network.requestWillBeSent") {
      this.requests.push((params["request"] as { url: string }).url);
    } else if (method === "Log.entryAdded") {
      this.complaints.push((params["entry"] as { text: string }).text);
    } else if (method === "Runtime.exceptionThrown") {
      this.complaints.push(JSON.stringify(params["exceptionDetails"]));
    }
    this.#events.push(answer);
    this.#wake();
  }

  async #event(method: string): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (!this.#events.some((event) => event.method === method)) {
      if (performance.now() > deadline) throw new Error(`${method} does not come`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, PATIENCE);
      await promise;
      clearTimeout(timer);
    }
  }

  #send(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
  ): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.#id;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    this.#socket.send(
      JSON.stringify({ id, method, params, ...(this.#session !== "" && { sessionId: this.#session }) }),
    );
    return promise.then(({ result, error }) => {
      if (error !== undefined) throw new Error(`${method}: ${error.message}`);
      return result ?? {};
    });
  }
}
