import { COST_UNITS_MAX, SLACK_MAX, UNITS_MAX } from '../core/bounds.ts';
import { DAY } from '../core/time.ts';
import { concurrencyOptions } from './concurrency-options.ts';
import { ValueError } from './errors.ts';
import { type Exception, exception, PER, PERMITS, permitsPer, timeOfDay, timezone } from './limit-scalars.ts';
import { duration, integer, keyNames, oneOf, string } from './scalars.ts';
import { dictionary, option, optional, type ReportAt, refine, required, struct, type Unverified, type ValueOf } from './schema.ts';
import { showDuration } from './units.ts';

const NAME_RULE = 'Letters, digits, "_" and "-", a letter or digit first, at most 64.';

const FORMS = ['rate', 'window', 'spacing', 'concurrency'] as const;

/** Which of the short forms a limit is written in. */
export type Form = (typeof FORMS)[number];

/** The keys for which a limit has values of their own. */
const keys = dictionary(exception(), keyNames);

/** Names of units, as keys of a dictionary. */
export const unitName = {
  noun: 'unit',
  names: /^(?!(?:constructor|requests)$)[a-z][a-z0-9_-]{0,63}$/,
  namesMax: COST_UNITS_MAX,
  rule: 'Lower-case letters, digits, "_" and "-", a letter first, at most 64; "requests" is always there, and every request costs 1 of it unless it names more.',
};

const limit = struct({
  name: required(
    string({ unit: 'limit name', pattern: /^[A-Za-z0-9][A-Za-z0-9_-]*$/, rule: NAME_RULE, lengthMax: 64 }),
    'Named in refusals, metrics and RateLimit fields; unique in its group.',
  ),
  rate: optional(permitsPer(false), 'Evenly spaced (GCRA): in any interval L at most `burst + floor(L x permits/per)`.'),
  window: optional(permitsPer(true), 'At most this many per window: rolling and exact, or fixed by `kind`.'),
  spacing: optional(duration(PER), 'At most one per this time, measured from the admission before.'),
  concurrency: optional(concurrencyOptions, 'At most this many held at once, by leases.'),
  burst: optional(integer(PERMITS), 'Rate only: how many may pass at once after a rest.', '1'),
  slack: optional(duration({ min: 0, max: SLACK_MAX }), 'Spacing only: added to it, for networks that bring two callers closer together.', '0'),
  kind: optional(
    oneOf('rolling', 'fixed'),
    'Window only: rolling holds for every interval; fixed windows lie side by side and may pass twice their number around an edge.',
    'rolling',
  ),
  align: optional(
    oneOf('epoch', 'first', 'calendar'),
    'Fixed windows only: multiples of the time since 1970 UTC; opened by the first admission; or days, weeks (7d) and months of `timezone`.',
    'epoch',
  ),
  day: optional(integer({ min: 1, max: 31 }), 'Calendar only: day of the month (the last one where a month is shorter), or of the week (1 is Monday).', '1'),
  time: optional(timeOfDay(), 'Calendar only: when on that day a window opens.', '"00:00"'),
  timezone: optional(timezone(), 'Calendar only: whose days they are.', 'UTC'),
  spill: optional(integer({ min: 0, max: UNITS_MAX }), 'Fixed windows only: unspent permits carried into the next window, at most.', '0'),
  unit: option(
    string({
      unit: 'unit name',
      pattern: /^(?!constructor$)[a-z][a-z0-9_-]*$/,
      rule: 'Lower-case letters, digits, "_" and "-", a letter first, at most 64.',
      lengthMax: 64,
    }),
    'requests',
    'What is counted: the name of a cost.',
  ),
  scope: option(oneOf('group', 'key'), 'group', 'key: counted for every key by itself.'),
  keys: option(keys, {}, 'Scope key only: exceptions for single keys, in the same short form.'),
});

/** A limit as read. */
export type LimitOptions = ValueOf<typeof limit>;

/** One limit of a group, in one of five short forms. */
export const limitOptions = refine(limit, checkLimit);

function checkLimit(limit: Unverified<LimitOptions>, report: ReportAt, written: ReadonlySet<string>): void {
  // By what is written, rightly or wrongly: a bad value is reported once, not also as a missing one.
  const forms = FORMS.filter((form) => written.has(form));
  if (forms.length === 0)
    report(
      [],
      new ValueError(
        'a limit needs one of rate, window, spacing or concurrency',
        'For example rate: 500/60s, window: 200000/60s, spacing: 5s or concurrency: 8.',
      ),
    );
  if (forms.length > 1)
    report(
      [forms[1] ?? ''],
      new ValueError(`${forms.join(' and ')} are two limits`, 'Make each a limit of its own, with its own name; a caller passes all of them at once.'),
    );
  const form = forms.length === 1 ? forms[0] : undefined;
  if (form === undefined) return;
  checkOwners(written, form, report);
  if (form === 'window' && written.has('kind') === (limit.kind !== undefined)) checkWindow(limit, report);
  if (limit.scope === 'group' && limit.keys !== undefined && limit.keys.size > 0)
    report(['keys'], new ValueError('exceptions for keys need a limit that counts keys', 'Add scope: key to this limit.'));
  for (const [key, said] of limit.keys ?? []) checkException(limit, form, key, said as Exception | undefined, report);
}

