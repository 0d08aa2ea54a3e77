/**
 * Checks chosen passwords for being easy to guess.
 *
 * @module
 */

/** Characters, as people count them. */
const MIN_LENGTH = 10;
const MIN_DIFFERENT = 5;
/** What must be left once everything is taken out that guessers try first. */
const MIN_REST = 5;

// What guessers try first, each also backwards. Of a run such as "56789" any three characters count.
const RUNS = [
  "01234567890",
  "abcdefghijklmnopqrstuvwxyz",
  "qwertyuiop",
  "qwertzuiop",
  "azertyuiop",
  "asdfghjkl",
  "yxcvbnm",
  "zxcvbnm",
  "1qaz2wsx3edc4rfv",
];
const WORDS = [
  "password",
  "passwort",
  "kennwort",
  "passphrase",
  "motdepasse",
  "contrasena",
  "geheim",
  "secret",
  "welcome",
  "willkommen",
  "letmein",
  "changeme",
  "default",
  "test",
  "admin",
  "root",
  "mail",
  "email",
  "mailapp",
  "login",
  "user",
  "hello",
  "hallo",
  "iloveyou",
  "sunshine",
  "princess",
  "dragon",
  "monkey",
  "football",
  "baseball",
  "master",
  "summer",
  "winter",
  "spring",
  "autumn",
  "sommer",
  "herbst",
  "server",
  "account",
];
const RUN_LENGTH = 3;
const LEET: Readonly<Record<string, string>> = {
  "0": "o",
  "1": "i",
  "3": "e",
  "4": "a",
  "5": "s",
  "7": "t",
  "@": "a",
  "$": "s",
  "!": "i",
};

/**
 * What is wrong with a password for this login, to stand after "the password"; `undefined` where it will do.
 * @param password prepared (RFC 8265)
 */
export function weaknessOf(password: string, login: string): string | undefined {
  const characters = [...password];
  if (characters.length < MIN_LENGTH) {
    return `has ${characters.length} characters; at least ${MIN_LENGTH}, since whoever reaches the file or the port ` +
      "can try all shorter ones";
  }
  const different = new Set(characters).size;
  if (different < MIN_DIFFERENT) {
    return `has ${different} different characters; at least ${MIN_DIFFERENT}, as guessers try repetitions first`;
  }
  const lower = password.toLowerCase();
  const parts = login.toLowerCase().split(/[@.]/).filter((part) => part.length >= 3);
  for (const text of [lower, lower.replace(/[013457@$!]/g, (character) => LEET[character] ?? character)]) {
    if (restOf(text, parts) < MIN_REST) {
      return "is made of what guessers try first: common words, the login, years, or adjacent keys; take " +
        "several unrelated words, or have one generated";
    }
  }
  return undefined;
}

/** How many characters are left without runs, words, years and repetitions. */
function restOf(text: string, parts: readonly string[]): number {
  let rest = text;
  for (const word of [...parts, ...WORDS].sort((a, b) => b.length - a.length)) {
    rest = rest.replaceAll(word, " ");
  }
  for (const run of RUNS) {
    for (const way of [run, [...run].reverse().join("")]) rest = withoutRuns(rest, way);
  }
  rest = rest.replace(/(?:19|20)\d\d/g, " ");
  rest = rest.replace(/(.)\1{2,}/gsu, "$1");
  return [...rest.replace(/\s/g, "")].length;
}

/** Without the parts of a run that are at least three characters long. */
function withoutRuns(text: string, run: string): string {
  let rest = "";
  for (let at = 0; at < text.length;) {
    let length = 0;
    while (at + length < text.length && run.includes(text.slice(at, at + length + 1))) length++;
    if (length >= RUN_LENGTH) {
      rest += " ";
      at += length;
    } else {
      rest += text[at];
      at++;
    }
  }
  return rest;
}
