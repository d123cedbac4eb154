import { TTL_MAX } from '../core/bounds.ts';
import { limitsOver, requiredUnits, unitsOf, unknownUnit } from './cost-units.ts';
import { ValueError } from './errors.ts';
import { className, type GroupOptions, groupName } from './group-options.ts';
import type { Listener } from './listen-options.ts';
import { duration, oneOf, string } from './scalars.ts';
import { list, option, optional, type ReportAt, required, type ScalarSchema, scalar, struct, type Unverified, type ValueOf } from './schema.ts';
import { formatSourceValue, type SourceValue } from './source-value.ts';
import { suggest } from './suggest.ts';

const ENTRIES_MAX = 32;
const ENTRY = '[\\x21-\\x7e]{1,256}';
const ENTRY_SOURCE = new RegExp(`^entry (${ENTRY})$`);

const entryName = string({ unit: 'entry name', pattern: new RegExp(`^${ENTRY}$`), rule: 'Characters that print, no spaces, at most 256.', lengthMax: 256 });

const entry = struct(
  {
    key: required(entryName, 'Its name: generic_key, remote_address, or the `descriptor_key` of the action.'),
    value: optional(
      string({ unit: 'text', pattern: /^\P{Cc}+$/u, rule: 'Text without control characters, at most 1024 characters.', lengthMax: 1024 }),
      'The value it must have.',
      'any value',
    ),
  },
  { short: 'key' },
);

const unitName = string({
  unit: 'unit name',
  pattern: /^(?!constructor$)[a-z][a-z0-9_-]*$/,
  rule: 'Lower-case letters, digits, "_" and "-", a letter first, at most 64.',
  lengthMax: 64,
});

/** The key of a descriptor inside its group. */
export type DescriptorKey = 'open' | 'none' | { readonly entry: string };

const descriptorKey: ScalarSchema<DescriptorKey> = scalar<DescriptorKey>({
  unit: 'source',
  bounds: 'open, none, entry NAME',
  json: { type: 'string', pattern: `^(open|none|entry ${ENTRY})$` },
  read: (raw) => {
    const said = textOf(raw);
    if (said === 'open' || said === 'none') return said;
    const [, name] = ENTRY_SOURCE.exec(said) ?? [];
    return name === undefined
      ? new ValueError(`${formatSourceValue(raw)} names no part of a descriptor`, 'Write open, none, or entry remote_address.')
      : { entry: name };
  },
});

/** The class of a descriptor: the same for all, or the value of an entry. */
export type DescriptorClass = { readonly entry: string } | { readonly name: string };

const descriptorClass: ScalarSchema<DescriptorClass> = scalar<DescriptorClass>({
  unit: 'source',
  bounds: 'entry NAME, or a class',
  json: { type: 'string', maxLength: 264 },
  read: (raw) => {
    const [, name] = ENTRY_SOURCE.exec(textOf(raw)) ?? [];
    if (name !== undefined) return { entry: name };
    const found = className.read(raw, [], () => {});
    return found === undefined
      ? new ValueError(`${formatSourceValue(raw)} is not a class, nor says where it is`, 'Write entry tier, or the name of a class.')
      : { name: found };
  },
});

const descriptor = struct({
  domain: optional(entryName, 'The `domain` of the rate limit filter.', 'any domain'),
  entries: required(list(entry, ENTRIES_MAX), 'All entries of a descriptor, in its order; the first item that fits takes the descriptor.'),
  group: required(groupName, 'The group whose limits count; without `concurrency` there and above, since Envoy does not report when a request ends.'),
  key: option(
    descriptorKey,
    'open',
    'The key inside the group: the values of the entries that have none here, joined by |; or the value of one; or none. One that is no key counts by its hash.',
  ),
  class: optional(descriptorClass, 'The class of priority; one that the group does not have counts as none.', "the group's default"),
  unit: option(unitName, 'requests', 'What `hits_addend` counts.'),
  ttl: optional(duration({ min: 0, max: TTL_MAX }), 'Longest wait; never past the deadline of the call less 50 ms.', "the group's ttl.default"),
});

/** Envoy's rate limit service. */
export const envoyOptions = struct({
  unmatched: option(oneOf('allow', 'refuse'), 'allow', 'What becomes of a request with a descriptor that no item fits.'),
  rateLimitFields: option(
    oneOf('always', 'refused', 'never'),
    'always',
    'When Envoy is given the RateLimit fields for its answers; refused: only of requests that do not pass. Those get Retry-After in any case.',
  ),
  descriptors: required(list(descriptor, 10_000), 'Which descriptors are charged to which groups.'),
});

/** The rate limit service as read. */
export type EnvoyOptions = ValueOf<typeof envoyOptions>;

type DescriptorOptions = EnvoyOptions['descriptors'][number];

