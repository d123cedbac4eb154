import type { Place } from '../client/client.ts';
import { type CliContext, writeLine } from './command.ts';

/** Shows where an ask stands. */
export interface PositionLine {
  show(group: string, place: Place): void;
  /** Leaves the terminal's line empty. */
  end(): void;
}

const CLEAR = '\r\u001b[K';

/** On a terminal one line that is rewritten; else a line at each change. */
export function placeLine(world: Pick<CliContext, 'stderr' | 'interactive'>, quiet: boolean): PositionLine {
  let open = false;
  return {
    show(group, place) {
      if (quiet) return;
      if (!world.interactive) return writeLine(world.stderr, wordsOf(group, place));
      world.stderr.write(`${CLEAR}${wordsOf(group, place)}`);
      open = true;
    },
    end() {
      if (open) world.stderr.write(CLEAR);
      open = false;
    },
  };
}

function wordsOf(group: string, { place, expectedMs, limit }: Place): string {
  const expected = expectedMs === undefined ? 'nobody can say when' : `about ${Math.ceil(expectedMs / 1000)} s`;
  return `sluice: place ${place} in ${group}, ${expected}${limit === '' ? '' : `, behind limit ${limit}`}`;
}
