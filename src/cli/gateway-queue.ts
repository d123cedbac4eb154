import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';
import { configArguments } from './config-flags.ts';
import { serveConfig } from './serve.ts';

/** What twilight-rs/gateway-queue listens on where HOST and PORT are missing; PluralKit's where ADDR is. */
const HOST = '0.0.0.0';
const PORT = '80';
const ADDR = ':8080';

/** `sluice gateway-queue`: the server as a drop-in for twilight-rs/gateway-queue, or PluralKit's: by the variables that those read, or by a file. */
export const gatewayQueueCommand: Command = {
  name: 'gateway-queue',
  usage: '[--variant twilight|pluralkit] [--config FILE] [--path.to.option=value ...]',
  summary: 'holds Discord shards until they may identify; reads HOST, PORT, DISCORD_TOKEN and RUST_LOG, or FILE (docs/gateway-queue.md)',
  async run(args, world) {
    const { config, flags, positionals, help, bare } = configArguments(args, true);
    if (help || positionals.length > 0 || bare.length > 0) {
      writeLine(help ? world.stdout : world.stderr, `Usage: sluice gateway-queue ${this.usage}`);
      return help ? EXIT.ok : EXIT.usage;
    }
    const variant = flags.find(({ name }) => name === 'variant')?.value ?? world.env['SLUICE_GATEWAY_QUEUE_VARIANT'] ?? 'twilight';
    const rest = flags.filter(({ name }) => name !== 'variant');
    const name = config ?? world.env['SLUICE_CONFIG'];
    if (name !== undefined) {
      const own = rest.length === flags.length ? rest : [...rest, { name: 'gatewayQueue.variant', value: variant }];
      return serveConfig({ name, flags: own, world, read: () => readFile(name, 'utf8'), watched: true });
    }
    const text = variant === 'pluralkit' ? asPluralKit(world) : asTwilight(world, variant);
    if (typeof text !== 'string') {
      for (const mistake of text.mistakes) writeLine(world.stderr, mistake);
      return EXIT.failed;
    }
    return serveConfig({ name: 'the variables of sluice gateway-queue', flags: rest, world, read: async () => text, watched: false });
  },
};

type Configuration = string | { readonly mistakes: readonly string[] };

/** The configuration that HOST, PORT, DISCORD_TOKEN and RUST_LOG stand for. */
function asTwilight({ env }: CliContext, variant: string): Configuration {
  const host = nonEmpty(env['HOST']) ?? HOST;
  const port = nonEmpty(env['PORT']) ?? PORT;
  const mistakes: string[] = [];
  if (isIP(host) === 0) mistakes.push(`HOST: ${JSON.stringify(host)} is no IP address. Write one such as 0.0.0.0 or ::1; a name is not looked up.`);
  if (!isPort(port)) mistakes.push(`PORT: ${JSON.stringify(port)} is no port. Write a number from 0 to 65535.`);
  const token = nonEmpty(env['DISCORD_TOKEN']) === undefined ? {} : { token: { env: 'DISCORD_TOKEN' } };
  return mistakes.length > 0
    ? { mistakes }
    : configurationOf(isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`, { variant, ...token }, env['RUST_LOG']);
}

/** The configuration that ADDR and CONCURRENCY stand for. A CONCURRENCY that is no number counts as 1, as it does there. */
function asPluralKit({ env, stderr }: CliContext): Configuration {
  const mistakes: string[] = [];
  const [, host = '', port = ''] = /^(.*):(\d{1,5})$/.exec(nonEmpty(env['ADDR']) ?? ADDR) ?? [];
  const bare = host.replace(/^\[(.*)\]$/, '$1');
  if (!isPort(port) || (bare !== '' && isIP(bare) === 0)) mistakes.push(`ADDR: ${JSON.stringify(env['ADDR'])} is no address. Write :8080 or 127.0.0.1:8080.`);
  const number = nonEmpty(env['CONCURRENCY']) ?? '1';
  const concurrency = /^\d{1,5}$/.test(number) ? Number(number) : 1;
  if (concurrency === 0) mistakes.push('CONCURRENCY: 0 buckets would serve no shard. Write 1 or more.');
  else if (String(concurrency) !== number) writeLine(stderr, `CONCURRENCY: ${JSON.stringify(number)} is no number from 1 to 65536; 1 is taken.`);
  if (mistakes.length > 0) return { mistakes };
  const address = bare === '' ? port : isIP(bare) === 6 ? `[${bare}]:${port}` : `${bare}:${port}`;
  return configurationOf(address, { variant: 'pluralkit', maxConcurrency: concurrency }, env['RUST_LOG']);
}

/** As YAML, of which JSON is a part; flags and variables of Sluice's own stand above it. */
function configurationOf(address: string, gatewayQueue: object, rustLog: string | undefined): string {
  const listen = { api: 'none', grpc: 'none', admin: 'none', proxy: 'none', gatewayQueue: address };
  return JSON.stringify({ listen, gatewayQueue, log: { level: levelOf(rustLog) } });
}

const LEVELS: Readonly<Record<string, string>> = { trace: 'trace', debug: 'debug', info: 'info', warn: 'warn', error: 'error', off: 'silent' };

/** The level of a filter as Rust's loggers read it: what it sets for all targets. */
function levelOf(filter: string | undefined): string {
  const forAll = (filter ?? '').split(',').map((directive) => LEVELS[directive.trim().toLowerCase()]);
  return forAll.findLast((level) => level !== undefined) ?? 'info';
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
}

/** Returns undefined for a variable that is set to nothing: it counts as absent. */
function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
