import { parseArgs } from 'node:util';
import type { Flag } from '../config/overlay.ts';

/** Arguments of a command that reads the configuration. */
export interface ConfigArguments {
  /** `--config FILE`; undefined: not given. */
  readonly config: string | undefined;
  /** Every other flag: options of the configuration by path. */
  readonly flags: readonly Flag[];
  /** What is no flag, in order. */
  readonly positionals: readonly string[];
  readonly help: boolean;
  /** Flags that have no value, which every option needs. */
  readonly bare: readonly string[];
}

/**
 * Reads `--path.to.option=value` and `--path.to.option value` beside `--config FILE` and `--help`. Which options exist is
 * the schema's matter. The value may stand apart only where the command takes no arguments of its own (`apart`).
 */
export function configArguments(args: readonly string[], apart: boolean): ConfigArguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: { config: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const flags: Flag[] = [];
  const positionals: string[] = [];
  const bare: string[] = [];
  let config: string | undefined;
  let help = false;
  let pending: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional' && pending !== undefined) {
      flags.push({ name: pending, value: token.value });
      pending = undefined;
      continue;
    }
    if (pending !== undefined) bare.push(pending);
    pending = undefined;
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    if (token.name === 'help') help = true;
    else if (token.name === 'config' && token.value !== undefined) config = token.value;
    else if (token.value !== undefined) flags.push({ name: token.name, value: token.value });
    else if (apart) pending = token.name;
    else bare.push(token.name);
  }
  if (pending !== undefined) bare.push(pending);
  return { config, flags, positionals, help, bare };
}
