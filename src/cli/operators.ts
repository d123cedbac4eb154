import { connectionOf } from './acquire-permit.ts';
import { type Action, type ActionKind, each, runAction } from './action.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { groupLines, groupTable, leaseTable, waiterTable } from './group-table.ts';
import { type Listed, type Listing, OperatorCalls, type Shown } from './operator-calls.ts';
import { OVERRIDE_FLAGS, overrideBody } from './override-body.ts';
import { type RequestArguments, wholeFlag, wrongDurations } from './requests-flags.ts';
import { plain } from './text-table.ts';

/** Where a server's admin listener is by default. */
export const ADMIN_ADDRESS = 'http://127.0.0.1:9091';

const FLAGS = `  --json               prints JSON as the server has it, a line for each
  --address URL        of the server's admin listener (default: SLUICE_URL, or ${ADMIN_ADDRESS}); with auth.keys its api listener does too
  --token-file FILE    holds an API key that can read, or manage for changes (default: SLUICE_TOKEN)
Exit codes: 0; 64 called wrongly; 65 it can never be as asked: no such group, or the server takes no such values; 66 no such waiter,
lease or permit; 69 not reached, draining, or no replica decides; 70 a fault; 75 not now; 77 not allowed.`;

/** How the commands of operators are run. */
export const OPERATORS: ActionKind<OperatorCalls> = {
  prefix: 'sluice',
  flags: FLAGS,
  address: ADMIN_ADDRESS,
  async connect(given, world) {
    const connection = await connectionOf(given, world);
    return typeof connection === 'number' ? connection : new OperatorCalls(connection);
  },
};

type Operation = Action<OperatorCalls>;

const CHANGE_FLAGS = `  --reason TEXT        why, for others who look at the group
  --dry-run            says what it would do, and does nothing`;
const CHANGE = { texts: ['reason'], flags: ['dry-run'] } as const;
const LIMIT_FLAG = '  --limit 100          how many at most';
const LIST_MAX = 1_000_000;

const groups: Operation = {
  usage: 'groups [--sort name] [--state STATE] [--q TEXT] [--limit 100]',
  summary: 'shows groups: state, who waits and for how long, leases, and what is used of each limit',
  flags: `  --sort name          name (default), oldest, waiting, refused or out (admissions a second)
  --state STATE        only those: undecided, stuck, paused, late, moving, open, waiting, override or shadow
  --q TEXT             only those whose name has this text\n${LIMIT_FLAG}`,
  example: 'sluice groups --limit 1000 --json | jq -r "select(.waiting != \\"0\\").name"',
  known: { texts: ['sort', 'state', 'q', 'limit'] },
  async run(calls, given, world) {
    if (given.positionals.length > 0) return 'groups takes flags only; `sluice group NAME` shows one';
    return list(calls, given, world, 'groups', undefined, groupTable);
  },
};

const group: Operation = {
  usage: 'group GROUP',
  summary: 'shows a group with its limits, and the keys that use most of them',
  flags: '',
  example: 'sluice group llm',
  known: {},
  async run(calls, given, world) {
    const name = only(given);
    if (name === undefined) return 'name one group';
    const shown = await calls.call('GET', ['groups', name]);
    for (const line of given.json ? [JSON.stringify(shown)] : groupLines(shown)) writeLine(world.stdout, line);
    return EXIT.ok;
  },
};

const waiters: Operation = {
  usage: 'waiters GROUP [--key KEY] [--priority N] [--holder TEXT] [--limit 100]',
  summary: 'shows who waits in a group, the one that goes next first, and behind which limit',
  flags: `  --key KEY            only those of this key
  --priority N         only those of this priority; 1000: deferred requests
  --holder TEXT        only those whose holder's name has this text\n${LIMIT_FLAG}`,
  example: 'sluice waiters slots --holder worker-7',
  known: { texts: ['key', 'priority', 'holder', 'limit'] },
  run: (calls, given, world) => listOf(calls, given, world, 'waiters', waiterTable),
};

const leases: Operation = {
  usage: 'leases GROUP [--key KEY] [--holder TEXT] [--limit 100]',
  summary: 'shows who holds the slots of a group, the one that holds longest first',
  flags: `  --key KEY            only those of this key
  --holder TEXT        only those whose holder's name has this text\n${LIMIT_FLAG}`,
  example: 'sluice leases slots --holder worker-7',
  known: { texts: ['key', 'holder', 'limit'] },
  run: (calls, given, world) => listOf(calls, given, world, 'leases', leaseTable),
};