const OWNERS: readonly (readonly [option: string, form: Form])[] = [
  ['burst', 'rate'],
  ['slack', 'spacing'],
  ['kind', 'window'],
  ['align', 'window'],
  ['day', 'window'],
  ['time', 'window'],
  ['timezone', 'window'],
  ['spill', 'window'],
];

function checkOwners(written: ReadonlySet<string>, form: Form, report: ReportAt): void {
  for (const [name, owner] of OWNERS) {
    if (written.has(name) && owner !== form) report([name], new ValueError(`${name} has no meaning for ${form}`, `Remove it; it belongs to ${owner}.`));
  }
}

function checkWindow(limit: Unverified<LimitOptions>, report: ReportAt): void {
  const { window, kind = 'rolling', align } = limit;
  if (kind === 'rolling') {
    for (const name of ['align', 'day', 'time', 'timezone', 'spill'] as const) {
      if (limit[name] !== undefined) report([name], new ValueError(`${name} has no meaning for a rolling window`, 'Add kind: fixed, or remove it.'));
    }
    if (window?.per === 'month') report(['window'], new ValueError('a month is no rolling window', 'Add kind: fixed and align: calendar, or write 30d.'));
    return;
  }
  if (align !== 'calendar') {
    for (const name of ['day', 'time', 'timezone'] as const) {
      if (limit[name] !== undefined) report([name], new ValueError(`${name} has no meaning without a calendar`, 'Add align: calendar, or remove it.'));
    }
    if (window?.per === 'month') report(['window'], new ValueError('a month is a window of the calendar', 'Add align: calendar.'));
  } else checkCalendar(limit, report);
  if (limit.spill !== undefined && window?.permits !== undefined && limit.spill > window.permits) {
    report(
      ['spill'],
      new ValueError(
        `spill ${limit.spill} is more than the ${window.permits} permits of a window`,
        'More than one window cannot be left unspent: take at most as many as the window has.',
      ),
    );
  }
}

function checkCalendar(limit: Unverified<LimitOptions>, report: ReportAt): void {
  const per = limit.window?.per;
  if (per === undefined) return;
  if (!isCalendar(per))
    report(['window'], new ValueError(`a calendar has no windows of ${showDuration(per as number)}`, 'Take 1d (or 24h), 7d or month; or align: epoch.'));
  if (per === DAY && limit.day !== undefined)
    report(['day'], new ValueError('day has no meaning for windows of a day', 'Remove it; time says when a day begins.'));
  if (per === 7 * DAY && limit.day !== undefined && limit.day > 7)
    report(['day'], new ValueError(`a week has no day ${limit.day}`, 'Take 1 (Monday) to 7 (Sunday).'));
}

function isCalendar(per: number | 'month'): boolean {
  return per === 'month' || per === DAY || per === 7 * DAY;
}

function checkException(limit: Unverified<LimitOptions>, form: Form, key: string, said: Exception | undefined, report: ReportAt): void {
  if (said === undefined) return;
  const wanted = form === 'concurrency' ? 'max' : form === 'spacing' ? 'spacing' : 'per';
  const like = { max: 'a number: 32', spacing: 'a duration: 2s', per: 'permits/duration: 1000/60s' }[wanted];
  const say = (problem: string, remedy: string): void => report(['keys', key], new ValueError(`this exception ${problem}`, remedy));
  if (said.form !== wanted) return say(`is not in the form of ${form}`, `Write ${like}.`);
  if (said.form === 'max' && (limit.concurrency?.floor ?? 1) > said.max)
    say(`is less than the floor of ${limit.concurrency?.floor}`, 'Raise it, or lower the floor.');
  if (said.form !== 'per') return;
  const calendar = limit.kind === 'fixed' && limit.align === 'calendar';
  if (said.per === 'month' ? !calendar : calendar && !isCalendar(said.per))
    say('has another kind of time than its limit', 'Take windows that the limit itself could have.');
  if (limit.spill !== undefined && limit.spill > said.permits)
    say(`has fewer permits than the spill of ${limit.spill}`, 'Lower the spill, or raise the exception.');
}
