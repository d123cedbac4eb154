import { one } from './acquire.ts';
import { type AcquireFlags, ASK_FLAGS, parseAcquireFlags, parseFlags } from './acquire-flags.ts';
import { ACQUIRE_EXIT, connectionOf, failed } from './acquire-permit.ts';
import { type Command, EXIT, writeLine } from './command.ts';
import { OperatorCalls, type Shown } from './operator-calls.ts';

const USAGE = 'GROUP [--ttl 30s] [--key KEY] [--cost N] [--json] [...]';
const HELP = `Usage: sluice explain ${USAGE}
  tells what a request would meet now: whether it would wait, behind which callers, what holds them up, until when, and what would help; takes nothing
  --json               prints JSON as the server has it
${ASK_FLAGS}
Example: sluice explain llm --key acme --cost.tokens 400`;

/** `sluice explain GROUP`: what a request would meet now, in sentences. */
export const explain: Command = {
  name: 'explain',
  usage: USAGE,
  summary: 'tells whether a request would wait now, behind whom, until when, and what would help',
  async run(args, world) {
    const json = args.includes('--json');
    const parts = parseFlags(args.filter((arg) => arg !== '--json'));
    if (typeof parts !== 'string' && parts.given['help'] === true) {
      writeLine(world.stdout, HELP);
      return EXIT.ok;
    }
    const asked = typeof parts === 'string' ? parts : (one(parts.positionals) ?? parseAcquireFlags(parts.positionals[0] ?? '', parts.given, world.env));
    if (typeof asked === 'string') {
      writeLine(world.stderr, `sluice explain: ${asked}\nUsage: sluice explain ${USAGE}`);
      return ACQUIRE_EXIT.usage;
    }
    const connection = await connectionOf(asked, world);
    if (typeof connection === 'number') return connection;
    try {
      const told = await new OperatorCalls(connection).call('GET', ['groups', asked.group, 'explain'], undefined, queryOf(asked));
      for (const line of json ? [JSON.stringify(told)] : linesOf(told)) writeLine(world.stdout, line);
      return EXIT.ok;
    } catch (error) {
      return failed(error, asked, world);
    }
  },
};

function queryOf({ options: { ttl, lease, key, priority, costs }, holder }: AcquireFlags): Record<string, string> {
  const query = { ttl, lease, key, holder, ...(typeof priority === 'number' ? { priority: String(priority) } : { class: priority }) };
  const spent = Object.entries(costs ?? {}).map(([unit, cost]) => [unit === 'requests' ? 'cost' : `cost.${unit}`, String(cost)] as const);
  return Object.fromEntries([...Object.entries(query), ...spent].filter((field): field is [string, string] => field[1] !== undefined));
}

function linesOf({ text, help }: Shown): readonly string[] {
  return [String(text), ...(Array.isArray(help) ? help.map((each) => `- ${String(each)}`) : [])];
}
