import type { GroupSettings } from '../admission/admission.ts';
import { checkGroups } from './check-groups.ts';
import { checkRoutes } from './check-routes.ts';
import { compileGroups } from './compile.ts';
import { checkUnits } from './cost-units.ts';
import { digestsOf } from './digest.ts';
import { checkEnvoy } from './envoy-options.ts';
import { type ConfigError, collectErrors, type Path, type Report, ValueError } from './errors.ts';
import { gatewayQueueGroup } from './gateway-queue-options.ts';
import { checkAdmin } from './listen-options.ts';
import { type Options, rootOptions } from './options.ts';
import { type Flag, overlayEnvironment, overlayFlags, type Variables } from './overlay.ts';
import type { ReportAt, Unverified } from './schema.ts';
import { entryOf, locate, type SourceValue } from './source-value.ts';
import { findDoubts } from './warnings.ts';
import { parseYaml } from './yaml.ts';

/** A whole configuration without a mistake in it; times in microseconds, sizes in bytes. */
export interface Config extends Omit<Options, 'groups'> {
  readonly groups: readonly GroupSettings[];
  /** One digest for each group, in their order ({@link digestsOf}). */
  readonly digests: string;
}

/** What a configuration is read from; nothing else is looked at. */
export interface ConfigSources {
  /** The file's text; '' is an empty file. */
  readonly text: string;
  /** The file's name, for messages. */
  readonly name: string;
  /** Every variable of the environment; those that begin with SLUICE_ count. */
  readonly env: Variables;
  /** Flags of the form `--path.to.option=value`. */
  readonly flags: readonly Flag[];
}

/** A configuration, or everything that is wrong with it. */
export type Loaded = { readonly kind: 'config'; readonly config: Config } | { readonly kind: 'mistakes'; readonly mistakes: readonly ConfigError[] };

/** Reported only of a file without other mistakes: what is misspelt may have been the groups. */
const NO_GROUPS = new ValueError('there are no groups', 'Write at least one; if no groups are wanted, set allowEmpty: true.');

/** Reads a configuration: flags before environment before file before defaults. Every mistake is reported at once, in the order of the file; never throws. */
export function loadConfig(sources: ConfigSources): Loaded {
  const { mistakes, report } = collectErrors();
  const file = parseYaml(sources.text, sources.name, report);
  const nothing: SourceValue = { kind: 'map', entries: [], where: { source: sources.name, line: 1, column: 1 } };
  const withEnv = overlayEnvironment(file ?? nothing, sources.env, report);
  const raw = overlayFlags(withEnv, sources.flags, report);
  // A file that is no YAML has no groups: mistakes of the rest about them would mislead.
  const options = file === undefined ? undefined : rootOptions.read(raw, [], report);
  if (options !== undefined) checkWhole(options, raw, report);
  if (mistakes.length === 0 && options?.groups.size === 0 && !options.allowEmpty && !queuesGateways(options))
    report(locate(raw, ['groups']), ['groups'], NO_GROUPS);
  if (options === undefined || mistakes.length > 0) return { kind: 'mistakes', mistakes: sorted(mistakes) };
  const { groups, ...rest } = options;
  const compiled = [...compileGroups(groups, options), ...(queuesGateways(options) ? [gatewayQueueGroup(options.gatewayQueue)] : [])];
  return { kind: 'config', config: { ...rest, groups: compiled, digests: digestsOf(compiled) } };
}

/** What a configuration without a mistake may not mean, in the order of the file; none of one that has mistakes. Reads the sources anew. */
export function loadWarnings(sources: ConfigSources): readonly ConfigError[] {
  const { mistakes, report } = collectErrors();
  const file = parseYaml(sources.text, sources.name, report);
  if (file === undefined) return [];
  const raw = overlayFlags(overlayEnvironment(file, sources.env, report), sources.flags, report);
  const options = rootOptions.read(raw, [], report);
  if (options === undefined || mistakes.length > 0) return [];
  const isWritten = (path: Path): boolean => {
    let at: SourceValue | undefined = raw;
    for (const step of path) at = at?.kind === 'map' ? entryOf(at, String(step)) : undefined;
    return at !== undefined;
  };
  findDoubts(options, isWritten, (path, doubt) => report(locate(raw, path), path, doubt));
  return sorted(mistakes);
}

function queuesGateways({ listen }: Pick<Options, 'listen'>): boolean {
  return listen.gatewayQueue.address !== 'none';
}

function checkWhole(options: Unverified<Options>, raw: SourceValue, report: Report): void {
  const reportAt =
    (above: Path): ReportAt =>
    (below, fault) =>
      report(locate(raw, [...above, ...below]), [...above, ...below], fault);
  const { groups, bounds, listen, auth } = options;
  checkAdmin(listen?.admin, (auth?.keys ?? []).length > 0, reportAt(['listen', 'admin']));
  if (groups === undefined) return;
  checkGatewayQueue(options, raw.kind === 'map' && entryOf(raw, 'gatewayQueue') !== undefined, reportAt([]));
  checkGroups(groups, reportAt(['groups']));
  checkUnits(groups, reportAt(['groups']));
  if (bounds?.groups !== undefined && groups.size > bounds.groups) {
    reportAt(['groups'])(
      [],
      new ValueError(`${groups.size} groups are more than bounds.groups allows (${bounds.groups})`, 'Raise bounds.groups, or split the file.'),
    );
  }
  checkKeys(options, reportAt(['auth', 'keys']));
  checkRoutes(options, reportAt([]));
  checkEnvoy(options, reportAt(['envoy']));
}

/** The group of the gateway queue is the server's own. */
function checkGatewayQueue({ listen, gatewayQueue, groups }: Unverified<Options>, isWritten: boolean, report: ReportAt): void {
  const name = gatewayQueue?.group;
  const isOff = listen?.gatewayQueue?.address === 'none';
  if (isOff && isWritten)
    report(['gatewayQueue'], new ValueError('a gateway queue without a listener', 'Give listen.gatewayQueue a port, or remove gatewayQueue.'));
  if (isOff || name === undefined || groups?.has(name) !== true) return;
  report(
    ['groups', name],
    new ValueError(`the group ${JSON.stringify(name)} is made by listen.gatewayQueue`, 'Give this one another name, or the other by gatewayQueue.group.'),
  );
}

/** Groups and classes that a credential names must exist: a slip here would lock a caller out, or let one in later. */
function checkKeys({ auth, groups, listen, gatewayQueue }: Unverified<Options>, report: ReportAt): void {
  const made = listen?.gatewayQueue?.address === 'none' ? undefined : gatewayQueue?.group;
  for (const [index, key] of (auth?.keys ?? []).entries()) {
    const named = (key?.groups ?? []).filter((name) => name !== undefined);
    for (const [at, name] of (key?.groups ?? []).entries()) {
      if (name !== undefined && name !== made && groups?.has(name) === false)
        report([index, 'groups', at], new ValueError(`there is no group ${JSON.stringify(name)}`, 'Define it under groups, or take it out of this key.'));
    }
    const reachable = key?.groups === undefined ? [...(groups?.keys() ?? [])] : named;
    for (const [at, name] of (key?.classes ?? []).entries()) {
      const known = reachable.some((group) => name !== undefined && groups?.get(group)?.priority?.classes?.has(name));
      if (name !== undefined && !known)
        report(
          [index, 'classes', at],
          new ValueError(`none of its groups has a class ${JSON.stringify(name)}`, 'Name it under priority.classes of a group, or take it out of this key.'),
        );
    }
  }
}

function sorted(mistakes: readonly ConfigError[]): readonly ConfigError[] {
  return [...mistakes].sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}
