import type { DeferredRequest, RequestQuery, Requests } from '../client/client.ts';
import { PAGE_MAX, REDRIVE_MAX } from '../core/bounds.ts';
import { API_ADDRESS } from './acquire-flags.ts';
import { ACQUIRE_EXIT, clientOf } from './acquire-permit.ts';
import { type Action, type ActionKind, each, runAction } from './action.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { REQUEST_FLAGS, type RequestArguments, wholeFlag, wrongDurations } from './requests-flags.ts';
import { SUBMIT, SUBMIT_FLAGS, submitOptions } from './requests-submit.ts';
import { requestLines, requestTable } from './requests-table.ts';

type RequestAction = Action<Requests>;

const FILTER = ['group', 'key', 'error', 'since', 'until'] as const;
const FILTER_FLAGS = `  --group, --key       only of these
  --error WHY          only those given up for it: status_400, timeout, retry_expired, ...
  --since, --until     a time of RFC 3339, or how long ago: 1h. Of pending ones their acceptance counts, of others their end`;
const STATES: ReadonlySet<string> = new Set(['pending', 'sending', 'done', 'dead', 'cancelled']);

const list: RequestAction = {
  usage: 'list [--state dead] [--group GROUP] [...]',
  summary: 'shows requests, oldest first',
  flags: `  --state STATE        pending, sending, done, dead or cancelled (default: any)\n${FILTER_FLAGS}\n  --limit 100          how many at most`,
  example: 'sluice requests list --state dead --group erp --since 1h',
  known: { texts: ['state', 'limit', ...FILTER] },
  async run(requests, given, world) {
    const state = given.text('state');
    if (state !== undefined && !STATES.has(state)) return `--state is one of ${[...STATES].join(', ')}`;
    const limit = wholeFlag('limit', given.text('limit') ?? '100', 1, 1_000_000);
    if (typeof limit === 'string') return limit;
    if (given.positionals.length > 0) return 'list takes flags only; `show` is for one request';
    const found: DeferredRequest[] = [];
    let token = '';
    do {
      const page = await requests.list({ ...filterOf(given), state: state as DeferredRequest['state'], size: Math.min(PAGE_MAX, limit - found.length), token });
      found.push(...page.requests);
      token = page.next;
    } while (token !== '' && found.length < limit);
    const lines = given.json ? found.map((each) => JSON.stringify(each)) : requestTable(found, Date.now());
    for (const line of lines) writeLine(world.stdout, line);
    if (token !== '') writeLine(world.stderr, `sluice: there are more; raise --limit`);
    return EXIT.ok;
  },
};

const show: RequestAction = {
  usage: 'show ID [--wait 30s] [--response]',
  summary: 'shows a request with every attempt, or its response',
  flags: `  --wait 30s           waits for its end\n  --response           prints the body of the backend's answer, as it is kept, in place of the state`,
  example: 'sluice requests show 2k-0f3a9c51d7e84b26 --wait 1m --response',
  known: { texts: ['wait'], flags: ['response'] },
  async run(requests, given, world) {
    const [id, ...more] = given.positionals;
    if (id === undefined || more.length > 0) return 'name one request by its id';
    const wait = given.text('wait');
    const wrong = wrongDurations(given, ['wait']);
    if (wrong !== undefined) return wrong;
    const request = wait === undefined ? await requests.get(id) : await requests.wait(id, { timeout: wait });
    const code = wait === undefined ? EXIT.ok : codeOf(request);
    if (!given.has('response')) {
      showOne(request, given, world);
      return code;
    }
    const response = await requests.response(id);
    world.stdout.write(response.body);
    return code;
  },
};

const cancel: RequestAction = {
  usage: 'cancel ID [ID ...]',
  summary: 'gives requests up; one that is being sent is aborted, and a dead letter closed',
  flags: '',
  example: 'sluice requests cancel 2k-0f3a9c51d7e84b26',
  known: {},
  async run(requests, given, world) {
    if (given.positionals.length === 0) return 'name at least one request by its id';
    return each(given.positionals, given, world, async (id) => {
      const { cancelled, aborted } = await requests.cancel(id);
      const what = cancelled ? (aborted ? 'cancelled while it was sent: the backend may have acted' : 'cancelled') : 'had ended already';
      return [{ id, cancelled, aborted }, `${id} ${what}`];
    });
  },
};

