/**
 * The style and the script of the pages. Every page works without the script.
 *
 * @module
 */

/** Colours have a contrast of 4.5 at least, in light and dark. */
export const STYLE = `:root {
  color-scheme: light dark;
  --back: #fff; --fore: #1b1f24; --dim: #57606a; --line: #d0d7de; --raised: #f6f8fa;
  --link: #0a58ca; --good: #1a6e2e; --bad: #b3261e; --s0: #2563c9; --s1: #8a5a00; --s2: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0f1419; --fore: #e6edf3; --dim: #9aa6b2; --line: #39424e; --raised: #1a2129;
    --link: #7fb2ff; --good: #6fd48a; --bad: #ff8f87; --s0: #7fb2ff; --s1: #e0b050; --s2: #ff8f87;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--fore); font: 1rem/1.5 system-ui, sans-serif; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 0; top: 0; background: var(--back); padding: .5rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; padding: .5rem 1rem;
  background: var(--raised); border-bottom: 1px solid var(--line); }
header .name { margin: 0; overflow-wrap: anywhere; }
header nav { flex: 1; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .25rem 0; min-height: 24px; }
nav a[aria-current] { font-weight: bold; text-decoration-thickness: 3px; }
main { max-width: 80rem; margin: 0 auto; padding: 0 1rem 3rem; }
main:focus { outline: none; }
h1 { font-size: 1.5rem; margin: 1rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
.dim, .none, caption, .axis { color: var(--dim); }
.good { color: var(--good); } .bad { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; min-width: 0; }
.notice { border-left: 4px solid var(--bad); padding: .25rem 1rem; background: var(--raised); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
caption { text-align: left; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
thead th { white-space: nowrap; }
tbody th { font-weight: normal; min-width: 8rem; }
@media (max-width: 600px) { header nav { flex-basis: 100%; order: 1; } }
figure { margin: .5rem 0 1rem; }
svg { display: block; width: 100%; height: 5rem; background: var(--raised); border-bottom: 1px solid var(--line); }
.s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); }
.key { display: inline-block; width: .8em; height: .8em; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); } .key.s2 { background: var(--s2); }
.axis { display: flex; justify-content: space-between; font-size: .9rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--raised); padding: .5rem; }
form.row { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; margin: 1rem 0; }
label { display: block; }
input[type=text], input[type=password], select, button { font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--dim); border-radius: .25rem; padding: .3rem .6rem; min-height: 2.2rem; max-width: 100%; }
input[type=checkbox] { width: 1.5rem; height: 1.5rem; }
button { cursor: pointer; background: var(--raised); }
button.quiet { border-color: var(--line); }
button.danger { border: 2px solid var(--bad); color: var(--bad); }
.wide { width: 30rem; }
ol.story { padding-left: 1.5rem; } ol.story li { margin: .25rem 0; overflow-wrap: anywhere; }
ol.story .more { display: block; color: var(--dim); }
@media (prefers-reduced-motion: no-preference) { a, button { transition: color .1s; } }
`;

/** How often a live page is renewed, in milliseconds; the visitor can stop it (WCAG 2.2.2). */
const RENEW = 10_000;

/** Renews the content of pages that are live, unless the user has stopped it, works in it, or has another tab open. */
export const SCRIPT = `"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (main === null) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  let paused = false;
  const label = () => button.textContent = paused ? "Update automatically" : "Stop updating";
  label();
  button.addEventListener("click", () => { paused = !paused; label(); });
  document.querySelector("header").append(button);
  setInterval(async () => {
    const busy = main.contains(document.activeElement) && document.activeElement !== main;
    if (paused || busy || document.hidden) return;
    try {
      const response = await fetch(location.href, { redirect: "error", cache: "no-store" });
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("main[data-live]");
      if (next !== null) main.replaceChildren(...next.childNodes);
    } catch {
      // Asked again in a while.
    }
  }, ${RENEW});
})();
`;
