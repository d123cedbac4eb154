import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { REFUSAL_STATUS } from '../src/api/refusal-status.ts';
import { dashboard } from '../tools/dashboard.ts';
import { registeredMetrics } from './support/fakes/metrics.ts';

/* The files of examples/monitoring name no metric, label or reason that the code does not have. */

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<'summary' | 'description' | 'runbook', string>>;
}

interface Target {
  readonly expr: string;
  readonly legendFormat: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'examples/monitoring');
const rules = (parse(readFileSync(join(folder, 'alerts.yaml'), 'utf8')) as { groups: readonly { rules: readonly Rule[] }[] }).groups.flatMap(
  (each) => each.rules,
);
const targets = findTargets(dashboard());

/** Labels of each series that a scrape shows, those of the scrape itself among them. */
const series = new Map<string, readonly string[]>([['up', ['job', 'instance']]]);
for (const { name, type, labelNames } of registeredMetrics()) {
  const labels = [...labelNames, 'job', 'instance'];
  if (type !== 'histogram') series.set(name, labels);
  else
    for (const [part, more] of [
      ['_bucket', ['le']],
      ['_sum', []],
      ['_count', []],
    ] as const)
      series.set(name + part, [...labels, ...more]);
}

/** Words of PromQL that our queries use beside the names of metrics and labels. */
const FUNCTIONS = new Set('sum max by and rate increase changes histogram_quantile label_values'.split(' '));

/** Returns what a query names that is not there. */
function unknownIn(expr: string): readonly string[] {
  const wrong: string[] = [];
  const ofQuery = new Set<string>();
  const bare = expr.replace(/\[[^\]]*\]/g, ' ').replace(/([A-Za-z_]\w*)?\s*\{([^}]*)\}/g, (_, name: string, matchers: string) => {
    const labels = series.get(name);
    if (labels === undefined) wrong.push(name);
    for (const label of labels ?? []) ofQuery.add(label);
    for (const [, label = ''] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"/g)) if (labels?.includes(label) === false) wrong.push(`${name}{${label}}`);
    return ' ';
  });
  const rest = bare.replace(/\bby\s*\([^)]*\)/g, ' ').replace(/label_values\(([^,]*),[^)]*\)/g, '$1');
  for (const [name] of rest.matchAll(/[A-Za-z_]\w*/g)) {
    if (FUNCTIONS.has(name)) continue;
    const labels = series.get(name);
    if (labels === undefined) wrong.push(name);
    for (const label of labels ?? []) ofQuery.add(label);
  }
  const grouped = [...expr.matchAll(/\bby\s*\(([^)]*)\)|label_values\([^,]*,([^)]*)\)/g)].flatMap(([, by, of]) =>
    (by ?? of ?? '').split(',').map((label) => label.trim()),
  );
  return [...wrong, ...grouped.filter((label) => !ofQuery.has(label)).map((label) => `by (${label})`)];
}

/** Returns the labels that a text shows and its query does not leave. */
function lostIn(expr: string, text: string, pattern: RegExp): readonly string[] {
  const grouped = [...expr.matchAll(/\bby\s*\(([^)]*)\)/g)].flatMap(([, by = '']) => by.split(',').map((label) => label.trim()));
  const [first = ''] = /\b(sluice|process|nodejs)_\w+|\bup\b/.exec(expr) ?? [];
  const left = grouped.length > 0 ? grouped : (series.get(first) ?? []);
  return [...text.matchAll(pattern)].map(([, label = '']) => label).filter((label) => !left.includes(label));
}

function findTargets(value: unknown): readonly Target[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('expr' in value && 'legendFormat' in value) return [value as Target];
  return Object.values(value).flatMap(findTargets);
}

