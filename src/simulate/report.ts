import type { LimitSpec } from '../core/group.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import type { SimulationResult } from './simulation.ts';
import type { Outcomes } from './statistics.ts';

/** Keys of a group that a report shows, those with most arrivals first. */
const KEYS_SHOWN = 10;

/** Waits of callers that are alike, and what else became of them; times in milliseconds, null where none was admitted. */
export interface OutcomeReport {
  readonly arrived: number;
  readonly admitted: number;
  readonly waitMs: { readonly p50: number | null; readonly p90: number | null; readonly p99: number | null };
  readonly refused: Readonly<Record<string, number>>;
}

/** What became of one group under one configuration. */
export interface GroupReport {
  readonly name: string;
  /** The group's own classes that callers had; '' has all others. */
  readonly classes: readonly ({ readonly class: string } & OutcomeReport)[];
  /** Those with most arrivals. */
  readonly keys: readonly ({ readonly key: string } & OutcomeReport)[];
  /** Keys in all. */
  readonly keysTotal: number;
  /** `share`: used, of what it allows over the span; of a limit for each key, the fullest. */
  readonly limits: readonly { readonly name: string; readonly kind: string; readonly share: number; readonly key?: string }[];
}

/** What one configuration made of a trace, as `--json` writes it. */
export interface SimulationReport {
  readonly arrived: number;
  readonly admitted: number;
  readonly refused: number;
  readonly spanMs: number;
  /** Requests of groups that are not in the configuration, by group. */
  readonly unknownGroups: Readonly<Record<string, number>>;
  /** Groups that have arrivals, in the order of the file. */
  readonly groups: readonly GroupReport[];
}

/** Makes the report of a result. */
export function reportOf(result: SimulationResult): SimulationReport {
  const { arrived, admitted, refused, span, unknown } = result;
  const groups = result.groups
    .map((group): GroupReport => {
      const classes = [...group.classes].filter(([, each]) => each.arrived > 0).map(([name, each]) => ({ class: name, ...outcomeOf(each) }));
      const keys = [...group.keys].sort(([, a], [, b]) => b.arrived - a.arrived).slice(0, KEYS_SHOWN);
      return {
        name: group.name,
        classes,
        keys: keys.map(([key, each]) => ({ key, ...outcomeOf(each) })),
        keysTotal: group.keys.size,
        limits: group.limits.map((uses) => limitOf(uses.limit, uses.fullest(span))),
      };
    })
    .filter(({ classes, limits }) => classes.length > 0 || limits.some(({ share }) => share > 0));
  return { arrived, admitted, refused, spanMs: span / MILLISECOND, unknownGroups: Object.fromEntries(unknown), groups };
}

function outcomeOf(outcomes: Outcomes): OutcomeReport {
  const { arrived, waits, refused } = outcomes;
  const part = (of: number): number | null => ms(waits.percentile(of));
  return { arrived, admitted: waits.count, waitMs: { p50: part(0.5), p90: part(0.9), p99: part(0.99) }, refused: Object.fromEntries(refused) };
}

function ms(wait: Micros | undefined): number | null {
  return wait === undefined ? null : wait / MILLISECOND;
}

function limitOf({ name, quota, scope }: LimitSpec, { key, share }: { readonly key: string; readonly share: number }): GroupReport['limits'][number] {
  return { name, kind: quota.kind, share, ...(scope === 'key' && key !== '' ? { key } : {}) };
}

/** Rows of a table about one or two reports; where there are two, each cell says what it was and what it becomes. */
export function tableOf(
  before: SimulationReport,
  after?: SimulationReport,
): { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] } {
  const head = ['GROUP', 'CLASS OR KEY', 'ARRIVED', 'ADMITTED', 'WAIT P50', 'P90', 'P99', 'REFUSED'];
  const rows: string[][] = [];
  const names = [...new Set([before, after ?? before].flatMap(({ groups }) => groups.map(({ name }) => name)))];
  for (const name of names) {
    const [was, is] = [before, after].map((report) => report?.groups.find((group) => group.name === name));
    for (const label of labelsOf(was, is)) {
      const [a, b] = [was && rowOf(was, label), is && rowOf(is, label)];
      rows.push([name, label.text, ...(after === undefined ? cellsOf(a) : cellsOf(a).map((cell, at) => change(cell, cellsOf(b)[at] ?? '')))]);
    }
  }
  return { head, rows };
}

/** Rows about the use of each limit. */
export function limitTableOf(
  before: SimulationReport,
  after?: SimulationReport,
): { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] } {
  const rows: string[][] = [];
  const all = new Set([before, after ?? before].flatMap(({ groups }) => groups.flatMap(({ name, limits }) => limits.map((limit) => `${name}\n${limit.name}`))));
  for (const each of all) {
    const [group = '', name = ''] = each.split('\n');
    const [was, is] = [before, after].map((report) => report?.groups.find((of) => of.name === group)?.limits.find((limit) => limit.name === name));
    const used = (limit: typeof was): string => (limit === undefined ? '-' : `${percent(limit.share)}${limit.key === undefined ? '' : ` (${limit.key})`}`);
    rows.push([group, name, was?.kind ?? is?.kind ?? '', after === undefined ? used(was) : change(used(was), used(is))]);
  }
  return { head: ['GROUP', 'LIMIT', 'KIND', 'USED'], rows };
}

type Label = { readonly text: string } & ({ readonly class: string } | { readonly key: string });

function labelsOf(...groups: readonly (GroupReport | undefined)[]): readonly Label[] {
  const classes = new Set(groups.flatMap((group) => group?.classes.map((each) => each.class) ?? []));
  const keys = new Set(groups.flatMap((group) => group?.keys.map((each) => each.key) ?? []));
  return [...[...classes].map((name) => ({ text: name === '' ? '-' : name, class: name })), ...[...keys].map((key) => ({ text: `key ${key}`, key }))];
}

function rowOf(group: GroupReport, label: Label): OutcomeReport | undefined {
  return 'class' in label ? group.classes.find((each) => each.class === label.class) : group.keys.find((each) => each.key === label.key);
}

function cellsOf(row: OutcomeReport | undefined): readonly string[] {
  if (row === undefined) return ['-', '-', '-', '-', '-', '-'];
  const { p50, p90, p99 } = row.waitMs;
  const refused = Object.entries(row.refused).sort(([, a], [, b]) => b - a);
  return [String(row.arrived), String(row.admitted), wait(p50), wait(p90), wait(p99), refused.map(([reason, count]) => `${count} ${reason}`).join(', ') || '0'];
}

function change(was: string, is: string): string {
  return was === is ? was : `${was} > ${is}`;
}

/** A wait with three figures at most. */
function wait(waitMs: number | null): string {
  if (waitMs === null) return '-';
  if (waitMs < 0.5) return '0';
  return waitMs < 1_000 ? `${Math.round(waitMs)}ms` : waitMs < 100_000 ? `${(waitMs / 1_000).toFixed(1)}s` : `${Math.round(waitMs / 1_000)}s`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}
