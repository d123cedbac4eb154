import type { Permit } from '../client/client.ts';
import { ASK_FLAGS, parseAcquireFlags, parseFlags } from './acquire-flags.ts';
import { ACQUIRE_EXIT, acquireWithProgress } from './acquire-permit.ts';
import { type Command, EXIT, writeLine } from './command.ts';

/** `sluice acquire GROUP`: the permit as a line of JSON on stdout. A lease in it lives on when the command has ended. */
export const acquire: Command = {
  name: 'acquire',
  usage: 'GROUP [--ttl 30s] [--key KEY] [--cost N] [...]',
  summary: 'waits for a permit of GROUP, shows the place meanwhile, and prints the permit as JSON',
  async run(args, world) {
    const parts = parseFlags(args);
    if (typeof parts !== 'string' && parts.given['help'] === true) {
      writeLine(world.stdout, `Usage: sluice acquire ${this.usage}\n${ASK_FLAGS}`);
      return EXIT.ok;
    }
    const asked = typeof parts === 'string' ? parts : (one(parts.positionals) ?? parseAcquireFlags(parts.positionals[0] ?? '', parts.given, world.env));
    if (typeof asked === 'string') {
      writeLine(world.stderr, `sluice acquire: ${asked}\nUsage: sluice acquire ${this.usage}`);
      return ACQUIRE_EXIT.usage;
    }
    const permit = await acquireWithProgress(asked, world);
    if (typeof permit === 'number') return permit;
    writeLine(world.stdout, permitLine(permit));
    return EXIT.ok;
  },
};

/** Says what is wrong with positional arguments that are not one group; undefined: nothing. */
export function one(positionals: readonly string[]): string | undefined {
  return positionals.length === 1 ? undefined : 'name one group';
}

/** As plain HTTP has it. */
function permitLine({ id, fence, fenceFloor, leaseMs, waitedMs }: Permit): string {
  return JSON.stringify({
    permit: id,
    ...(fence === undefined ? {} : { fence: String(fence), fenceFloor: String(fenceFloor) }),
    ...(leaseMs === undefined ? {} : { lease: `${leaseMs / 1000}s` }),
    waited: `${waitedMs / 1000}s`,
  });
}
