import { type ConfigError, collectErrors, MISTAKES_MAX, ValueError } from '../../config/errors.ts';
import { parseYaml } from '../../config/yaml.ts';
import type { Imported, SourceFile } from '../importer.ts';
import { mergeKeys } from '../merge-keys.ts';
import { Findings, type SourceNode } from '../source-node.ts';
import { Draft, type LunarOptions } from './draft.ts';
import { type Groups, importFlow, readFlow } from './flows.ts';
import { joinQuotas, judgeFilter, type Quota, readQuotas } from './quotas.ts';
import { importPolicies } from './remedies.ts';

/*
 * Lunar (TheLunarCompany/lunar): a proxy for requests to providers. policies.yaml has its remedies; later versions have a folder of flows and
 * a folder of quotas. What each key means there and here is in docs/coming-from-lunar.md.
 */

const NOTES: readonly string[] = [
  'Requests come to port 8000 with the Host of their provider; a request names no backend, and X-Lunar-Host and X-Lunar-Scheme choose nothing.',
  'A request is charged when it goes, in its order, not when it comes; one that leaves frees its place. What Sluice cannot decide it holds, and does not let pass.',
  'Refusals carry Retry-After, Sluice-Reason and RateLimit fields. A caller that accepts JSON gets application/problem+json.',
  'Requests of the hosts named here that no rule takes go straight through, as in Lunar; other hosts are 404.',
];

/** Makes a configuration of Lunar's files: one policies file, or flows and quotas. */
export function importLunar(files: readonly SourceFile[], options: LunarOptions): Imported {
  const { mistakes, report } = collectErrors();
  const findings = new Findings(report);
  const draft = new Draft(options);
  const flows: SourceNode[] = [];
  const policies: SourceNode[] = [];
  const quotas = new Map<string, Quota>();
  for (const { name, text } of files) {
    const raw = parseYaml(text, name, report);
    if (raw === undefined) continue;
    const root = findings.root(mergeKeys(raw, report));
    if (root.get('quotas') !== undefined || root.get('quota') !== undefined || root.get('internal_limits') !== undefined) readQuotas(root, quotas, options);
    else if (root.get('processors') !== undefined || root.get('flow') !== undefined) flows.push(root);
    else if (root.get('global') !== undefined || root.get('endpoints') !== undefined) policies.push(root);
    else root.ignore('the file has neither remedies, nor a flow, nor quotas');
  }
  joinQuotas(quotas);
  const groups: Groups = new Map();
  const read = flows.map((flow) => readFlow(flow, quotas, draft)).filter((flow) => flow !== undefined);
  if (mistakes.length === 0) {
    dropUnused(quotas);
    for (const flow of read) importFlow(flow, quotas, groups, draft);
    for (const quota of quotas.values()) if (quota.users > 0) judgeFilter(quota);
  }
  for (const root of policies) {
    if (flows.length === 0) importPolicies(root, draft);
    else root.ignore('Lunar reads flows or policies, not both: import this file by itself');
  }
  const where = { source: files[0]?.name ?? '', line: 1, column: 1 };
  const nothing = new ValueError('nothing here holds or counts requests', 'Name policies.yaml, or the folder that has the folders flows and quotas.');
  if (mistakes.length === 0 && !draft.hasRoutes) report(where, [], nothing);
  if (mistakes.length > 0) return { kind: 'mistakes', mistakes: sorted(mistakes, files) };
  return { kind: 'imported', config: draft.config(), findings: findings.all(), notes: [...draft.notes, ...NOTES] };
}

/** Ignores quotas that no flow waits for, and those that only such ones stand below. */
function dropUnused(quotas: ReadonlyMap<string, Quota>): void {
  const unused = [...quotas.values()].filter(({ users }) => users === 0);
  for (let quota = unused.pop(); quota !== undefined; quota = unused.pop()) {
    quota.node.overrule('no flow waits for this quota; in Lunar it only counts');
    const above = quota.parent === undefined ? undefined : quotas.get(quota.parent);
    if (above === undefined) continue;
    above.users--;
    if (above.users === 0) unused.push(above);
  }
}

function sorted(mistakes: readonly ConfigError[], files: readonly SourceFile[]): readonly ConfigError[] {
  const places = new Map(files.map(({ name }, index) => [name, index]));
  const place = ({ source }: ConfigError): number => places.get(source) ?? 0;
  return [...mistakes].slice(0, MISTAKES_MAX).sort((a, b) => place(a) - place(b) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}
