/** A file that must be refused: what it says, and each mistake as `line:column path` and a part of its sentence. */
export interface BadFile {
  readonly name: string;
  readonly text: string;
  readonly mistakes: readonly (readonly [at: string, says: string])[];
}

/** A file with one group `a` whose body starts on line 3. */
function group(body: string): string {
  return `groups:\n  a:\n    ${body}\n`;
}

/** A file with one group with one limit, all on line 3; the limit starts at column 15. */
function limit(body: string): string {
  return group(`limits: [ ${body} ]`);
}

const AT = 'groups.a.limits[0]';

function one(name: string, text: string, at: string, says: string): BadFile {
  return { name, text, mistakes: [[at, says]] };
}

/** YAML that is none, or asks for too much. */
const syntax: readonly BadFile[] = [
  one('a bracket that never ends', 'groups: { a: {', '1:15 ', 'Flow map'),
  one('a tab for indentation', 'groups:\n\ta: {}\n', '2:1 ', 'Tabs are not allowed'),
  one('a name twice', 'revision: 1\nrevision: 2\n', '2:1 ', 'this name stands twice in one map'),
  one('a group twice', 'groups:\n  a: {}\n  b: {}\n  a: {}\n', '4:3 ', 'this name stands twice'),
  one('two documents', 'revision: 1\n---\nrevision: 2\n', '2:1 ', 'more than one document'),
  one('an unknown tag', 'revision: !js 1\n', '1:11 ', 'Unresolved tag'),
  one('an alias without an anchor', 'groups: *nothing\n', '1:9 groups', 'the alias *nothing has no anchor'),
  one('an alias inside its own anchor', 'groups: &g { a: *g }\n', '1:17 groups.a.a.a.a.a.a.a', 'nested deeper than 64 levels'),
  one('a list at the top', '- a\n- b\n', '1:1 ', 'a list is not a map of options'),
  one('a word at the top', 'hello\n', '1:1 ', '"hello" is not a map of options'),
  one('a list where groups belong', 'groups: [ a ]\n', '1:9 groups', 'a list is not a map'),
  one('a merge key', 'groups:\n  a: &a {}\n  b:\n    <<: *a\n', '4:5 groups.b', 'merge keys (<<) are not read'),
  one('a complex key', 'groups:\n  ? [a, b]\n  : {}\n', '2:5 ', 'stringKeys'),
];

/** Files that would take every group away. */
const empty: readonly BadFile[] = [
  one('an empty file', '', '1:1 groups', 'there are no groups'),
  one('a file with nothing but a comment', '# soon\n', '1:1 groups', 'set allowEmpty: true'),
  one('a file without groups', 'revision: 3\n', '1:1 groups', 'there are no groups'),
  one('groups with nothing behind them', 'revision: 3\ngroups:\n', '2:1 groups', 'there are no groups'),
  one('an empty map of groups', 'revision: 3\ngroups: {}\n', '2:1 groups', 'there are no groups'),
];

/** Names that do not exist. */
const names: readonly BadFile[] = [
  one('an unknown section', 'lisen: { api: 1 }\n', '1:1 ', 'there is no option "lisen" here. Did you mean listen?'),
  one('an unknown option deep down', group('ttl: { defualt: 3s }'), '3:12 groups.a.ttl', 'Did you mean default?'),
  one('an unknown option that is near to nothing', 'listen: { zebra: 1 }\n', '1:11 listen', 'Use one of api, grpc'),
  one('another spelling of a name', group('backlog: { per_key: 3 }'), '3:16 groups.a.backlog', 'Did you mean perKey?'),
  one('__proto__ as an option', '__proto__: { listen: 3 }\n', '1:1 ', 'there is no option "__proto__" here'),
  one('__proto__ as a group', 'groups:\n  __proto__: {}\n', '2:3 groups', '"__proto__" cannot name a group'),
  one('constructor as a unit', limit('{ name: x, rate: 5/1s, unit: constructor }'), `3:44 ${AT}.unit`, 'is not a unit name'),
  one('a group with a slash', 'groups:\n  a/b: {}\n', '2:3 groups', '"a/b" cannot name a group'),
  one('a class called least', group('priority: { classes: { least: 3 } }'), '3:28 groups.a.priority.classes', '"least" cannot name a class'),
  one('a class that looks like a number', group('priority: { classes: { 1: 3 } }'), '3:28 groups.a.priority.classes', '"1" cannot name a class'),
  one('a limit without a name', limit('{ rate: 5/1s }'), `3:15 ${AT}`, 'name is missing'),
  one('two limits of one name', limit('{ name: x, rate: 5/1s }, { name: x, spacing: 5s }'), '3:42 groups.a.limits[1].name', 'two limits are called x'),
];

