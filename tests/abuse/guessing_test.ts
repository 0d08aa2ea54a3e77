// serve-submit while many guess a password; the long form, with its figures, is in `deno task abuse`.
import { HOST_PROGRAMS } from "../support/hosts.ts";
import { testWith } from "../support/requires.ts";
import { guessing } from "./guessing.ts";

testWith(
  HOST_PROGRAMS,
  "1,000 wrong passwords from 100 addresses keep neither who is logged in nor the owner from elsewhere",
  async () => {
    await guessing({ guesses: 1000, addresses: 100, quiet: 1_000, report: (line) => console.log(line) });
  },
);
