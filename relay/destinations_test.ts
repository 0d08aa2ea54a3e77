import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { Destinations, type Turn } from "./destinations.ts";

interface Item {
  readonly to: string;
  readonly nth: number;
  readonly at: number;
}

/** Destinations whose turns last until the test ends them. */
class World {
  readonly turns: Turn<Item>[] = [];
  readonly waiting: { readonly key: string; readonly callBack: () => void }[] = [];
  readonly woken: string[] = [];
  readonly stopping = new AbortController();
  readonly destinations: Destinations<Item>;
  #nth = 0;

  constructor({ maxTurns = 4, maxTurnsEach = 5 } = {}) {
    this.destinations = new Destinations({
      maxTurns,
      maxTurnsEach,
      hosts: {
        wait: (key, callBack) => void this.waiting.push({ key, callBack }),
        wakeNext: (key) => void this.woken.push(key),
      },
      begin: (turn) => void this.turns.push(turn),
      stopping: this.stopping.signal,
    });
  }

  /** Adds fresh items, one after the other. */
  add(...names: string[]): void {
    for (const to of names) this.destinations.add(to, { to, nth: this.#nth++, at: 0 });
  }

  /** Adds items that were tried before. */
  addTried(...names: string[]): void {
    for (const to of names) this.destinations.add(to, { to, nth: this.#nth++, at: 1 });
  }

  /** What turns have begun so far, by destination. */
  get begun(): string[] {
    return this.turns.map(({ first }) => first.to);
  }

  /** The nth turn that has begun. */
  turn(nth: number): Turn<Item> {
    return this.turns[nth] ?? assert.fail(`no turn ${nth}`);
  }
}

Deno.test("Destinations take turns, however much one of them has", () => {
  const world = new World();
  world.add("w", "x", "y", "z", "a", "a", "a", "b", "c");
  assert.deepEqual(world.begun, ["w", "x", "y", "z"]);
  assert.ok(world.turn(0).othersWait());
  for (let nth = 0; nth < 5; nth++) world.turn(nth).end();
  assert.deepEqual(world.begun.slice(4), ["a", "b", "c", "a", "a"]);
  assert.ok(!world.turn(5).othersWait());
});

Deno.test("Destinations.add() begins no more turns of one destination than it may have", () => {
  const world = new World({ maxTurnsEach: 2 });
  world.add("a", "a", "a");
  assert.deepEqual(world.begun, ["a", "a"]);
  assert.ok(!world.turn(0).othersWait(), "its own mail is not another's");
  assert.deepEqual(world.destinations.status("a"), { ready: 1, active: 2, resting: false });
  world.turn(0).end();
  assert.deepEqual(world.begun, ["a", "a", "a"]);
});

Deno.test("Destinations keep a quarter of the places for what has not failed yet", () => {
  const world = new World({ maxTurns: 8 });
  world.addTried("1", "2", "3", "4", "5", "6", "7");
  assert.deepEqual(world.begun, ["1", "2", "3", "4", "5", "6"]);
  world.add("a", "b");
  assert.deepEqual(world.begun.slice(6), ["a", "b"]);
  world.turn(6).end();
  assert.equal(world.turns.length, 8, "a fresh one's place is none for the seventh");
  world.turn(0).end();
  assert.deepEqual(world.begun.slice(8), ["7"]);
});

Deno.test("Destinations that failed and those that did not take turns with each other", () => {
  const world = new World();
  world.add("w", "x", "y", "z", "a", "b");
  world.addTried("1", "2");
  for (let nth = 0; nth < 4; nth++) world.turn(nth).end();
  const order = world.begun.slice(4);
  assert.ok(["1a2b", "a1b2"].includes(order.join("")), order.join(" "));
});

Deno.test("Destinations.noteAttempt() leaves one turn at a time to a destination where no host was reached", () => {
  const world = new World();
  const { destinations } = world;
  destinations.noteAttempt("a", { reached: false });
  world.add("a", "a", "a");
  assert.equal(destinations.active, 1);
  world.turn(0).end();
  assert.equal(destinations.active, 1);
  destinations.noteAttempt("a", { reached: true });
  world.add("a");
  assert.equal(destinations.active, 3);
});

Deno.test("Destinations.clearBackoff() clears the failure to reach a host", () => {
  const world = new World();
  world.destinations.noteAttempt("a", { reached: false });
  world.destinations.clearBackoff();
  world.add("a", "a");
  assert.equal(world.destinations.active, 2);
});

Deno.test("Turn.park() lets the line rest until the host calls back, and nothing loses its place in it", () => {
  const world = new World({ maxTurnsEach: 1 });
  world.add("a", "a");
  const { first } = world.turn(0);
  world.turn(0).park(first, "host");
  world.turn(0).wakeNext();
  world.turn(0).end();
  world.add("a");
  assert.equal(world.turns.length, 1);
  assert.deepEqual(world.destinations.status("a"), { ready: 3, active: 0, resting: true });
  assert.deepEqual(world.waiting.map(({ key }) => key), ["host"]);

  world.waiting[0]?.callBack();
  assert.equal(world.turn(1).first, first);
  assert.deepEqual(world.woken, [], "the one that was called back has not made up its mind");
  world.turn(1).wakeNext();
  assert.deepEqual(world.woken, ["host"]);
  assert.equal(world.turn(1).take()?.nth, 1);
});

Deno.test("Turn.park() waits once for a line with several turns, and passes on a call it has no use for", () => {
  const world = new World({ maxTurnsEach: 2 });
  world.add("a", "a");
  const [one, other] = [world.turn(0), world.turn(1)];
  one.park(one.first, "host");
  other.park(other.first, "other host");
  assert.deepEqual(world.waiting.map(({ key }) => key), ["host"]);
  // A turn under way may still empty the line.
  while (other.take() !== undefined);
  one.end();
  other.end();
  world.waiting[0]?.callBack();
  assert.deepEqual(world.woken, ["host"]);
  assert.deepEqual(world.destinations.status("a"), { ready: 0, active: 0, resting: false });
});

Deno.test("Destinations whose line another turn emptied pass on the call that put them in the ring", () => {
  const world = new World({ maxTurns: 4, maxTurnsEach: 2 });
  world.add("a", "a", "x", "y");
  const [one, other] = [world.turn(0), world.turn(1)];
  one.park(one.first, "host");
  one.end();
  world.add("z");
  world.waiting[0]?.callBack();
  assert.deepEqual(world.begun.slice(4), ["z"], "no place is free for the one called back");
  assert.equal(other.take(), one.first);
  world.turn(2).end();
  assert.equal(world.turns.length, 5);
  assert.deepEqual(world.woken, ["host"]);
});

Deno.test("Destinations begin no turn once they are stopping", () => {
  const world = new World({ maxTurnsEach: 1 });
  world.add("a", "a");
  world.stopping.abort();
  world.turn(0).end();
  world.add("b");
  assert.deepEqual(world.begun, ["a"]);
  assert.equal(world.destinations.ready, 2);
});

Deno.test("Destinations give every item one turn, in its line's order and within the bounds", () => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const step = fc.oneof(
    fc.record({ to: name, at: fc.constantFrom(0, 1) }),
    fc.record({ end: fc.nat() }),
    fc.record({ note: name, reached: fc.boolean() }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    const world = new World({ maxTurns: 4, maxTurnsEach: 3 });
    const { destinations } = world;
    const added: Item[] = [];
    const ended = new Set<Turn<Item>>();
    const underWay = () => world.turns.filter((turn) => !ended.has(turn));
    const end = (turn: Turn<Item> | undefined) => {
      if (turn === undefined) return;
      ended.add(turn);
      turn.end();
    };
    const of = (to: string) => (item: Item) => item.to === to;
    for (const step of steps) {
      if ("end" in step) end(underWay()[step.end % Math.max(underWay().length, 1)]);
      else if ("note" in step) destinations.noteAttempt(step.note, step);
      else {
        const item = { ...step, nth: added.length };
        added.push(item);
        destinations.add(item.to, item);
      }
      assert.equal(destinations.active, underWay().length);
      assert.ok(underWay().length <= 4);
      for (const to of "abcd") {
        assert.ok(underWay().map(({ first }) => first).filter(of(to)).length <= 3);
      }
    }
    for (let [turn] = underWay(); turn !== undefined; [turn] = underWay()) end(turn);
    const begun = world.turns.map(({ first }) => first);
    for (const to of "abcd") assert.deepEqual(begun.filter(of(to)), added.filter(of(to)));
    assert.equal(destinations.ready, 0);
  }));
});
