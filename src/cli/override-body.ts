import type { ValueError } from '../config/errors.ts';
import { type Exception, exception, PERMITS } from '../config/limit-scalars.ts';
import { rawOf } from '../config/source-value.ts';
import { suggest } from '../config/suggest.ts';
import { showDuration } from '../config/units.ts';
import { quotaOf } from './group-table.ts';
import type { Shown } from './operator-calls.ts';
import { type RequestArguments, wrongDurations } from './requests-flags.ts';

/** Flags of `sluice override`, for `--help`. */
export const OVERRIDE_FLAGS = `  LIMIT=QUOTA          a limit of the group itself, in the file's own notation: rpm=500/60s, day=500/24h, slots=8, pace=5s; its kind stays
  LIMIT.burst=20       of a rate (default: as it is); LIMIT.slack=250ms of a spacing (default: 0)
  --for 1h             for so long, at most 30d; required where something is changed
  --enforce false      makes it a shadow: it counts, and holds no caller; true ends that
  --end                ends a running override
  --forgive-debt       drops what was settled above the limits
  --reason TEXT        why, for others who look at the group
  --dry-run            says what it would do, and does nothing`;

/** Length of the shortest month, in seconds. */
const MONTH_SECONDS_MIN = 28 * 86_400;

/** The body of an Override; a text is what is wrong. `group` is fetched, for the kinds of its limits, only where limits are named. */
export async function overrideBody(given: RequestArguments, changes: readonly string[], group: () => Promise<Shown>): Promise<object | string> {
  const [time, enforce, end, forgive] = [given.text('for'), given.text('enforce'), given.has('end'), given.has('forgive-debt')];
  const wrong = wrongDurations(given, ['for']);
  if (wrong !== undefined) return wrong;
  if (enforce !== undefined && enforce !== 'true' && enforce !== 'false') return '--enforce is true or false';
  const changing = changes.length > 0 || enforce !== undefined;
  if (end && (changing || time !== undefined)) return '--end takes no changes and no --for';
  if (!end && !forgive && !changing) return 'name what is to be changed: LIMIT=QUOTA, --enforce, --end or --forgive-debt';
  if (changing && time === undefined) return 'set for how long with --for, as in --for 1h';
  if (!changing && time !== undefined) return '--for is for changes; name LIMIT=QUOTA or --enforce';
  const limits = changes.length === 0 ? undefined : quotasOf(changes, await group());
  if (typeof limits === 'string') return limits;
  return {
    ...(limits !== undefined && { limits }),
    ...(enforce !== undefined && { enforce: enforce === 'true' }),
    ...(end ? { duration: '0' } : time !== undefined && { duration: time }),
    ...(forgive && { forgiveDebt: true }),
  };
}

function quotasOf(changes: readonly string[], group: Shown): Record<string, object> | string {
  const own = new Map(((group['limits'] ?? []) as Shown[]).map((limit) => [String(limit['name']), limit]));
  const parts = new Map<string, string>();
  for (const change of changes) {
    const at = change.indexOf('=');
    if (at < 1) return `${JSON.stringify(change)} has to be written as LIMIT=QUOTA, as in rpm=500/60s`;
    if (parts.has(change.slice(0, at))) return `${change.slice(0, at)} is there twice`;
    parts.set(change.slice(0, at), change.slice(at + 1));
  }
  const quotas: [string, object][] = [];
  for (const [name, value] of parts) {
    const [limit = '', part] = name.split('.', 2);
    const found = own.get(limit);
    if (found === undefined) {
      const guess = suggest(limit, [...own.keys()]);
      return `${String(group['name'])} has no limit ${JSON.stringify(limit)} of its own; ${guess === undefined ? `there are ${[...own.keys()].join(', ') || 'none'}` : `did you mean ${guess}?`}`;
    }
    if (part !== undefined) {
      if (!parts.has(limit)) return `${name} goes with ${limit}=QUOTA`;
      continue;
    }
    const quota = quotaFor(found, value, parts.get(`${limit}.burst`), parts.get(`${limit}.slack`));
    if (typeof quota === 'string') return `${limit}: ${quota}`;
    quotas.push([limit, quota]);
  }
  return Object.fromEntries(quotas);
}

/** A quota of the limit's own kind, as plain HTTP takes it. */
function quotaFor(limit: Shown, value: string, burst: string | undefined, slack: string | undefined): object | string {
  const { kind } = limit;
  if (burst !== undefined && kind !== 'LIMIT_KIND_RATE') return 'burst has no meaning here; it belongs to a rate';
  if (slack !== undefined && kind !== 'LIMIT_KIND_SPACING') return 'slack has no meaning here; it belongs to a spacing';
  const said = read(value);
  if (typeof said === 'string') return said;
  const unlike = `${value} is of another kind than ${quotaOf(limit)}, which an override keeps`;
  if (kind === 'LIMIT_KIND_CONCURRENCY') return said.form === 'max' ? { concurrency: { max: said.max } } : unlike;
  if (kind === 'LIMIT_KIND_SPACING') return said.form === 'spacing' ? { spacing: { spacing: showDuration(said.spacing), slack } } : unlike;
  if (said.form !== 'per') return unlike;
  const per = perOf(limit, said.per);
  if (per === undefined) return unlike;
  if (kind !== 'LIMIT_KIND_RATE') return { window: { permits: said.permits, per } };
  const most = burst ?? String(limit['capacity'] ?? 1);
  if (!/^[1-9]\d{0,12}$/.test(most) || Number(most) > PERMITS.max) return `burst has to be a whole number from 1 to ${PERMITS.max}`;
  return { rate: { permits: said.permits, per, burst: Number(most) } };
}

/** A month keeps the length that the server shows. */
function perOf(limit: Shown, per: number | 'month'): string | undefined {
  if (per !== 'month') return showDuration(per);
  const now = String(limit['per'] ?? '');
  return limit['kind'] === 'LIMIT_KIND_FIXED' && Number.parseFloat(now) >= MONTH_SECONDS_MIN ? now : undefined;
}

/** Reads a quota as the file has it. */
function read(value: string): Exception | string {
  let fault: ValueError | undefined;
  const plain = /^\d{1,15}$/.test(value) ? Number(value) : value;
  const said = exception().read(rawOf(plain, { source: 'flag', line: undefined, column: undefined }), [], (_where, _path, found) => {
    fault = found;
  });
  return said ?? `${fault?.problem ?? 'it cannot be read'}. ${fault?.remedy ?? ''}`.trim();
}
