/*
 * The dashboard for Grafana, examples/monitoring/dashboard.json: panels with their queries. `npm run gen` writes it, and
 * test/monitoring.test.ts checks every metric and label in it against the code.
 */

/** One panel: a query and the legend of its series, each; the unit as Grafana names it. */
interface Panel {
  readonly title: string;
  readonly unit: 'short' | 'reqps' | 's' | 'bytes' | 'percentunit' | 'bool_on_off';
  readonly queries: readonly (readonly [expr: string, legend: string])[];
  readonly about: string;
}

interface Row {
  readonly title: string;
  readonly isCollapsed: boolean;
  readonly panels: readonly Panel[];
}

const IN_GROUP = 'job="$job", group=~"$group"';
const IN_JOB = 'job="$job"';

function quantile(share: number, metric: string, by: string, matchers: string): string {
  return `histogram_quantile(${share}, sum by (le, ${by}) (rate(${metric}_bucket{${matchers}}[$__rate_interval])))`;
}

function rate(metric: string, by: string, matchers: string): string {
  return `sum by (${by}) (rate(${metric}{${matchers}}[$__rate_interval]))`;
}

const ADMISSION: Row = {
  title: 'Admission',
  isCollapsed: false,
  panels: [
    { title: 'Admitted', unit: 'reqps', queries: [[rate('sluice_admitted_total', 'group', IN_GROUP), '{{group}}']], about: 'Permits granted a second.' },
    {
      ...{ title: 'Refused', unit: 'reqps', queries: [[rate('sluice_refused_total', 'group, reason', IN_GROUP), '{{group}} {{reason}}']] },
      about: 'unstored, undecided and fault should never be here; shed and expired only as planned.',
    },
    {
      title: 'Time in the queue',
      unit: 's',
      queries: [
        [quantile(0.5, 'sluice_wait_seconds', 'group', IN_GROUP), '{{group}} p50'],
        [quantile(0.99, 'sluice_wait_seconds', 'group', IN_GROUP), '{{group}} p99'],
      ],
      about: 'Of admitted callers. Near their wait timeout (ttl), callers begin to expire.',
    },
    { title: 'Waiting', unit: 'short', queries: [[`sum by (group) (sluice_backlog_requests{${IN_GROUP}})`, '{{group}}']], about: 'Callers in the queue.' },
    {
      ...{ title: 'Oldest waiter', unit: 's', queries: [[`max by (group) (sluice_backlog_oldest_seconds{${IN_GROUP}})`, '{{group}}']] },
      about: 'High while the limit is not used up: a pause, or a limit of a parent.',
    },
    {
      title: 'Use of limits',
      unit: 'percentunit',
      queries: [
        [`max by (group, limit) (sluice_limit_used{${IN_GROUP}}) / (max by (group, limit) (sluice_limit_capacity{${IN_GROUP}}) > 0)`, '{{group}} {{limit}}'],
      ],
      about: 'What counts now, of what may pass in a window or be held at once.',
    },
    {
      title: 'Leases',
      unit: 'short',
      queries: [
        [`sum by (group) (sluice_leases{${IN_GROUP}})`, '{{group}} alive'],
        [`sum by (group) (increase(sluice_leases_expired_total{${IN_GROUP}}[$__rate_interval]))`, '{{group}} expired'],
      ],
      about: 'Leases that expire: their holder died, or the lease is too short.',
    },
    {
      title: 'Debt',
      unit: 'short',
      queries: [[`sluice_limit_debt{${IN_GROUP}} > 0`, '{{group}} {{limit}}']],
      about: 'Settled beyond the capacity; paid before anyone passes.',
    },
    {
      title: 'Paused, in shadow',
      unit: 'bool_on_off',
      queries: [
        [`max by (group) (sluice_paused{${IN_GROUP}}) > 0`, '{{group}} paused'],
        [`max by (group) (1 - sluice_enforced{${IN_GROUP}}) > 0`, '{{group}} in shadow'],
      ],
      about: 'Groups that admit no request, and groups whose limits only count.',
    },
  ],
};

