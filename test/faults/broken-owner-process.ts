import { Grounds } from '../../src/admission/grounds.ts';
import { Ground } from '../../src/coordination/ground.ts';
import { Places } from '../../src/coordination/places.ts';
import type { Whereabouts } from '../../src/coordination/replica.ts';
import { NEVER } from '../../src/core/time.ts';

/*
 * The server, broken on purpose: what it was given once it decides for ever. It asks nobody whether its slots are over, and
 * does not hear that they were lost. The judge of the fault runs has to find it out.
 */

const given = new Map<number, Whereabouts>();

const { of } = Places.prototype;
Places.prototype.of = function (this: Places, shard: number): Whereabouts {
  const place = of.call(this, shard);
  if (place.at === 'here') given.set(shard, place);
  return given.get(shard) ?? place;
};

Ground.prototype.until = () => NEVER;
Ground.prototype.extend = () => undefined;
Ground.prototype.lose = () => {};
Grounds.prototype.lose = () => {};

const { seal } = Grounds.prototype;
Grounds.prototype.seal = function (this: Grounds, shard: number, halted: () => void): Promise<void> {
  given.delete(shard);
  return seal.call(this, shard, halted);
};

await import('../../src/main.ts');
