import type { SourceNode } from '../source-node.ts';

/** Processors on one way of a request at most. */
const STEPS_MAX = 64;
/** Ways that one flow may branch into at most. */
const WAYS_MAX = 64;

/** A processor of a flow. */
export interface Processor {
  readonly name: string;
  readonly kind: string;
  readonly node: SourceNode;
  /** Values of its parameters by their keys; the last of a repeated one. */
  readonly parameters: ReadonlyMap<string, SourceNode>;
}

/** One way that a request may take through a flow to its provider. */
export interface Way {
  /** Queues and limiters, in order. */
  readonly steps: readonly Processor[];
  /** Headers that must be there, of filters that it passed. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** What answers a request that is refused by the first of them that says so. */
  readonly refusal: Processor | undefined;
}

interface Edge {
  readonly condition: string | undefined;
  /** undefined: the end of the flow. */
  readonly to: string | undefined;
}

/** Reads the processors of a flow, by name. */
export function processorsOf(flow: SourceNode): ReadonlyMap<string, Processor> {
  const found = new Map<string, Processor>();
  const nodes = flow.get('processors');
  if (nodes === undefined || !nodes.isMap('the name of each processor with its kind and parameters')) return found;
  for (const [name, node] of nodes.entries()) {
    const kind = node.need('processor', 'Say what kind of processor it is: Queue.')?.text();
    const parameters = new Map<string, SourceNode>();
    const list = node.get('parameters');
    if (list?.isList('key and value of each parameter, after "- "')) {
      for (const item of list.items()) {
        const key = item.need('key', 'Name the parameter.')?.text();
        const value = item.get('value');
        if (key !== undefined && value !== undefined) parameters.set(key, value);
      }
    }
    if (kind !== undefined) found.set(name, { name, kind, node, parameters });
  }
  return found;
}

/** A flow that has no equivalent: `why`, at a key of it. */
export class NotExpressible {
  readonly why: string;

  constructor(why: string) {
    this.why = why;
  }
}

/** Follows the requests of a flow from its beginning to its end, past filters that look at one header. */
export function waysOf(flow: SourceNode, processors: ReadonlyMap<string, Processor>): readonly Way[] | NotExpressible {
  const request = flow.get('flow')?.get('request');
  const edges = request === undefined ? undefined : edgesOf(request, processors);
  if (edges === undefined) return new NotExpressible('the flow says nothing of requests');
  const ways: Way[] = [];
  const follow = (at: string, steps: readonly Processor[], headers: Way['headers'], refusal: Processor | undefined): NotExpressible | undefined => {
    if (steps.length > STEPS_MAX || headers.length > STEPS_MAX || ways.length >= WAYS_MAX)
      return new NotExpressible('its ways go in a circle, or there are too many');
    const [first] = edges.get(at) ?? [];
    const next = at === START ? first?.to : at;
    if (next === undefined) {
      ways.push({ steps, headers, refusal });
      return undefined;
    }
    const processor = processors.get(next);
    if (processor === undefined) return new NotExpressible(`there is no processor ${JSON.stringify(next)}`);
    if (processor.kind === 'GenerateResponse') return new NotExpressible(`${next} answers requests that nothing has refused`);
    if (processor.kind === 'Filter') return branch(processor, steps, headers, refusal);
    if (processor.kind !== 'Queue' && processor.kind !== 'Limiter')
      return new NotExpressible(`${next} is a ${processor.kind}, which Sluice has no equivalent of`);
    if (steps.includes(processor)) return new NotExpressible('its ways go in a circle');
    const all = edges.get(next) ?? [];
    const allowed = all.find(({ condition }) => condition === 'allowed' || condition === undefined);
    const blocked = all.find(({ condition }) => condition === 'blocked');
    const answers = blocked?.to === undefined ? undefined : processors.get(blocked.to);
    if (blocked !== undefined && answers?.kind !== 'GenerateResponse') return new NotExpressible(`a request that ${next} refuses goes on to the provider`);
    if (allowed === undefined) return new NotExpressible(`nothing follows ${next}`);
    return go(allowed, [...steps, processor], headers, refusal ?? answers);
  };
  const go = (edge: Edge, steps: readonly Processor[], headers: Way['headers'], refusal: Processor | undefined): NotExpressible | undefined => {
    if (edge.to !== undefined) return follow(edge.to, steps, headers, refusal);
    ways.push({ steps, headers, refusal });
    return undefined;
  };
  const branch = (filter: Processor, steps: readonly Processor[], headers: Way['headers'], refusal: Processor | undefined): NotExpressible | undefined => {
    const wanted = filter.parameters.get('header')?.raw;
    const [, name, value] = (wanted?.kind === 'scalar' ? /^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,128})=([\x20-\x7e]{1,1024})$/.exec(String(wanted.value)) : null) ?? [];
    if (name === undefined || value === undefined || filter.parameters.size !== 1)
      return new NotExpressible(`${filter.name} looks at more than one header with its value (header: NAME=VALUE)`);
    const all = edges.get(filter.name) ?? [];
    const hit = all.find(({ condition }) => condition === 'hit');
    const miss = all.find(({ condition }) => condition === 'miss');
    if (hit === undefined || miss === undefined) return new NotExpressible(`${filter.name} has not both ways, hit and miss`);
    return go(hit, steps, [...headers, [name.toLowerCase(), value]], refusal) ?? go(miss, steps, headers, refusal);
  };
  return follow(START, [], [], undefined) ?? ways;
}

/** The beginning of a flow among the names of processors, which are not empty. */
const START = '';

/** Edges by the processor that they lead away from. */
function edgesOf(request: SourceNode, processors: ReadonlyMap<string, Processor>): ReadonlyMap<string, readonly Edge[]> | undefined {
  if (!request.isList('from and to of each step, after "- "')) return undefined;
  const edges = new Map<string, Edge[]>();
  for (const item of request.items()) {
    const from = item.need('from', 'Say where the request comes from.');
    const to = item.need('to', 'Say where it goes.');
    if (from === undefined || to === undefined) continue;
    const fromProcessor = from.get('processor');
    const at = fromProcessor?.get('name')?.text() ?? START;
    const target = to.get('processor')?.get('name');
    const name = target?.text();
    if (name !== undefined && !processors.has(name)) target?.mistake(`there is no processor ${JSON.stringify(name.slice(0, 60))}`, 'Name one of processors.');
    const list = edges.get(at) ?? [];
    list.push({ condition: fromProcessor?.get('condition')?.text(), to: name });
    edges.set(at, list);
  }
  return edges;
}