/** Values that are none. */
const values: readonly BadFile[] = [
  one('a port out of bounds', 'listen: { api: 70000 }\n', '1:16 listen.api.address', 'port 70000 is out of bounds'),
  one('a port that is a word', 'listen: { api: http }\n', '1:16 listen.api.address', '"http" is not an address'),
  one('one port for two listeners', 'listen: { api: 80, grpc: "127.0.0.1:80" }\n', '1:20 listen.grpc', 'grpc and api both want port 80'),
  one('tls without a key', 'listen: { api: { address: 1, tls: { cert: a } } }\n', '1:35 listen.api.tls', 'key is missing'),
  one('a listener without an address', 'listen: { api: { tls: { cert: a, key: b } } }\n', '1:16 listen.api', 'address is missing'),
  one('a duration without a unit', 'drain: { grace: 20 }\n', '1:17 drain.grace', '20 is not a duration. Give it a unit: 20s or 20ms.'),
  one('a duration in words', 'drain: { grace: soon }\n', '1:17 drain.grace', '"soon" is not a duration'),
  one('units in the wrong order', 'drain: { grace: 5s1m }\n', '1:17 drain.grace', '"5s1m" is not a duration'),
  one('a duration below zero', 'drain: { grace: -5s }\n', '1:17 drain.grace', '"-5s" is not a duration'),
  one('a duration out of bounds', 'drain: { delay: 11m }\n', '1:17 drain.delay', '"11m" is out of bounds. Take 0 to 10m.'),
  one('a size without a unit', 'store: { bytes: 1000000000 }\n', '1:17 store.bytes', '1000000000 is not a size'),
  one('a size out of bounds', 'store: { bytes: 1KiB }\n', '1:17 store.bytes', '"1KiB" is out of bounds. Take 16MiB to 16TiB.'),
  one('another kind of store', 'store: redis\n', '1:8 store.kind', '"redis" is none of the words'),
  one('a slip in a word', 'http: { engine: nod }\n', '1:17 http.engine', 'Did you mean node?'),
  one('a revision with a fraction', 'revision: 1.5\n', '1:11 revision', '1.5 is not a whole number'),
  one('a revision that is text', 'revision: "7"\n', '1:11 revision', '"7" is not a whole number'),
  one('truth in words', group('enforce: "no"'), '3:14 groups.a.enforce', '"no" is not true or false'),
  one('too many groups', 'bounds: { groups: 1 }\ngroups:\n  a: {}\n  b: {}\n', '2:1 groups', '2 groups are more than bounds.groups allows (1)'),
  one('a weight of nothing', group('fairness: { weights: { k: 0 } }'), '3:31 groups.a.fairness.weights.k', '0 is out of bounds'),
  one(
    'weights that nobody reads',
    group('fairness: { by: none, weights: { k: 2 } }'),
    '3:27 groups.a.fairness.weights',
    'weights have no meaning with by: none',
  ),
  one(
    'a default class that is none',
    group('priority: { classes: { p: 1 }, default: q }'),
    '3:36 groups.a.priority.default',
    'there is no class "q". Take least, a number, or one of p.',
  ),
  one('a priority out of bounds', group('priority: { default: 1000 }'), '3:26 groups.a.priority.default', '1000 is not a priority'),
  one(
    'LN-25: a wait timeout above its maximum (ttl 120 s, at most 61 s)',
    group('ttl: { default: 120s, max: 61s }'),
    '3:12 groups.a.ttl.default',
    'the default of 2m is above the maximum of 1m1s',
  ),
  one('a maximum below the default', group('ttl: { max: 10s }'), '3:12 groups.a.ttl.max', 'the default of 30s is above the maximum of 10s'),
  one('a lease above its maximum', group('lease: { default: 1h }'), '3:14 groups.a.lease.default', 'the default of 1h is above the maximum of 10m'),
  one('a refusal that refuses nothing', group('refusal: { status: 200 }'), '3:24 groups.a.refusal.status', '200 is out of bounds'),
];

