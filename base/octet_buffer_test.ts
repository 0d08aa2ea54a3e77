import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { assertLinear, countCopied, countSearched } from "../tests/support/counted.ts";
import { OctetBuffer } from "./octet_buffer.ts";

const octets = (text: string) => new TextEncoder().encode(text);
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);

Deno.test("OctetBuffer gives what was put into it, in order, however that was cut", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 12 });
  fc.assert(fc.property(pieces, fc.array(fc.nat(4000), { maxLength: 12 }), (pieces, takes) => {
    const buffer = new OctetBuffer();
    const left = pieces.flatMap((piece) => [...piece]);
    let held = 0;
    for (const [index, piece] of pieces.entries()) {
      if (index % 2 === 0) buffer.push(piece);
      else {
        for (let at = 0; at < piece.length;) {
          const free = buffer.free();
          const part = piece.subarray(at, at + free.length);
          free.set(part);
          buffer.added(part.length);
          at += part.length;
        }
      }
      held += piece.length;
      const wanted = takes[index] ?? 0;
      assert.equal(buffer.at(0), held > 0 ? left[0] : undefined);
      const taken = buffer.take(wanted);
      assert.deepEqual(taken && [...taken], wanted <= held ? left.splice(0, wanted) : undefined);
      held -= taken?.length ?? 0;
      assert.equal(buffer.length, held);
    }
  }));
});

Deno.test("takeUntil() finds a delimiter that comes in pieces, and nothing beyond the bound", () => {
  const end = octets("\r\n\r\n");
  const buffer = new OctetBuffer();
  for (const octet of octets("one\r\n\r\r\ntwo\r\n\r")) {
    buffer.push(Uint8Array.of(octet));
    assert.equal(buffer.takeUntil(end, 100), undefined);
  }
  buffer.push(octets("\nthree\r\nfour"));
  assert.equal(text(buffer.takeUntil(end, 100)), "one\r\n\r\r\ntwo");
  assert.equal(text(buffer.takeUntil(octets("\r\n"), 7)), "three");
  buffer.push(octets("\r\n"));
  assert.equal(buffer.takeUntil(octets("\r\n"), 5), undefined);
  assert.equal(text(buffer.takeUntil(octets("\r\n"), 6)), "four");
  assert.equal(text(new OctetBuffer().takeUntil(octets("\r\n"), 6)), undefined);
});

Deno.test("OctetBuffer searches and copies each octet a few times, however small the pieces", () => {
  const end = octets("\r\n\r\n");
  for (const form of ["xx", "\r\r", "\n\n", "\r\n\r"]) {
    const fill = (count: number) => {
      const buffer = new OctetBuffer();
      for (const octet of octets(form.repeat(count))) {
        buffer.push(Uint8Array.of(octet));
        buffer.takeUntil(end, Infinity);
      }
    };
    assertLinear((count) => countSearched(() => fill(count)), { what: JSON.stringify(form) });
    const copied = countCopied(() => fill(20_000));
    assert.ok(copied <= 3 * 20_000 * form.length, `${copied} octets are copied`);
  }
  // Lines that are taken while others come, beside a beginning that stays.
  const copied = countCopied(() => {
    const buffer = new OctetBuffer();
    for (let line = 0; line < 20_000; line++) {
      buffer.push(octets("12345678\r\n"));
      if (line >= 100) buffer.takeUntil(octets("\r\n"), 100);
    }
  });
  assert.ok(copied <= 3 * 200_000, `${copied} octets are copied`);
});