test('a query that names a metric, a label or a grouping that is not there is found out', () => {
  expect(unknownIn('rate(sluice_nowhere_total[5m]) > 0')).toEqual(['sluice_nowhere_total']);
  expect(unknownIn('sum by (key) (rate(sluice_admitted_total{tenant="a"}[5m]))')).toEqual(['sluice_admitted_total{tenant}', 'by (key)']);
  expect(unknownIn('sum by (group) (rate(sluice_admitted_total{group=~"$group"}[5m])) == 0')).toEqual([]);
  expect(lostIn('sum by (group) (sluice_leases)', '{{group}} {{key}}', /\{\{(\w+)\}\}/g)).toEqual(['key']);
});

describe('alerts.yaml', () => {
  test('each rule names metrics and labels that are there, and shows labels that its query leaves', () => {
    const wrong = rules.flatMap(({ alert, expr, annotations: { summary, description } }) =>
      [...unknownIn(expr), ...lostIn(expr, `${summary} ${description}`, /\$labels\.(\w+)/g)].map((what) => `${alert}: ${what}`),
    );
    expect(rules.length).toBeGreaterThan(20);
    expect(wrong).toEqual([]);
  });

  test('each rule has a severity, a summary, a description, and a page that is there', () => {
    for (const { labels, annotations } of rules) {
      expect(['warning', 'critical']).toContain(labels.severity);
      expect([annotations.summary, annotations.description].filter((text) => !/^[^ ].{15,}\.$/.test(text))).toEqual([]);
      const [file = '', anchor] = annotations.runbook.split('#');
      const anchors = [...readFileSync(join(root, file), 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^\w -]/g, '')
          .replace(/ /g, '-'),
      );
      if (anchor !== undefined) expect(anchors).toContain(anchor);
    }
  });

  test('refusals are named by reasons that there are', () => {
    const reasons = rules.flatMap(({ expr }) => [...expr.matchAll(/reason=~?"([^"]*)"/g)].flatMap(([, named = '']) => named.split('|')));
    expect(reasons.length).toBeGreaterThan(3);
    expect(reasons.filter((reason) => !Object.hasOwn(REFUSAL_STATUS, reason))).toEqual([]);
  });

  const PATH = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  const promtool = PATH.map((each) => join(each, 'promtool')).find((path) => existsSync(path));

  test('is taken by promtool, and fires as alerts.test.yaml says', ({ skip }) => {
    if (promtool === undefined) return skip('promtool is not installed (apt-get install prometheus)');
    for (const args of [
      ['check', 'rules', 'alerts.yaml'],
      ['test', 'rules', 'alerts.test.yaml'],
    ]) {
      const { status, stdout, stderr } = spawnSync(promtool, args, { cwd: folder, encoding: 'utf8' });
      expect(status === 0 ? '' : stdout + stderr).toBe('');
    }
  });
});

describe('dashboard.json', () => {
  test('is what tools/dashboard.ts makes', () => {
    expect(readFileSync(join(folder, 'dashboard.json'), 'utf8')).toBe(`${JSON.stringify(dashboard(), undefined, 2)}\n`);
  });

  test('each query names metrics and labels that are there, and its legend labels that it leaves', () => {
    const wrong = targets.flatMap(({ expr, legendFormat }) =>
      [...unknownIn(expr), ...lostIn(expr, legendFormat, /\{\{(\w+)\}\}/g)].map((what) => `${expr}: ${what}`),
    );
    expect(targets.length).toBeGreaterThan(30);
    expect(wrong).toEqual([]);
  });

  test('its variables ask for labels that are there, and no panel has the id of another', () => {
    const { templating, panels } = dashboard() as {
      templating: { list: readonly { query: unknown }[] };
      panels: readonly { id: number; panels?: readonly { id: number }[] }[];
    };
    const asked = templating.list.flatMap(({ query }) => (typeof query === 'object' && query !== null && 'query' in query ? [String(query.query)] : []));
    expect(asked.flatMap(unknownIn)).toEqual([]);
    const ids = panels.flatMap((panel) => [panel.id, ...(panel.panels ?? []).map(({ id }) => id)]);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