/** Limits that cannot be. */
const limits: readonly BadFile[] = [
  one('no form', limit('{ name: x }'), `3:15 ${AT}`, 'a limit needs one of rate, window, spacing or concurrency'),
  one('two forms', limit('{ name: x, rate: 5/1s, spacing: 5s }'), `3:38 ${AT}.spacing`, 'rate and spacing are two limits'),
  one('a rate without a time', limit('{ name: x, rate: 500 }'), `3:32 ${AT}.rate`, '500 is not permits/duration'),
  one('a rate without a unit of time', limit('{ name: x, rate: 500/60 }'), `3:32 ${AT}.rate`, '"500/60" is not permits/duration'),
  one('a rate of 0', limit('{ name: x, rate: 0/60s }'), `3:32 ${AT}.rate`, '0 permits would hold every caller for ever. To stop a group for a time use Pause'),
  one('a window of 0', limit('{ name: x, window: 0/60s }'), `3:34 ${AT}.window`, 'use Pause'),
  one('a concurrency of 0', limit('{ name: x, concurrency: 0 }'), `3:39 ${AT}.concurrency.max`, 'use Pause'),
  one('a concurrency below 0', limit('{ name: x, concurrency: -1 }'), `3:39 ${AT}.concurrency.max`, '-1 is out of bounds'),
  one('adapting without a ceiling', limit('{ name: x, concurrency: { adapt: aimd } }'), `3:39 ${AT}.concurrency`, 'max is missing'),
  one('an unknown way to adapt', limit('{ name: x, concurrency: { max: 9, adapt: aimb } }'), `3:56 ${AT}.concurrency.adapt`, 'Did you mean aimd?'),
  one('a floor of a fixed number', limit('{ name: x, concurrency: { max: 9, floor: 2 } }'), `3:49 ${AT}.concurrency.floor`, 'Add adapt: gradient'),
  one('a floor above the ceiling', limit('{ name: x, concurrency: { max: 9, adapt: aimd, floor: 10 } }'), `3:62 ${AT}.concurrency.floor`, 'more than max 9'),
  one(
    'an initial below the floor',
    limit('{ name: x, concurrency: { max: 9, adapt: aimd, floor: 3, initial: 2 } }'),
    `3:72 ${AT}.concurrency.initial`,
    'not between floor 3 and max 9',
  ),
  one('a tolerance of aimd', limit('{ name: x, concurrency: { max: 9, adapt: aimd, tolerance: 2 } }'), `3:62 ${AT}.concurrency.tolerance`, 'aimd has slow'),
  one(
    'a tolerance below 1',
    limit('{ name: x, concurrency: { max: 9, adapt: gradient, tolerance: 0.5 } }'),
    `3:77 ${AT}.concurrency.tolerance`,
    'Take 1 to 10',
  ),
  one(
    'an exception below the floor',
    limit('{ name: x, concurrency: { max: 9, adapt: aimd, floor: 3 }, scope: key, keys: { k: 2 } }'),
    `3:94 ${AT}.keys.k`,
    'less than the floor of 3',
  ),
  one('too many permits', limit('{ name: x, rate: 1000000000001/60s }'), `3:32 ${AT}.rate`, 'too many permits'),
  one('a window too short', limit('{ name: x, window: 5/10us }'), `3:34 ${AT}.window`, 'out of bounds. Take 1ms to 400d.'),
  one('a window too long', limit('{ name: x, window: 5/401d }'), `3:34 ${AT}.window`, 'out of bounds'),
  one('a spacing of nothing', limit('{ name: x, spacing: 0 }'), `3:35 ${AT}.spacing`, '0 is out of bounds'),
  one('a rate by month', limit('{ name: x, rate: 5/month }'), `3:32 ${AT}.rate`, 'a rate has no months'),
  one('a rolling month', limit('{ name: x, window: 5/month }'), `3:26 ${AT}.window`, 'a month is no rolling window'),
  one('a month without a calendar', limit('{ name: x, window: 5/month, kind: fixed }'), `3:26 ${AT}.window`, 'a month is a window of the calendar'),
  one(
    'a calendar of odd windows',
    limit('{ name: x, window: 5/36h, kind: fixed, align: calendar }'),
    `3:26 ${AT}.window`,
    'a calendar has no windows of 1d12h',
  ),
  one('burst on a window', limit('{ name: x, window: 5/1s, burst: 2 }'), `3:40 ${AT}.burst`, 'burst has no meaning for window'),
  one('slack on a rate', limit('{ name: x, rate: 5/1s, slack: 2s }'), `3:38 ${AT}.slack`, 'slack has no meaning for rate'),
  one('align on a rolling window', limit('{ name: x, window: 5/1s, align: first }'), `3:40 ${AT}.align`, 'align has no meaning for a rolling window'),
  one(
    'a time zone without a calendar',
    limit('{ name: x, window: 5/1s, kind: fixed, timezone: UTC }'),
    `3:53 ${AT}.timezone`,
    'timezone has no meaning without a calendar',
  ),
  one(
    'a time zone of another planet',
    limit('{ name: x, window: 5/1d, kind: fixed, align: calendar, timezone: Mars/Base }'),
    `3:80 ${AT}.timezone`,
    '"Mars/Base" is not a time zone',
  ),
  one('a day of the week beyond 7', limit('{ name: x, window: 5/7d, kind: fixed, align: calendar, day: 8 }'), `3:70 ${AT}.day`, 'a week has no day 8'),
  one('a day of a day', limit('{ name: x, window: 5/1d, kind: fixed, align: calendar, day: 1 }'), `3:70 ${AT}.day`, 'day has no meaning for windows of a day'),
  one(
    'a time of day beyond the day',
    limit('{ name: x, window: 5/1d, kind: fixed, align: calendar, time: "24:00" }'),
    `3:76 ${AT}.time`,
    'is not a time of day',
  ),
  one('spill above the permits', limit('{ name: x, window: 5/1d, kind: fixed, spill: 6 }'), `3:53 ${AT}.spill`, 'spill 6 is more than the 5 permits'),
  one('exceptions on a group limit', limit('{ name: x, concurrency: 5, keys: { k: 6 } }'), `3:42 ${AT}.keys`, 'Add scope: key to this limit'),
  one(
    'an exception of another form',
    limit('{ name: x, rate: 5/1s, scope: key, keys: { k: 6 } }'),
    `3:58 ${AT}.keys.k`,
    'this exception is not in the form of rate. Write permits/duration',
  ),
  one('an exception of 0', limit('{ name: x, concurrency: 5, scope: key, keys: { k: 0 } }'), `3:65 ${AT}.keys.k`, 'use Pause'),
];