const PROCESS: Row = {
  title: 'Process and store',
  isCollapsed: false,
  panels: [
    {
      title: 'Timer lateness',
      unit: 's',
      queries: [
        [quantile(0.99, 'sluice_timer_lateness_seconds', 'instance', IN_JOB), '{{instance}} p99'],
        [`nodejs_eventloop_lag_p99_seconds{${IN_JOB}}`, '{{instance}} event loop p99'],
      ],
      about: 'How much later than due permits are granted. Above 10 ms for long: the core is busy.',
    },
    { title: 'CPU', unit: 'percentunit', queries: [[`rate(process_cpu_seconds_total{${IN_JOB}}[$__rate_interval])`, '{{instance}}']], about: 'Of one core.' },
    { title: 'Memory', unit: 'bytes', queries: [[`process_resident_memory_bytes{${IN_JOB}}`, '{{instance}}']], about: 'Resident.' },
    {
      title: 'Ledger write',
      unit: 's',
      queries: [[quantile(0.99, 'sluice_ledger_flush_seconds', 'instance', IN_JOB), '{{instance}} p99']],
      about: 'Until it was on disk, or in NATS.',
    },
    {
      title: 'Store',
      unit: 'percentunit',
      queries: [[`sluice_store_fill_ratio{${IN_JOB}}`, '{{instance}}']],
      about: 'Of the share of the fullest tree of groups; at 1 its groups are refused.',
    },
    {
      ...{ title: 'File descriptors', unit: 'percentunit', queries: [[`process_open_fds{${IN_JOB}} / process_max_fds{${IN_JOB}}`, '{{instance}}']] },
      about: 'Connections of callers are closed when they run out.',
    },
  ],
};

const FORWARDING: Row = {
  title: 'Forwarding',
  isCollapsed: true,
  panels: [
    {
      title: 'Attempts',
      unit: 'reqps',
      queries: [[rate('sluice_forward_attempts_total', 'backend, outcome', IN_JOB), '{{backend}} {{outcome}}']],
      about: 'Requests sent to backends, by how they ended.',
    },
    {
      ...{ title: 'Time at the backend', unit: 's', queries: [[quantile(0.99, 'sluice_forward_seconds', 'backend', IN_JOB), '{{backend}} p99']] },
      about: 'From sending a request to the end of its response.',
    },
    {
      title: 'Pushbacks',
      unit: 'reqps',
      queries: [[rate('sluice_forward_pushbacks_total', 'backend, replayed', IN_JOB), '{{backend}} replayed={{replayed}}']],
      about: 'Responses that asked for a pause.',
    },
    { title: 'Ejected', unit: 'bool_on_off', queries: [[`sluice_forward_ejected{${IN_JOB}} > 0`, '{{backend}} {{url}}']], about: 'URLs that get no requests.' },
    {
      title: 'Held bodies',
      unit: 'bytes',
      queries: [[`sum by (where) (sluice_forward_held_bytes{${IN_JOB}})`, '{{where}}']],
      about: 'Bytes of request bodies, in memory and on disk.',
    },
    {
      title: 'Client limit',
      unit: 'reqps',
      queries: [[rate('sluice_forward_client_limit_total', 'what', IN_JOB), '{{what}}']],
      about: 'Connections closed and requests shed of clients at bounds.perClient.',
    },
  ],
};

const DEFERRED: Row = {
  title: 'Deferred requests',
  isCollapsed: true,
  panels: [
    { title: 'Pending', unit: 'short', queries: [[`sum by (group) (sluice_deferred_pending{${IN_GROUP}})`, '{{group}}']], about: 'Stored, and not ended.' },
    {
      title: 'Oldest',
      unit: 's',
      queries: [[`max by (group) (sluice_deferred_oldest_seconds{${IN_GROUP}})`, '{{group}}']],
      about: 'Age of the oldest that has not ended.',
    },
    {
      title: 'Accepted, ended',
      unit: 'reqps',
      queries: [
        [rate('sluice_deferred_accepted_total', 'group', IN_GROUP), '{{group}} accepted'],
        [rate('sluice_deferred_ended_total', 'group, state', IN_GROUP), '{{group}} {{state}}'],
      ],
      about: 'dead at all: look why.',
    },
    {
      title: 'Attempts',
      unit: 'reqps',
      queries: [[rate('sluice_deferred_attempts_total', 'group, outcome', IN_GROUP), '{{group}} {{outcome}}']],
      about: 'By the class of the response, or why there was none.',
    },
    {
      title: 'Delivery',
      unit: 's',
      queries: [[quantile(0.99, 'sluice_deferred_delivery_seconds', 'group', IN_GROUP), '{{group}} p99']],
      about: 'From acceptance to delivery.',
    },
    {
      ...{ title: 'Store', unit: 'percentunit', queries: [[`sluice_deferred_used_bytes{${IN_JOB}} / sluice_deferred_max_bytes{${IN_JOB}}`, '{{instance}}']] },
      about: 'Submits are refused at 95 %.',
    },
  ],
};

