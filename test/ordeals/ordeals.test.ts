import { expect, it } from 'vitest';
import { fullDisk } from './full-disk.ts';

/* The ordeals that are over in seconds; `npm run ordeals -- all` plays the others too. */

const lacking = fullDisk.lacks();
if (lacking !== undefined) {
  process.stderr.write(`\nThe ordeal ${fullDisk.name} is NOT PLAYED: this machine lacks ${lacking}.\n`);
  it.skip(`${fullDisk.name} is not played: this machine lacks ${lacking}`, () => undefined);
} else {
  it('a file system that is really full costs nothing: refused unstored, alive, recovered, and no lease lost', async () => {
    const said: string[] = [];
    await fullDisk.run((text) => said.push(text));
    expect(said.at(-1)).toContain('leases are there, fences go on');
  });
}