/** Trees that do not stand. */
const trees: readonly BadFile[] = [
  one(
    'a parent that is none',
    'groups:\n  llm: {}\n  a: { parent: { group: lml } }\n',
    '3:18 groups.a.parent.group',
    'there is no group "lml". Did you mean llm?',
  ),
  one('a group above itself', 'groups:\n  a: { parent: { group: a } }\n', '2:18 groups.a.parent.group', 'the parents go in a circle: a > a'),
  one(
    'a circle of three, told once',
    'groups:\n  a: { parent: { group: b } }\n  b: { parent: { group: c } }\n  c: { parent: { group: a } }\n',
    '2:18 groups.a.parent.group',
    'a > b > c > a',
  ),
  one(
    'nine groups above each other',
    `groups:\n  g1: {}\n${[2, 3, 4, 5, 6, 7, 8, 9].map((n) => `  g${n}: { parent: { group: g${n - 1} } }\n`).join('')}`,
    '10:19 groups.g9.parent.group',
    '9 groups above each other are too many',
  ),
  one(
    'a share of no limits',
    'groups:\n  p: {}\n  a: { parent: { group: p, share: 50% } }\n',
    '3:28 groups.a.parent.share',
    'a share of p, which has no limits',
  ),
  one(
    'a share below one permit',
    'groups:\n  p: { limits: [ { name: x, concurrency: 1 } ] }\n  a: { parent: { group: p, share: 50% } }\n',
    '3:28 groups.a.parent.share',
    'less than one permit',
  ),
  one(
    'a share without a percent sign',
    'groups:\n  p: { limits: [ { name: x, concurrency: 9 } ] }\n  a: { parent: { group: p, share: 0.5 } }\n',
    '3:35 groups.a.parent.share',
    '0.5 is not a percentage',
  ),
  one(
    'a share above the whole',
    'groups:\n  p: { limits: [ { name: x, concurrency: 9 } ] }\n  a: { parent: { group: p, share: 101% } }\n',
    '3:35 groups.a.parent.share',
    '101% is out of bounds',
  ),
];

