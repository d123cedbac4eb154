import { type Report, ValueError, type Where } from './errors.ts';
import { rootOptions } from './options.ts';
import { mapOf, type Schema, unknownName } from './schema.ts';
import type { RawEntry, SourceValue } from './source-value.ts';
import { suggest } from './suggest.ts';
import { parseYaml } from './yaml.ts';

/** The environment, as it was handed in. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** One `--path.to.option=value`. */
export interface Flag {
  /** Without the dashes. */
  readonly name: string;
  readonly value: string;
}

/** Variables that are no options: of the commands, and those that Kubernetes makes for a Service named sluice. */
const OTHERS = /^SLUICE_(CONFIG|URL|HEALTH_URL|TOKEN|KEY|PERMIT.*|FENCE.*|GROUP|LEASE|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)$/;

/**
 * How a spelling is compared: variables say GATEWAY_QUEUE for gatewayQueue and LLM_EU for a group llm-eu; flags say
 * names as the file does.
 */
interface Spelling {
  readonly separator: string;
  readonly same: (step: string, name: string) => boolean;
}

const ENVIRONMENT: Spelling = { separator: '_', same: (step, name) => flat(step) === flat(name) };
const FLAGS: Spelling = { separator: '.', same: (step, name) => step === name };

function flat(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** Puts `SLUICE_PATH_TO_OPTION=value` over the values of the file. Empty variables count as absent; unknown ones are reported. */
export function overlayEnvironment(root: SourceValue, env: Variables, report: Report): SourceValue {
  let raw = root;
  for (const [name, value] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!name.startsWith('SLUICE_') || value === undefined || value === '' || OTHERS.test(name)) continue;
    const where: Where = { source: `environment ${name}`, line: undefined, column: undefined };
    raw = overlay(raw, { steps: name.slice('SLUICE_'.length).split('_'), value, where }, ENVIRONMENT, report);
  }
  return raw;
}

/** Puts flags over the values of file and environment, in their order: the last one counts. */
export function overlayFlags(root: SourceValue, flags: readonly Flag[], report: Report): SourceValue {
  let raw = root;
  for (const { name, value } of flags) {
    const where: Where = { source: `flag --${name}`, line: undefined, column: undefined };
    raw = overlay(raw, { steps: name.split('.'), value, where }, FLAGS, report);
  }
  return raw;
}

interface Setting {
  readonly steps: readonly string[];
  readonly value: string;
  readonly where: Where;
}

function overlay(root: SourceValue, setting: Setting, spelling: Spelling, report: Report): SourceValue {
  const { where } = setting;
  const value = parseValue(setting, report);
  if (value === undefined) return root;
  const placed = place(root, rootOptions, setting.steps, value, spelling);
  if (placed !== undefined) return placed;
  const [first = ''] = setting.steps;
  const known = [...rootOptions.fields.keys()];
  const found = known.find((name) => spelling.same(first, name)) ?? suggest(first, known);
  const remedy =
    found === undefined
      ? 'See docs/configuration.md for the names of all options.'
      : `Look under ${found} in docs/configuration.md; groups and keys must stand in the file to be changed one by one.`;
  report(where, [], found === undefined ? unknownName(setting.steps.join(spelling.separator), known) : new ValueError('this names no option', remedy));
  return root;
}

/** A value is read as YAML, so that lists and maps can be given too: `[acquire, read]`, `{ default: 5s }`. */
function parseValue(setting: Setting, report: Report): SourceValue | undefined {
  let failed = false;
  const raw = parseYaml(setting.value, setting.where.source, (_where, path, fault) => {
    if (!failed) report(setting.where, path, fault);
    failed = true;
  });
  return failed || raw === undefined ? undefined : moved(raw, setting.where);
}

/** The same value, said to stand at `where`: a variable has no lines. */
function moved(raw: SourceValue, where: Where): SourceValue {
  if (raw.kind === 'list') return { ...raw, where, items: raw.items.map((item) => moved(item, where)) };
  if (raw.kind === 'map') return { ...raw, where, entries: raw.entries.map((entry) => ({ name: entry.name, where, value: moved(entry.value, where) })) };
  return { ...raw, where };
}

/** `raw` with `value` at the end of `steps`; undefined: no option is spelled so. A name may take several steps (GATEWAY_QUEUE), the longest first. */
function place(
  raw: SourceValue | undefined,
  schema: Schema<unknown>,
  steps: readonly string[],
  value: SourceValue,
  spelling: Spelling,
): SourceValue | undefined {
  if (steps.length === 0) return value;
  if (schema.kind === 'leaf' || schema.kind === 'refused') return undefined;
  for (let count = steps.length; count > 0; count--) {
    const step = steps.slice(0, count).join(spelling.separator);
    const rest = steps.slice(count);
    if (step === '') continue;
    const placed = schema.kind === 'list' ? placeItem(raw, schema.item, step, rest, value, spelling) : placeEntry(raw, schema, step, rest, value, spelling);
    if (placed !== undefined) return placed;
  }
  return undefined;
}

type Named = Extract<Schema<unknown>, { kind: 'struct' | 'dictionary' }>;

function placeEntry(
  raw: SourceValue | undefined,
  schema: Named,
  step: string,
  rest: readonly string[],
  value: SourceValue,
  spelling: Spelling,
): SourceValue | undefined {
  const short = schema.kind === 'struct' ? schema.short : undefined;
  const map = (raw && mapOf(raw, short)) ?? { kind: 'map', where: raw?.where ?? value.where, entries: [] };
  const written = map.entries.map((entry) => entry.name).filter((name) => spelling.same(step, name));
  const names = schema.kind === 'struct' ? [...schema.fields.keys()].filter((name) => spelling.same(step, name)) : written;
  // A new group by flag is spelled out; a variable cannot say upper and lower case.
  const coined = names.length === 0 && schema.kind === 'dictionary' && spelling === FLAGS && !step.includes('.');
  const [name] = coined ? [step] : names;
  if (name === undefined || names.length > 1) return undefined;
  const inner = schema.kind === 'struct' ? schema.fields.get(name)?.schema : schema.value;
  const placed = inner && place(map.entries.find((entry) => entry.name === name)?.value, inner, rest, value, spelling);
  if (placed === undefined) return undefined;
  const entry: RawEntry = {
    name,
    where: rest.length === 0 ? value.where : (map.entries.find((each) => each.name === name)?.where ?? value.where),
    value: placed,
  };
  const others = map.entries.map((each) => (each.name === name ? entry : each));
  return { ...map, entries: written.includes(name) ? others : [...others, entry] };
}

/** Items are named by their place from 0, or by their `name`. */
function placeItem(
  raw: SourceValue | undefined,
  item: Schema<unknown>,
  step: string,
  rest: readonly string[],
  value: SourceValue,
  spelling: Spelling,
): SourceValue | undefined {
  if (raw?.kind !== 'list') return undefined;
  const named = raw.items.findIndex(
    (each) =>
      each.kind === 'map' && each.entries.some((entry) => entry.name === 'name' && entry.value.kind === 'scalar' && spelling.same(step, entry.value.text)),
  );
  const index = named >= 0 ? named : /^\d{1,5}$/.test(step) ? Number(step) : -1;
  const old = raw.items[index];
  const placed = old && place(old, item, rest, value, spelling);
  return placed && { ...raw, items: raw.items.map((each, at) => (at === index ? placed : each)) };
}
