import { guessing } from "./tests/abuse/guessing.ts";
await guessing({ guesses: 10_000, addresses: 200, quiet: 10_000, report: (line) => console.log(line) });
