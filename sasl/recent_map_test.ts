import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { RecentMap } from "./recent_map.ts";

Deno.test("RecentMap holds what was set last, whatever is set, set again and deleted", () => {
  const step = fc.record({ key: fc.integer({ min: 0, max: 9 }), remove: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const map = new RecentMap<number>(4);
    let model: number[] = [];
    for (const { key, remove } of steps) {
      model = model.filter((one) => one !== key);
      if (remove) map.delete(`${key}`);
      else {
        map.set(`${key}`, key);
        model = [...model, key].slice(-4);
      }
      assert.equal(map.size, model.length);
      for (let one = 0; one < 10; one++) {
        assert.equal(map.get(`${one}`), model.includes(one) ? one : undefined);
      }
    }
  }));
});
