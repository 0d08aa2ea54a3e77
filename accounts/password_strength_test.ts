import assert from "node:assert/strict";
import { makePassword } from "./new_password.ts";
import { weaknessOf } from "./password_strength.ts";

const LOGIN = "margaret@example.com";

Deno.test("weaknessOf() has a reason against each password that guessers try first", () => {
  const weak: readonly (readonly [string, RegExp])[] = [
    ["", /has 0 characters/],
    ["xK4#mQ9!z", /has 9 characters; at least 10/],
    ["ααβγδεζηθ", /has 9 characters/],
    ["aaaaaaaaaaaaaaa", /1 different/],
    ["abababababababab", /2 different/],
    ["1234567890", /try first/],
    ["0987654321abc", /try first/],
    ["qwertyuiop123", /try first/],
    ["Password2026!", /try first/],
    ["P4ssw0rd!!!!", /try first/],
    ["margaret1234", /try first/],
    ["example.com2025", /try first/],
    ["Sommer2025!!", /try first/],
    ["Margaret-Example", /try first/],
    ["letmein-letmein", /try first/],
    ["1qaz2wsx3edc", /try first/],
  ];
  for (const [password, reason] of weak) {
    assert.match(weaknessOf(password, LOGIN) ?? "none", reason, password);
  }
});

Deno.test("weaknessOf() has nothing against passwords that are hard to guess, whatever they are made of", () => {
  const strong = [
    "correct horse battery staple",
    "xK4#mQ9!zW",
    "korrekt Pferd Batterie",
    "ορθόάλογομπαταρία",
    "正しい馬電池の釘がある",
    "tr0ub4dor&3-kettle",
    "my password is a long one about herons",
  ];
  for (const password of strong) assert.equal(weaknessOf(password, LOGIN), undefined, password);
  for (let n = 0; n < 200; n++) assert.equal(weaknessOf(makePassword(), LOGIN), undefined);
});

Deno.test("weaknessOf() takes no longer for long passwords than for short ones in proportion", () => {
  assert.match(weaknessOf("a1".repeat(512), LOGIN) ?? "", /different/);
  assert.equal(weaknessOf("herons kettle 1234 ".repeat(50), LOGIN), undefined);
});