const pause: Operation = {
  usage: 'pause GROUP [--for 10m] [--key KEY] [--reason TEXT]',
  summary: 'admits no caller of a group and those below it, or of one key, for a time; callers wait on, leases live on',
  flags: `  --for 10m            for so long, at most 30d (default: until it is resumed); never shortens a running pause\n  --key KEY            only this key\n${CHANGE_FLAGS}`,
  example: 'sluice pause llm --for 10m',
  known: { texts: ['for', 'key', ...CHANGE.texts], flags: CHANGE.flags },
  async run(calls, given, world) {
    const name = only(given);
    if (name === undefined) return 'name one group';
    const wrong = wrongDurations(given, ['for']);
    if (wrong !== undefined) return wrong;
    const [key, time] = [given.text('key'), given.text('for')];
    const tried = await changed(calls, given, world, 'POST', ['groups', name, 'pause'], { key, duration: time });
    if (tried) return EXIT.ok;
    const until = time === undefined ? 'until it is resumed' : `for ${time}`;
    return done(given, world, { group: name, key, paused: true, for: time }, `${subject(name, key)} is paused ${until}`);
  },
};

const resume: Operation = {
  usage: 'resume GROUP [--key KEY] [--reason TEXT]',
  summary: 'ends a pause',
  flags: `  --key KEY            the pause of this key (default: of the group)\n${CHANGE_FLAGS}`,
  example: 'sluice resume llm',
  known: { texts: ['key', ...CHANGE.texts], flags: CHANGE.flags },
  async run(calls, given, world) {
    const name = only(given);
    if (name === undefined) return 'name one group';
    const key = given.text('key');
    if (await changed(calls, given, world, 'POST', ['groups', name, 'resume'], { key })) return EXIT.ok;
    return done(given, world, { group: name, key, paused: false }, `${subject(name, key)} is paused no more`);
  },
};

const override: Operation = {
  usage: 'override GROUP [LIMIT=QUOTA ...] --for 1h [--enforce false] [--forgive-debt]',
  summary: "puts other numbers in place of the file's for a time; then the file holds again",
  flags: OVERRIDE_FLAGS,
  example: 'sluice override llm rpm=900/60s tpm=400000/60s --for 1h',
  known: { texts: ['for', 'enforce', 'reason'], flags: ['end', 'forgive-debt', ...CHANGE.flags] },
  async run(calls, given, world) {
    const [name, ...changes] = given.positionals;
    if (name === undefined || name.includes('=')) return 'name the group first';
    const body = await overrideBody(given, changes, () => calls.call('GET', ['groups', name]));
    if (typeof body === 'string') return body;
    if (await changed(calls, given, world, 'POST', ['groups', name, 'override'], body)) return EXIT.ok;
    const [end, time] = [given.has('end'), given.text('for')];
    const what = [
      ...(end ? [`${name} goes by the file again`] : time === undefined ? [] : [`${name} is changed for ${time}`]),
      ...(given.has('forgive-debt') ? [`the debt of ${name} is dropped`] : []),
    ];
    return done(given, world, { group: name, ...body }, what.join('; '));
  },
};

const evict: Operation = {
  usage: 'evict GROUP WAITER [WAITER ...]',
  summary: 'turns waiters away; they are refused as cancelled',
  flags: CHANGE_FLAGS,
  example: 'sluice evict slots w0-2',
  known: CHANGE,
  async run(calls, given, world) {
    const [name, ...ids] = given.positionals;
    if (name === undefined || ids.length === 0) return 'name the group, and waiters by the ids that `sluice waiters` shows';
    return each(ids, given, world, async (id) => {
      if (await changed(calls, given, world, 'DELETE', ['groups', name, 'waiters', id])) return undefined;
      return [{ group: name, waiter: id, evicted: true }, `${id} is turned away`];
    });
  },
};

const revoke: Operation = {
  usage: 'revoke GROUP PERMIT [PERMIT ...]',
  summary: 'ends leases without their holders, who are not stopped: they meet `fenced` when they renew',
  flags: CHANGE_FLAGS,
  example: 'sluice revoke slots slots~e13wu1oh~19u6kwt1hvhhvw',
  known: CHANGE,
  async run(calls, given, world) {
    const [name, ...ids] = given.positionals;
    if (name === undefined || ids.length === 0) return 'name the group, and leases by the permits that `sluice leases` shows';
    return each(ids, given, world, async (id) => {
      if (await changed(calls, given, world, 'DELETE', ['groups', name, 'leases', id])) return undefined;
      return [{ group: name, permit: id, revoked: true }, `${id} is revoked; its holder is not stopped, and may work on until it renews`];
    });
  },
};