/** The parts of a configuration that the rate limit service is made of. */
interface Enclosing {
  readonly envoy?: EnvoyOptions | undefined;
  readonly listen: { readonly grpc: Pick<Listener, 'address'> };
  readonly groups: ReadonlyMap<string, GroupOptions>;
}

/** Reports items of `envoy.descriptors` that name what does not exist, that never fit, or whose group counts requests under way. */
export function checkEnvoy({ envoy, listen, groups }: Unverified<Enclosing>, report: ReportAt): void {
  if (envoy === undefined) return;
  if (listen?.grpc?.address === 'none') report([], new ValueError('the rate limit service needs a listener', 'Give listen.grpc a port, or remove envoy.'));
  const descriptors = envoy.descriptors ?? [];
  const earlier = new Map<string, { readonly index: number; readonly item: Unverified<DescriptorOptions> }[]>();
  for (const [index, item] of descriptors.entries()) {
    if (item === undefined) continue;
    const reportItem: ReportAt = (below, fault) => report(['descriptors', index, ...below], fault);
    checkDescriptor(item, groups, reportItem);
    const shape = JSON.stringify(item.entries?.map((each) => each?.key));
    const alike = earlier.get(shape) ?? [];
    const before = alike.find((other) => takesAll(other.item, item));
    if (before !== undefined)
      reportItem(['entries'], new ValueError(`descriptors[${before.index}] takes all of these before`, 'Put the item with more values first, or remove one.'));
    earlier.set(shape, [...alike, { index, item }]);
  }
}

function checkDescriptor(item: Unverified<DescriptorOptions>, groups: Unverified<Enclosing>['groups'], report: ReportAt): void {
  const { entries, group, unit } = item;
  if (entries?.length === 0) report(['entries'], new ValueError('a descriptor has at least one entry', 'Write them in the order of the actions of the route.'));
  for (const name of ['key', 'class'] as const) {
    const source = item[name];
    if (typeof source !== 'object' || !('entry' in source) || source.entry === undefined || entries === undefined) continue;
    if (!entries.some((each) => each?.key === source.entry))
      report([name], new ValueError(`entries has no ${JSON.stringify(source.entry)}`, `Name one of ${entries.map((each) => each?.key ?? '?').join(', ')}.`));
  }
  if (group === undefined || groups === undefined) return;
  if (!groups.has(group)) {
    const guess = suggest(group, [...groups.keys()]);
    report(
      ['group'],
      new ValueError(`there is no group ${JSON.stringify(group)}`, guess === undefined ? 'Define it, or name one there is.' : `Did you mean ${guess}?`),
    );
    return;
  }
  const units = unitsOf(groups, group);
  const uncounted = unit !== undefined && units !== undefined ? unknownUnit(group, unit, units) : undefined;
  if (uncounted !== undefined) report(['unit'], uncounted);
  // Such a request is malformed: to Envoy a failure of the service, which lets the request pass by default.
  const unnamed = [...requiredUnits(groups, group)].find((each) => each !== unit);
  if (unnamed !== undefined)
    report(['unit'], new ValueError(`the group ${group} demands a cost in ${unnamed}`, `Take unit: ${unnamed}, or give costs.${unnamed} a default there.`));
  const held = limitsOver(groups, group)?.find(({ concurrency }) => concurrency !== undefined);
  if (held !== undefined) {
    const remedy = 'Name a group of rates, spacings and windows; where requests hold slots, take listen.proxy or Acquire.';
    report(['group'], new ValueError(`limit ${held.name} counts what is under way, and Envoy does not report when a request ends`, remedy));
  }
  checkClass(item, groups.get(group), report);
}

function checkClass({ group, class: named }: Unverified<DescriptorOptions>, options: Unverified<GroupOptions> | undefined, report: ReportAt): void {
  const classes = options?.priority?.classes;
  if (named === undefined || classes === undefined) return;
  if (classes.size === 0) report(['class'], new ValueError(`the group ${group} has no classes`, 'Name them under its priority.classes, or remove class.'));
  else if ('name' in named && named.name !== undefined && !classes.has(named.name))
    report(['class'], new ValueError(`there is no class ${JSON.stringify(named.name)}`, `Name one of ${[...classes.keys()].join(', ')}.`));
}

/** Whether every descriptor that fits `later`, of the same entries by name, fits `first`. */
function takesAll(first: Unverified<DescriptorOptions>, later: Unverified<DescriptorOptions>): boolean {
  if (first.domain !== undefined && first.domain !== later.domain) return false;
  return (first.entries ?? []).every((each, index) => each?.value === undefined || each.value === later.entries?.[index]?.value);
}

function textOf(raw: SourceValue): string {
  return raw.kind === 'scalar' && typeof raw.value === 'string' ? raw.value : '';
}
