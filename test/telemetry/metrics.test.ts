import { describe, expect, it } from 'vitest';
import type { GroupView } from '../../src/admission/admission.ts';
import type { GateEvent } from '../../src/core/events.ts';
import { type Instant, NEVER, SECOND } from '../../src/core/time.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';

const now = 5_000_000_000 as Instant;
const tag = { high: 0, low: 0 };

function view(name: string, more: Partial<GroupView> = {}): GroupView {
  const counters = { admitted: 0, refused: {}, lapsed: 0, released: 0, shadowHeld: 0 };
  const shared = { parent: undefined, enforce: true, limits: [], waiting: 0, waitingBytes: 0, waitingByPriority: [], oldestWaiterSince: undefined };
  return { name, ...shared, leases: 0, keys: 0, pausedUntil: undefined, pausedKeys: 0, overriddenUntil: undefined, counters, ...more };
}

function metricsOf(groups: readonly GroupView[] = [], groupsMax = 10): Metrics {
  return createMetrics({ version: '1.2.3', nodeVersion: 'v24.0.0', now: () => now, groups: () => groups, groupsMax });
}

function admitted(group: string, waited: number): GateEvent {
  const permit = {
    group,
    key: 'secret-key',
    serial: 1,
    tag,
    costs: {},
    grantedAt: now,
    waited,
    order: 1,
    lease: undefined,
    settleable: false,
    shadow: undefined,
  };
  return { kind: 'admitted', token: undefined, permit, priority: 1, record: undefined };
}

const lines = async (metrics: Metrics, start: string): Promise<string[]> => (await metrics.scrape()).body.split('\n').filter((line) => line.startsWith(start));

describe('metrics', () => {
  it('count gate events by group and reason', async () => {
    const metrics = metricsOf();
    metrics.event(admitted('llm', 1_840_000), now);
    metrics.event(admitted('llm', 0), now);
    metrics.event({ kind: 'refused', token: undefined, group: 'llm', key: '', priority: 1, refusal: { reason: 'expired' }, waited: 30 * SECOND }, now);
    metrics.event({ kind: 'ended', group: 'llm', key: '', serial: 1, term: 1n, how: 'lapsed', recorded: false, held: 30 * SECOND }, now);
    metrics.event({ kind: 'ended', group: 'llm', key: '', serial: 2, term: 1n, how: 'used', recorded: false, held: SECOND }, now);
    metrics.event({ kind: 'settled', group: 'llm', unit: 'tokens', refunded: 70, debited: 0, uncharged: 0 }, now);
    expect(await lines(metrics, 'sluice_admitted_total')).toEqual(['sluice_admitted_total{group="llm"} 2']);
    expect(await lines(metrics, 'sluice_refused_total')).toEqual(['sluice_refused_total{group="llm",reason="expired"} 1']);
    expect(await lines(metrics, 'sluice_leases_expired_total')).toEqual(['sluice_leases_expired_total{group="llm"} 1']);
    expect(await lines(metrics, 'sluice_released_total{group="llm",how="used"}')).toEqual(['sluice_released_total{group="llm",how="used"} 1']);
    expect(await lines(metrics, 'sluice_refunded_units_total')).toEqual(['sluice_refunded_units_total{group="llm",unit="tokens"} 70']);
    expect(await lines(metrics, 'sluice_lease_held_seconds_count')).toEqual(['sluice_lease_held_seconds_count{group="llm"} 2']);
  });

  it('have waits as a cumulative histogram', async () => {
    const metrics = metricsOf();
    metrics.event(admitted('llm', 1_840_000), now);
    metrics.event(admitted('llm', 1_000), now);
    const found = await lines(metrics, 'sluice_wait_seconds');
    expect(found).toContain('sluice_wait_seconds_bucket{group="llm",le="0.001"} 1');
    expect(found).toContain('sluice_wait_seconds_bucket{group="llm",le="1"} 1');
    expect(found).toContain('sluice_wait_seconds_bucket{group="llm",le="2.5"} 2');
    expect(found).toContain('sluice_wait_seconds_bucket{group="llm",le="+Inf"} 2');
    expect(found).toContain('sluice_wait_seconds_sum{group="llm"} 1.841');
    expect(found).toContain('sluice_wait_seconds_count{group="llm"} 2');
  });

  it('show groups as they stand, and limits that have one figure', async () => {
    const limit = { group: 'llm', name: 'rpm', unit: 'requests', kind: 'window', scope: 'group', key: undefined } as const;
    const figures = { capacity: 500, used: 20, debt: 3, resetAt: now, per: SECOND, readyAt: undefined };
    const perKey = { ...limit, ...figures, name: 'slots', scope: 'key', key: 'secret-key' } as const;
    const metrics = metricsOf([
      view('llm', {
        waiting: 7,
        waitingBytes: 100,
        oldestWaiterSince: (now - 2 * SECOND) as Instant,
        pausedUntil: NEVER,
        limits: [{ ...limit, ...figures }, perKey],
      }),
    ]);
    expect(await lines(metrics, 'sluice_backlog')).toEqual([
      'sluice_backlog_requests{group="llm"} 7',
      'sluice_backlog_bytes{group="llm"} 100',
      'sluice_backlog_oldest_seconds{group="llm"} 2',
    ]);
    expect(await lines(metrics, 'sluice_paused')).toEqual(['sluice_paused{group="llm"} 1']);
    expect(await lines(metrics, 'sluice_limit_')).toEqual([
      'sluice_limit_capacity{group="llm",limit="rpm",unit="requests"} 500',
      'sluice_limit_used{group="llm",limit="rpm",unit="requests"} 20',
      'sluice_limit_debt{group="llm",limit="rpm",unit="requests"} 3',
    ]);
  });

  it('never say a key', async () => {
    const metrics = metricsOf();
    metrics.event(admitted('llm', 0), now);
    expect((await metrics.scrape()).body).not.toContain('secret-key');
  });

  it('bound the groups they name: one more is counted as other', async () => {
    const metrics = metricsOf([], 2);
    for (const group of ['a', 'b', 'c', 'd']) metrics.event(admitted(group, 0), now);
    expect(await lines(metrics, 'sluice_admitted_total')).toEqual([
      'sluice_admitted_total{group="a"} 1',
      'sluice_admitted_total{group="b"} 1',
      'sluice_admitted_total{group="other"} 2',
    ]);
  });

  it('take lateness and flushes, and say what runs', async () => {
    const metrics = metricsOf();
    metrics.timerLate(900);
    metrics.flushed(4_000);
    expect(await lines(metrics, 'sluice_timer_lateness_seconds_bucket{le="0.001"}')).toEqual(['sluice_timer_lateness_seconds_bucket{le="0.001"} 1']);
    expect(await lines(metrics, 'sluice_ledger_flush_seconds_sum')).toEqual(['sluice_ledger_flush_seconds_sum 0.004']);
    expect(await lines(metrics, 'sluice_build_info')).toEqual(['sluice_build_info{version="1.2.3",node="v24.0.0"} 1']);
    expect(await lines(metrics, 'nodejs_eventloop_lag_p99_seconds')).toHaveLength(1);
  });
});