const OUTCOMES: ReadonlySet<string> = new Set(['used', 'unused', 'dropped']);

const release: Operation = {
  usage: 'release PERMIT [PERMIT ...] [--outcome used]',
  summary: 'gives permits back, as their holder does; with auth.keys only by the key that got them',
  flags: '  --outcome used       used (default), unused (what was charged is given back), or dropped (the backend pushed back)',
  example: 'sluice release "$SLUICE_PERMIT" --outcome unused',
  known: { texts: ['outcome'] },
  async run(calls, given, world) {
    const outcome = given.text('outcome') ?? 'used';
    if (!OUTCOMES.has(outcome)) return `--outcome is one of ${[...OUTCOMES].join(', ')}`;
    if (given.positionals.length === 0) return 'name at least one permit';
    return each(given.positionals, given, world, async (id) => {
      const answer = await calls.call('POST', ['permits', id, 'release'], { outcome });
      return [{ permit: id, ...answer }, `${id} is released`];
    });
  },
};

async function listOf(
  calls: OperatorCalls,
  given: RequestArguments,
  world: CliContext,
  what: 'waiters' | 'leases',
  table: (items: readonly Shown[]) => readonly string[],
): Promise<number | string> {
  const name = only(given);
  return name === undefined ? 'name one group' : list(calls, given, world, what, name, table);
}

const QUERY_FLAGS = ['sort', 'state', 'q', 'key', 'priority', 'holder'] as const;

async function list(
  calls: OperatorCalls,
  given: RequestArguments,
  world: CliContext,
  what: Listed,
  name: string | undefined,
  table: (items: readonly Shown[]) => readonly string[],
): Promise<number | string> {
  const limit = wholeFlag('limit', given.text('limit') ?? '100', 1, LIST_MAX);
  if (typeof limit === 'string') return limit;
  const filter = Object.fromEntries(QUERY_FLAGS.map((flag) => [flag, given.text(flag)] as const).filter(([, value]) => value !== undefined)) as Record<
    string,
    string
  >;
  const { items, more }: Listing = await calls.list(what, name, limit, filter);
  for (const line of given.json ? items.map((item) => JSON.stringify(item)) : table(items)) writeLine(world.stdout, line);
  if (more) writeLine(world.stderr, 'sluice: there are more; raise --limit');
  return EXIT.ok;
}

function only(given: RequestArguments): string | undefined {
  return given.positionals.length === 1 ? given.positionals[0] : undefined;
}

function subject(group: string, key: string | undefined): string {
  return key === undefined ? group : `key ${key} of ${group}`;
}

/** Does a change, or with `--dry-run` shows what it would do; true: it was only tried. */
async function changed(
  calls: OperatorCalls,
  given: RequestArguments,
  world: CliContext,
  method: 'POST' | 'DELETE',
  path: readonly string[],
  body?: object,
): Promise<boolean> {
  const [reason, dryRun] = [given.text('reason'), given.has('dry-run')];
  const answer = await calls.call(method, path, body, { ...(dryRun && { dryRun: 'true' }), ...(reason !== undefined && { reason }) });
  if (!dryRun) return false;
  const effect = Array.isArray(answer['effect']) ? answer['effect'].map(String) : [];
  const undo = String(answer['undo'] ?? '') || 'none';
  for (const line of given.json ? [JSON.stringify(answer)] : [...effect, `Undo: ${undo}`]) writeLine(world.stdout, plain(line));
  return true;
}

function done(given: RequestArguments, world: CliContext, json: object, line: string): number {
  writeLine(world.stdout, given.json ? JSON.stringify(json) : line);
  return EXIT.ok;
}

const OPERATIONS = { groups, group, waiters, leases, pause, resume, override, evict, revoke, release };

/** The commands of operators by their names: each is one call of GroupService, or of Release. */
export const OPERATOR_COMMANDS = Object.fromEntries(
  Object.entries(OPERATIONS).map(([name, operation]): [string, Command] => [name, commandOf(name, operation)]),
) as { readonly [name in keyof typeof OPERATIONS]: Command };

function commandOf(name: string, operation: Operation): Command {
  return {
    name,
    usage: operation.usage.slice(name.length + 1),
    summary: operation.summary,
    run: (args, world) => runAction(OPERATORS, operation, args, world),
  };
}