const SHA = 'a'.repeat(64);

/** What is not built, and who may call. */
const others: readonly BadFile[] = [
  one(
    'a login in the URL of a NATS server',
    'cluster: { nats: [ "nats://me:hunter2@a:4222" ] }\n',
    '1:20 cluster.nats[0]',
    'this is not the URL of a NATS server',
  ),
  one('a NATS port out of bounds', 'cluster: { nats: [ "a:99999" ] }\n', '1:20 cluster.nats[0]', 'this is not the URL of a NATS server'),
  one('a cluster without NATS', 'cluster: { nats: [] }\n', '1:12 cluster.nats', 'no NATS server is named'),
  one(
    'a NATS password in the file',
    'cluster: { nats: [ a ], user: me, password: hunter2 }\n',
    '1:45 cluster.password',
    'a secret does not stand in this file',
  ),
  one('a NATS user without password', 'cluster: { nats: [ a ], user: me }\n', '1:25 cluster.user', 'user stands without password'),
  one(
    'two logins to NATS',
    'cluster: { nats: [ a ], credentials: /run/a.creds, token: { env: TOKEN } }\n',
    '1:52 cluster.token',
    'credentials and token are two logins',
  ),
  one('a NATS certificate without key', 'cluster: { nats: [ a ], tls: { cert: a.crt } }\n', '1:25 cluster.tls', 'a certificate and its key go together'),
  one('two copies', 'cluster: { nats: [ a ], replicas: 2 }\n', '1:35 cluster.replicas', 'this is no number of copies'),
  one(
    'monitoring of NATS at the port of its clients',
    'cluster: { nats: [ a ], monitor: [ "nats://a:4222" ] }\n',
    '1:36 cluster.monitor[0]',
    'this is not a monitoring address of a NATS server',
  ),
  one('a floor of every admission', 'deferred: { floor: { every: 1 } }\n', '1:29 deferred.floor.every', '1 is out of bounds'),
  one('jwt', 'auth: { jwt: { issuer: x } }\n', '1:14 auth.jwt', 'jwt is not built in this version'),
  one('a key in place of its hash', 'auth: { keys: [ { name: x, sha256: hunter2 } ] }\n', '1:36 auth.keys[0].sha256', 'this is not a SHA-256 hash'),
  one('a key of unknown groups', `auth: { keys: [ { name: x, sha256: ${SHA}, groups: [ a ] } ] }\n`, '1:112 auth.keys[0].groups[0]', 'there is no group "a"'),
  one(
    'a key of unknown classes',
    `auth: { keys: [ { name: x, sha256: ${SHA}, classes: [ a ] } ] }\n`,
    '1:113 auth.keys[0].classes[0]',
    'none of its groups has a class "a"',
  ),
  one(
    'two keys of one name',
    `auth: { keys: [ { name: x, sha256: ${SHA} }, { name: x, sha256: ${'b'.repeat(64)} } ] }\n`,
    '1:106 auth.keys[1].name',
    'auth.keys[0] has the same name',
  ),
  {
    name: 'everything at once, in the order of the file',
    text: 'revision: x\nlog: { level: loud }\ngroups:\n  a:\n    limits:\n      - { name: x, rate: 0/1s }\n      - { name: x, rate: 1/1s, unknown: 1 }\n    ttl: { default: 1h }\n    parent: { group: b }\n',
    mistakes: [
      ['1:11 revision', 'is not a whole number'],
      ['2:15 log.level', 'none of the words'],
      ['6:26 groups.a.limits[0].rate', 'use Pause'],
      ['7:11 groups.a.limits[1].name', 'two limits are called x'],
      ['7:32 groups.a.limits[1]', 'no option "unknown"'],
      ['8:12 groups.a.ttl.default', 'above the maximum'],
      ['9:15 groups.a.parent.group', 'there is no group "b"'],
    ],
  },
];

/** Files that must be refused. */
export const BAD_FILES: readonly BadFile[] = [...syntax, ...empty, ...names, ...values, ...limits, ...trees, ...others];
