import { suggest } from '../config/suggest.ts';
import { type CliContext, EXIT, writeLine } from './command.ts';
import { COMMANDS } from './table.ts';

const EXIT_CODES = `Exit codes: 0 it did what it was asked for; 1 it could not (a mistake in the file, an address that is taken, a refusal);
2 it was called wrongly; 128 + n it was ended by a second signal n. Commands that ask a server have more (\`sluice help run\`, docs/clients.md);
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
