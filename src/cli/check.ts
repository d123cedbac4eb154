import { readFile } from 'node:fs/promises';
import { formatError, formatWarning } from '../config/errors.ts';
import { type Config, loadConfig, loadWarnings } from '../config/load.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { configArguments } from './config-flags.ts';

/**
 * `sluice check [FILE]`: writes every mistake with its line to stderr, or warnings there and a summary of the groups to stdout. The environment counts as
 * for `serve`, and so does the file that is read when none is named.
 */
export const check: Command = {
  name: 'check',
  usage: '[FILE] [--path.to.option=value ...]',
  summary:
    'reports every mistake in FILE (SLUICE_CONFIG, or sluice.yaml here), with its line, and warns of what it may not mean; exit 0 when there is no mistake',
  async run(args, world) {
    const { config, flags, positionals, help, bare } = configArguments(args, false);
    const [name = config ?? world.env['SLUICE_CONFIG'] ?? 'sluice.yaml', ...more] = positionals;
    if (help || more.length > 0 || bare.length > 0) {
      writeLine(help ? world.stdout : world.stderr, `Usage: sluice check ${this.usage}`);
      return help ? EXIT.ok : EXIT.usage;
    }
    const text = await readFile(name, 'utf8').catch((cause: Error) => cause);
    if (text instanceof Error) {
      writeLine(world.stderr, `${name}: cannot be read: ${text.message}`);
      return EXIT.failed;
    }
    const loaded = loadConfig({ text, name, env: world.env, flags });
    if (loaded.kind === 'config') {
      for (const warning of loadWarnings({ text, name, env: world.env, flags })) writeLine(world.stderr, formatWarning(warning));
      return summarize(name, loaded.config, world);
    }
    for (const mistake of loaded.mistakes) writeLine(world.stderr, formatError(mistake));
    writeLine(world.stderr, loaded.mistakes.length === 1 ? '1 mistake' : `${loaded.mistakes.length} mistakes`);
    return EXIT.failed;
  },
};

function summarize(name: string, config: Config, world: CliContext): number {
  const { groups, revision } = config;
  writeLine(world.stdout, `${name} is good: revision ${revision}, ${groups.length} ${groups.length === 1 ? 'group' : 'groups'}`);
  for (const { spec } of groups) {
    const limits = spec.limits.map((limit) => `${limit.name} (${limit.quota.kind}${limit.scope === 'key' ? ' per key' : ''})`);
    const above = spec.parent === undefined ? '' : `under ${spec.parent.group}`;
    const shadow = spec.enforce ? '' : 'shadow';
    writeLine(
      world.stdout,
      `  ${spec.name}: ${[limits.join(', ') || (above === '' ? 'no limits' : ''), above, shadow].filter((part) => part !== '').join('; ')}`,
    );
  }
  return EXIT.ok;
}
