import { SluiceUnreachable } from '../client/client.ts';
import { parseServerDuration, toMillis } from '../client/duration.ts';
import { type Action, runAction } from './action.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { groupTable } from './group-table.ts';
import type { Listing, OperatorCalls, Shown } from './operator-calls.ts';
import { OPERATORS } from './operators.ts';
import { wholeFlag, wrongDurations } from './requests-flags.ts';

const EVERY_MS = { min: 100, max: 3_600_000 };
const GROUPS_MAX = 10_000;
/** Of a terminal that does not report its size. */
const SIZE = { rows: 24, columns: 80 };

/** ECMA-48 and xterm: another screen without a cursor, and back; to its top; the rest of the line, and of the screen, empty. */
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const LINE_END = '\u001b[K\r\n';
const REST = '\u001b[J';

const action: Action<OperatorCalls> = {
  usage: 'top [--every 1s] [--limit 1000]',
  summary: 'shows the groups whose oldest waiter waits longest, live in a terminal; Ctrl-C ends it',
  flags: `  --every 1s           time between two looks, 100ms to 1h\n  --limit 1000         how many groups are looked at, in the order of their names, at most ${GROUPS_MAX}\nWhere the output is no terminal it is written once.`,
  example: 'sluice top --every 2s',
  known: { texts: ['every', 'limit'] },
  async run(calls, given, world) {
    if (given.positionals.length > 0) return 'top takes flags only';
    const wrong = wrongDurations(given, ['every']);
    if (wrong !== undefined) return wrong;
    const every = toMillis(given.text('every') ?? '1s');
    if (every < EVERY_MS.min || every > EVERY_MS.max) return '--every is 100ms to 1h';
    const limit = wholeFlag('limit', given.text('limit') ?? '1000', 1, GROUPS_MAX);
    if (typeof limit === 'string') return limit;
    const look = (): Promise<Listing> => calls.list('groups', undefined, limit);
    const first = await look();
    if (given.json || !isTerminal(world)) {
      for (const line of given.json ? byAge(first.items).map((group) => JSON.stringify(group)) : groupTable(byAge(first.items))) writeLine(world.stdout, line);
      return EXIT.ok;
    }
    await show(first, look, every, given.address, world);
    return EXIT.ok;
  },
};

/** `sluice top`: the groups, again each second. */
export const top: Command = {
  name: 'top',
  usage: action.usage.slice('top '.length),
  summary: action.summary,
  run: (args, world) => runAction(OPERATORS, action, args, world),
};

/** Draws until a signal comes. A server that no longer answers is asked again; a refusal ends it. */
async function show(first: Listing, look: () => Promise<Listing>, everyMs: number, address: string, world: CliContext): Promise<void> {
  let stop: () => void = () => {};
  let over = false;
  const stopped = new Promise<void>((resolve) => {
    stop = () => {
      over = true;
      resolve();
    };
  });
  const forget = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => world.onSignal(signal, stop));
  world.stdout.write(ENTER);
  try {
    let [seen, trouble] = [first, ''];
    while (!over) {
      world.stdout.write(frame(seen, trouble, address, sizeOf(world)));
      await paused(everyMs, stopped);
      if (over) break;
      try {
        // Not waited for beyond a signal.
        const next = await Promise.race([look(), stopped]);
        if (next !== undefined) [seen, trouble] = [next, ''];
      } catch (error) {
        if (!(error instanceof SluiceUnreachable)) throw error;
        trouble = 'does not answer; what is shown is old';
      }
    }
  } finally {
    world.stdout.write(LEAVE);
    for (const each of forget) each();
  }
}

function frame({ items, more }: Listing, trouble: string, address: string, { rows, columns }: typeof SIZE): string {
  const waiting = items.reduce((sum, group) => sum + Number(group['waiting'] ?? 0), 0);
  const head = `sluice top  ${address}  ${items.length}${more ? '+' : ''} groups, ${waiting} waiting${trouble === '' ? '' : `  ${trouble}`}`;
  const lines = [head, '', ...groupTable(byAge(items).slice(0, Math.max(1, rows - 4)))].slice(0, rows - 1);
  return `${HOME}${lines.map((line) => line.slice(0, columns)).join(LINE_END)}${LINE_END}${REST}`;
}

/** By the age of the oldest waiter, then by name. */
function byAge(groups: readonly Shown[]): readonly Shown[] {
  const age = (group: Shown): number => parseServerDuration(group['oldestWaited']) ?? -1;
  return [...groups].sort((a, b) => age(b) - age(a) || (String(a['name']) < String(b['name']) ? -1 : 1));
}

async function paused(ms: number, stopped: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const passed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([passed, stopped]);
  clearTimeout(timer);
}

function isTerminal({ stdout }: CliContext): boolean {
  return 'isTTY' in stdout && stdout.isTTY === true;
}

function sizeOf({ stdout }: CliContext): typeof SIZE {
  const { rows, columns } = stdout as Partial<typeof SIZE>;
  return { rows: rows ?? SIZE.rows, columns: columns ?? SIZE.columns };
}