const redrive: RequestAction = {
  usage: 'redrive ID [ID ...] | redrive --max N [--group GROUP] [...]',
  summary: 'puts dead letters back into the queue; many are sent at the rate of their group',
  flags: `  --max N              how many dead letters of a filter, at most; required without an id\n${FILTER_FLAGS}`,
  example: 'sluice requests redrive --group erp --error status_503 --since 2h --max 500',
  known: { texts: ['max', ...FILTER] },
  async run(requests, given, world) {
    const filtered = [...FILTER, 'max'].some((name) => given.has(name));
    if (given.positionals.length > 0) {
      if (filtered) return 'give either ids, or a filter and --max';
      return each(given.positionals, given, world, async (id) => {
        await requests.redrive(id);
        return [{ id, redriven: 1 }, `${id} is pending again`];
      });
    }
    const max = wholeFlag('max', given.text('max') ?? '', 1, 1_000_000);
    if (typeof max === 'string') return `${max}: how many dead letters may be put back`;
    let [redriven, token] = [0, ''];
    do {
      const done = await requests.redriveAll({ ...filterOf(given), max: Math.min(REDRIVE_MAX, max - redriven), token });
      redriven += done.redriven;
      token = done.next;
    } while (token !== '' && redriven < max);
    const more = token === '' ? '' : '; there are more';
    writeLine(world.stdout, given.json ? JSON.stringify({ redriven, more: token !== '' }) : `${redriven} pending again${more}`);
    return EXIT.ok;
  },
};

const submit: RequestAction = {
  usage: 'submit PATH [--route NAME] [--body TEXT] [...]',
  summary: 'stores a request that is delivered later, and prints its id',
  flags: SUBMIT_FLAGS,
  example: `sluice requests submit /orders --route erp --header 'Content-Type: application/json' --body '{"id":7}' --wait 1m`,
  known: SUBMIT,
  async run(requests, given, world) {
    const options = await submitOptions(given, world);
    if (typeof options === 'string') return options;
    const ticket = await requests.submit(options);
    const wait = given.text('wait');
    if (wait === undefined) {
      writeLine(world.stdout, given.json ? JSON.stringify(ticket) : ticket.id);
      return EXIT.ok;
    }
    const request = await requests.wait(ticket.id, { timeout: wait });
    showOne(request, given, world);
    return codeOf(request);
  },
};

const ACTIONS: Readonly<Record<string, RequestAction>> = { list, show, cancel, redrive, submit };

const KIND: ActionKind<Requests> = {
  prefix: 'sluice requests',
  flags: REQUEST_FLAGS,
  address: API_ADDRESS,
  async connect(given, world) {
    const sluice = await clientOf(given, world);
    return typeof sluice === 'number' ? sluice : sluice.requests;
  },
};

/** `sluice requests ...`: deferred requests for people and scripts, over plain HTTP. */
export const requests: Command = {
  name: 'requests',
  usage: `${Object.keys(ACTIONS).join('|')} [...]`,
  summary: 'stores requests that are delivered later; lists, shows, cancels and redrives them',
  async run(args, world) {
    const [name = '', ...rest] = args;
    const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
    if (action === undefined) {
      const help = name === '--help' || name === '-h' || name === 'help';
      for (const line of overview(help ? '' : name)) writeLine(help ? world.stdout : world.stderr, line);
      return help ? EXIT.ok : ACQUIRE_EXIT.usage;
    }
    return runAction(KIND, action, rest, world);
  },
};

function overview(unknown: string): readonly string[] {
  const wrong = unknown === '' ? [] : [`sluice requests: there is no command ${JSON.stringify(unknown)}`];
  const all = Object.values(ACTIONS).flatMap(({ usage, summary }) => [`  sluice requests ${usage}`, `      ${summary}`]);
  return [...wrong, `Usage: sluice requests ${Object.keys(ACTIONS).join('|')} [...]`, ...all, 'See `sluice requests COMMAND --help`.', REQUEST_FLAGS];
}

function filterOf(given: RequestArguments): RequestQuery {
  return Object.fromEntries(FILTER.map((name) => [name, given.text(name)]));
}

function showOne(request: DeferredRequest, given: RequestArguments, world: CliContext): void {
  for (const line of given.json ? [JSON.stringify(request)] : requestLines(request, Date.now())) writeLine(world.stdout, line);
}

/** How a request ended that was waited for. */
function codeOf({ state }: DeferredRequest): number {
  if (state === 'done') return EXIT.ok;
  return state === 'dead' || state === 'cancelled' ? EXIT.failed : ACQUIRE_EXIT.later;
}
