import { createHash, randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { authOptions } from '../config/auth-options.ts';
import { type ConfigError, collectErrors } from '../config/errors.ts';
import { rawOf } from '../config/source-value.ts';
import { ACQUIRE_EXIT } from './acquire-permit.ts';
import { type Command, EXIT, writeLine } from './command.ts';

const USAGE = 'new NAME [--can acquire] [--groups a,b] [--key KEY] [--classes a,b]';

const FLAGS = `  --can acquire        what it may do, of acquire, read, manage: --can read,manage for operators
  --groups a,b         the groups it may name (default: every group)
  --key KEY            the only key it may name (default: any)
  --classes a,b        the priority classes it may name (default: every class and number)
  --json               prints JSON: name, key, sha256
The key is printed once, here, and kept nowhere; the file has its hash alone. No server is asked.
Exit codes: 0; 64 called wrongly.
Example: sluice keys new ops-2 --can read,manage`;

/** Random bytes of a key: as many as its hash has. */
const KEY_BYTES = 32;
/** Makes a key that was published by mistake easy to find. */
const KEY_PREFIX = 'sluice_';

/** `sluice keys new NAME`: an API key, and the line of `auth.keys` that takes it. */
export const keys: Command = {
  name: 'keys',
  usage: USAGE,
  summary: 'makes an API key, printed once, and the line with its hash for auth.keys of the file',
  async run(args, world) {
    const read = readArguments(args);
    if (read === 'help') {
      writeLine(world.stdout, `Usage: sluice keys ${USAGE}\n${FLAGS}`);
      return EXIT.ok;
    }
    if (typeof read === 'string') {
      writeLine(world.stderr, `sluice keys: ${read}\nUsage: sluice keys ${USAGE}`);
      return ACQUIRE_EXIT.usage;
    }
    const key = `${KEY_PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}`;
    const sha256 = createHash('sha256').update(key).digest('hex');
    if (read.json) writeLine(world.stdout, JSON.stringify({ name: read.name, key, sha256 }));
    else {
      writeLine(world.stdout, `key     ${key}`);
      writeLine(world.stdout, `sha256  ${sha256}`);
      writeLine(world.stdout, `\nFor auth.keys of the file; a reload takes it:\n    - ${lineOf({ name: read.name, sha256, ...read.rights })}`);
    }
    return EXIT.ok;
  },
};

interface KeyArguments {
  readonly name: string;
  readonly rights: Readonly<Record<string, string | readonly string[]>>;
  readonly json: boolean;
}

function readArguments(args: readonly string[]): KeyArguments | string {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const options = { can: text, groups: text, key: text, classes: text, json: flag, help: { ...flag, short: 'h' } };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    if (values.help === true) return 'help';
    const [action, name, ...more] = positionals;
    if (action !== 'new') return action === undefined ? 'write `keys new NAME`' : `there is no command ${JSON.stringify(action)}`;
    if (name === undefined || more.length > 0) return 'name who holds the key, as in: sluice keys new search-2';
    const { can = 'acquire', groups, key, classes } = values;
    const rights = {
      can: can.split(','),
      ...(groups !== undefined && { groups: groups.split(',') }),
      ...(key !== undefined && { key }),
      ...(classes !== undefined && { classes: classes.split(',') }),
    };
    const wrong = mistakeIn({ name, sha256: '0'.repeat(64), ...rights });
    return wrong === undefined ? { name, rights, json: values.json === true } : `${wrong.path.replace('keys[0].', '')}: ${wrong.problem}. ${wrong.remedy}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What the file's own schema has against a key. */
function mistakeIn(key: Readonly<Record<string, string | readonly string[]>>): ConfigError | undefined {
  const { mistakes, report } = collectErrors();
  authOptions.read(rawOf({ keys: [key] }, { source: 'flag', line: undefined, column: undefined }), [], report);
  return mistakes[0];
}

/** A map on one line of YAML; text that could be taken for something else is quoted. */
function lineOf(map: Readonly<Record<string, string | readonly string[]>>): string {
  const scalar = (text: string): string =>
    /^[A-Za-z][\w-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text) ? text : JSON.stringify(text);
  const entries = Object.entries(map).map(([name, value]) => `${name}: ${typeof value === 'string' ? scalar(value) : `[ ${value.map(scalar).join(', ')} ]`}`);
  return `{ ${entries.join(', ')} }`;
}
