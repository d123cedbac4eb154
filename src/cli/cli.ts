import { suggest } from '../config/suggest.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';

/** Every command by name; each is loaded when it is run, so that `sluice help` need not load the server. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand,
  'gateway-queue': async () => (await import('./gateway-queue.ts')).gatewayQueueCommand,
  check: async () => (await import('./check.ts')).check,
  acquire: async () => (await import('./acquire.ts')).acquire,
  explain: async () => (await import('./explain.ts')).explain,
  run: async () => (await import('./run.ts')).run,
  import: async () => (await import('./import.ts')).importCommand,
  requests: async () => (await import('./requests.ts')).requests,
  simulate: async () => (await import('./simulate.ts')).simulate,
  groups: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.groups,
  group: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.group,
  waiters: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.waiters,
  leases: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.leases,
  pause: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.pause,
  resume: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.resume,
  override: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.override,
  evict: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.evict,
  revoke: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.revoke,
  release: async () => (await import('./operators.ts')).OPERATOR_COMMANDS.release,
  keys: async () => (await import('./keys.ts')).keys,
  top: async () => (await import('./top.ts')).top,
  completion: async () => (await import('./completion.ts')).completionOf(COMMANDS),
};

const EXIT_CODES = `Exit codes: 0 it did what it was asked for; 1 it could not (a mistake in the file, an address that is taken, a refusal);
2 it was called wrongly; 128 + n it was ended by a second signal n. Commands that call a server have more (\`sluice help run\`, docs/clients.md);
\`run\` passes on the code of the command it ran.
Documentation: docs/configuration.md for every option; each can be set by file, variable (SLUICE_...) and flag.`;

/** Runs `sluice ARGUMENTS`; answers the exit code. */
export async function dispatch(args: readonly string[], world: CliContext): Promise<number> {
  const [name = 'help', ...rest] = args;
  if (name === '--version' || name === '-v' || name === 'version') {
    writeLine(world.stdout, world.version);
    return EXIT.ok;
  }
  if (name === 'help' || name === '--help' || name === '-h') return help(rest[0], world);
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load !== undefined) return (await load()).run(rest, world);
  const guess = suggest(name, Object.keys(COMMANDS));
  writeLine(
    world.stderr,
    `There is no command ${JSON.stringify(name)}.${guess === undefined ? '' : ` Did you mean ${guess}?`} \`sluice help\` lists those there are.`,
  );
  return EXIT.usage;
}

async function help(of: string | undefined, world: CliContext): Promise<number> {
  const load = of !== undefined && Object.hasOwn(COMMANDS, of) ? COMMANDS[of] : undefined;
  if (load !== undefined) return (await load()).run(['--help'], world);
  writeLine(world.stdout, 'Sluice: callers name a group and are held until its limits let them pass.\n');
  for (const each of Object.values(COMMANDS)) {
    const { name, usage, summary } = await each();
    writeLine(world.stdout, `  sluice ${name} ${usage}\n      ${summary}`);
  }
  writeLine(world.stdout, '  sluice help [COMMAND]\n  sluice --version\n');
  writeLine(world.stdout, EXIT_CODES);
  return EXIT.ok;
}