const CLUSTER: Row = {
  title: 'Replicas',
  isCollapsed: true,
  panels: [
    {
      title: 'Live replicas',
      unit: 'short',
      queries: [[`max by (job) (sluice_cluster_replicas{${IN_JOB}})`, 'replicas']],
      about: 'As the replicas themselves see it.',
    },
    {
      title: 'Shards',
      unit: 'short',
      queries: [
        [`sum by (instance, phase) (sluice_cluster_shards{${IN_JOB}})`, '{{instance}} {{phase}}'],
        [`max by (job) (sluice_cluster_shards_undecided{${IN_JOB}})`, 'without an owner'],
      ],
      about: 'Without an owner for longer than a takeover: NATS takes no writes.',
    },
    {
      title: 'Waiters over replicas',
      unit: 'short',
      queries: [
        [`sluice_cluster_remote_waiters{${IN_JOB}}`, '{{instance}} wait at another'],
        [`sluice_cluster_peer_waiters{${IN_JOB}}`, '{{instance}} of peers'],
      ],
      about: 'One replica has nearly all: one tree of groups is the load.',
    },
    {
      title: 'Configurations',
      unit: 'short',
      queries: [[`max by (job) (sluice_cluster_revisions{${IN_JOB}})`, 'different']],
      about: 'More than 1 for long: finish the rollout.',
    },
    {
      title: 'Degraded',
      unit: 'reqps',
      queries: [[rate('sluice_degraded_total', 'group, how', IN_GROUP), '{{group}} {{how}}']],
      about: 'Admitted outside the limit while no other replica was reached.',
    },
  ],
};

const QUEUES: Row = {
  title: 'Envoy and gateway queue',
  isCollapsed: true,
  panels: [
    {
      title: 'Envoy',
      unit: 'reqps',
      queries: [[rate('sluice_envoy_answers_total', 'outcome', IN_JOB), '{{outcome}}']],
      about: 'Requests that the rate limit filter asked about.',
    },
    {
      title: 'Shards of the gateway queue',
      unit: 'reqps',
      queries: [
        [rate('sluice_gateway_queue_admitted_total', 'instance', IN_JOB), '{{instance}} admitted'],
        [rate('sluice_gateway_queue_closed_total', 'instance, reason', IN_JOB), '{{instance}} closed: {{reason}}'],
      ],
      about: 'Shards that may start their session.',
    },
    {
      title: 'Session starts left',
      unit: 'short',
      queries: [[`sluice_gateway_queue_session_starts_remaining{${IN_JOB}}`, '{{instance}}']],
      about: 'As Discord last reported.',
    },
  ],
};

const ROWS: readonly Row[] = [ADMISSION, PROCESS, FORWARDING, DEFERRED, CLUSTER, QUEUES];
const DATASOURCE = { type: 'prometheus', uid: '$datasource' };
const COLUMNS = 24;
const WIDTH = 8;
const HEIGHT = 8;

/** Returns the dashboard as Grafana (10 or later) imports it. */
export function dashboard(): object {
  const panels: object[] = [];
  let id = 1;
  let y = 0;
  for (const row of ROWS) {
    const head = { id: id++, type: 'row', title: row.title, collapsed: row.isCollapsed, gridPos: { h: 1, w: COLUMNS, x: 0, y: y++ } };
    const inside = row.panels.map((panel, index) => {
      const at = { h: HEIGHT, w: WIDTH, x: (index * WIDTH) % COLUMNS, y: y + Math.floor((index * WIDTH) / COLUMNS) * HEIGHT };
      return timeSeries(id++, panel, at);
    });
    y += Math.ceil((row.panels.length * WIDTH) / COLUMNS) * HEIGHT;
    panels.push(row.isCollapsed ? { ...head, panels: inside } : head, ...(row.isCollapsed ? [] : inside));
  }
  return {
    uid: 'sluice',
    title: 'Sluice',
    tags: ['sluice'],
    schemaVersion: 39,
    timezone: 'browser',
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        source(),
        variable('job', 'label_values(sluice_build_info, job)', false),
        variable('group', 'label_values(sluice_admitted_total{job="$job"}, group)', true),
      ],
    },
    panels,
  };
}

function timeSeries(id: number, { title, unit, queries, about }: Panel, gridPos: object): object {
  return {
    id,
    type: 'timeseries',
    title,
    description: about,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: { defaults: { unit, min: 0, custom: { fillOpacity: 10, lineWidth: 1, showPoints: 'never' } }, overrides: [] },
    options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: queries.map(([expr, legendFormat], index) => ({ refId: String.fromCharCode(65 + index), datasource: DATASOURCE, expr, legendFormat })),
  };
}

function source(): object {
  return { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Data source' };
}

function variable(name: string, query: string, isMany: boolean): object {
  return {
    ...{ name, type: 'query', datasource: DATASOURCE, query: { query, refId: name }, refresh: 2, sort: 1 },
    ...(isMany ? { multi: true, includeAll: true, allValue: '.*', current: { text: 'All', value: '$__all' } } : {}),
  };
}
