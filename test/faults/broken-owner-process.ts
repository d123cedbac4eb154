import { ShardTrees } from '../../src/admission/shard-trees.ts';
import { RoutingTable } from '../../src/coordination/ownership/routing-table.ts';
import { ShardLease } from '../../src/coordination/ownership/shard-lease.ts';
import type { ShardLocation } from '../../src/coordination/replica.ts';
import { NEVER } from '../../src/core/time.ts';

/*
 * The server, broken on purpose: what it was given once it decides for ever. It asks nobody whether its slots are over, and
 * does not hear that they were lost. The judge of the fault runs has to find it out.
 */

const given = new Map<number, ShardLocation>();

const { ownerOf } = RoutingTable.prototype;
RoutingTable.prototype.ownerOf = function (this: RoutingTable, shard: number): ShardLocation {
  const place = ownerOf.call(this, shard);
  if (place.at === 'here') given.set(shard, place);
  return given.get(shard) ?? place;
};

ShardLease.prototype.until = () => NEVER;
ShardLease.prototype.extend = () => undefined;
ShardLease.prototype.lose = () => {};
ShardTrees.prototype.lose = () => {};

const { seal } = ShardTrees.prototype;
ShardTrees.prototype.seal = function (this: ShardTrees, shard: number, halted: () => void): Promise<void> {
  given.delete(shard);
  return seal.call(this, shard, halted);
};

await import('../../src/main.ts');
