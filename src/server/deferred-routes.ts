import type { GroupSettings } from '../admission/admission.ts';
import { isStored } from '../config/check-routes.ts';
import type { Config } from '../config/load.ts';
import type { RouteOptions } from '../config/route-options.ts';
import { resolveSecrets, type SecretSources } from '../config/secrets.ts';
import { MILLISECOND, type Micros } from '../core/time.ts';
import type { CallbackPolicy, DeferredRoute, RetryPolicy, SuccessRule } from '../deferred/deferred-route.ts';
import type { DeferredIntake, ProxyRoute } from '../deferred/proxy-route.ts';
import { createSigner, webhookKey } from '../deferred/standard-webhooks.ts';
import type { HmacRule, VerificationRule } from '../deferred/verification.ts';
import { compileRoutes, listOf } from './proxy.ts';

/** Routes of a configuration with what their secrets hold; what the listener stores by, and what is sent by. */
export interface CompiledRoutes {
  /** In their order, those that store among them. */
  readonly proxy: readonly ProxyRoute[];
  /** Those that store, by name. */
  readonly deferred: ReadonlyMap<string, DeferredRoute>;
}

/** Routes with their secrets looked up, at the start and at each reload. Rejects with a sentence for each secret that cannot be had or is none. */
export async function compileAllRoutes(config: Pick<Config, 'routes' | 'groups' | 'deferred'>, sources: SecretSources): Promise<CompiledRoutes> {
  const mistakes: string[] = [];
  const groups = new Map(config.groups.map((group) => [group.spec.name, group]));
  const deferred = new Map<string, DeferredRoute>();
  const proxy: ProxyRoute[] = [];
  for (const [index, route] of compileRoutes(config).entries()) {
    const options = config.routes[index] as RouteOptions;
    const group = groups.get(options.group ?? '');
    if (!isStored(options) || group === undefined) {
      proxy.push(route);
      continue;
    }
    const secrets = await lookUp(options, `routes[${index}]`, sources, mistakes);
    const stored = compileStored(options, { route, group, secrets, resultBytes: config.deferred.results });
    deferred.set(stored.name, stored);
    proxy.push({ ...route, deferred: intakeOf(options, group, secrets.verify) });
  }
  if (mistakes.length > 0) throw new Error(mistakes.join('; '));
  return { proxy, deferred };
}

/** Keys of one route. */
interface RouteKeys {
  readonly sign: readonly Uint8Array[] | undefined;
  readonly callback: readonly Uint8Array[] | undefined;
  readonly verify: readonly Uint8Array[];
}

async function lookUp({ sign, callback, verify }: RouteOptions, at: string, sources: SecretSources, mistakes: string[]): Promise<RouteKeys> {
  const webhooks = async (option: string, references: Parameters<typeof resolveSecrets>[1] | undefined, anyLength: boolean) => {
    if (references === undefined) return undefined;
    const secrets = await resolveSecrets(option, references, sources, mistakes);
    const keys = secrets.map((secret) => webhookKey(secret, anyLength)).filter((key) => key !== undefined);
    if (keys.length < secrets.length) mistakes.push(`${option}: a secret is not \`whsec_\` and base64${anyLength ? '' : ' of 24 to 64 bytes'}`);
    return keys;
  };
  const plain = async (option: string, references: Parameters<typeof resolveSecrets>[1] | undefined) =>
    (await resolveSecrets(option, references ?? [], sources, mistakes)).map((secret) => Buffer.from(secret));
  const sender = SENDERS.find((name) => verify?.[name] !== undefined);
  const keys =
    sender === 'standardWebhooks'
      ? await webhooks(`${at}.verify.${sender}`, verify?.standardWebhooks, true)
      : await plain(`${at}.verify.${sender}`, sender === 'hmac' ? verify?.hmac?.secrets : sender && verify?.[sender]);
  return {
    sign: await webhooks(`${at}.sign.secrets`, sign?.secrets, false),
    callback: await webhooks(`${at}.callback.secrets`, callback?.secrets, false),
    verify: keys ?? [],
  };
}

const SENDERS = ['shopify', 'github', 'stripe', 'standardWebhooks', 'hmac'] as const;

function compileStored(
  options: RouteOptions,
  {
    route,
    group,
    secrets,
    resultBytes,
  }: { readonly route: ProxyRoute; readonly group: GroupSettings; readonly secrets: RouteKeys; readonly resultBytes: number },
): DeferredRoute {
  const { keep, order, onDead, pushback, success, results, timeout } = options;
  const { admission, ...forward } = route.route;
  return {
    name: forward.name,
    group: group.spec.name,
    backend: forward.backend,
    // Admitted by the deferred line already, and tried again by it.
    forward: { ...forward, admission: undefined, attemptsMax: 1 },
    costs: admission?.costs ?? [],
    leaseMs: ms(admission?.lease ?? group.lease.default),
    timeoutMs: ms(timeout),
    success: successOf(success),
    retry: retryOf(options.retry),
    keep: { resultsMs: ms(keep.results), deadMs: ms(keep.dead), dedupeMs: ms(Math.min(keep.dedupe, keep.results)) },
    order,
    onDead,
    pushback,
    resultBytesMax: results ?? resultBytes,
    sign: secrets.sign && createSigner(secrets.sign),
    callback: callbackOf(options.callback, secrets.callback),
  };
}

function callbackOf(options: RouteOptions['callback'], keys: readonly Uint8Array[] | undefined): CallbackPolicy | undefined {
  if (options === undefined || keys === undefined) return undefined;
  const { hosts, http, addresses, timeout, retry } = options;
  return { hosts, plainHttp: http, addresses: listOf(addresses), sign: createSigner(keys), timeoutMs: ms(timeout), retry: retryOf(retry) };
}

function retryOf(options: Omit<RouteOptions['retry'], 'delays'> & { readonly delays?: RouteOptions['retry']['delays'] }): RetryPolicy {
  return { forMs: ms(options.for), firstMs: ms(options.first), maxMs: ms(options.max), delaysMs: options.delays?.map(ms), attemptsMax: options.attempts };
}

function successOf(option: RouteOptions['success']): SuccessRule {
  return typeof option === 'string' ? option : new Set(option);
}

function intakeOf({ mode, answer, verify, dedupe }: RouteOptions, group: GroupSettings, keys: readonly Uint8Array[]): DeferredIntake {
  return { when: mode === 'deferred' ? 'always' : 'preferred', heldMax: group.wait.max, answer, verify: verify && ruleOf(verify, keys), dedupe };
}

function ruleOf(verify: NonNullable<RouteOptions['verify']>, keys: readonly Uint8Array[]): VerificationRule {
  const sender = SENDERS.find((name) => verify[name] !== undefined);
  if (sender === undefined) throw new Error('verify was compiled with mistakes in it');
  return { sender, keys, toleranceMs: ms(verify.tolerance), hmac: verify.hmac && hmacOf(verify.hmac) };
}

function hmacOf({ header, prefix, algorithm, encoding, timestamp, content }: NonNullable<NonNullable<RouteOptions['verify']>['hmac']>): HmacRule {
  const signed = content ?? (timestamp === undefined ? '{body}' : '{timestamp}.{body}');
  return { header: header.toLowerCase(), prefix, algorithm, encoding, timestamp: timestamp?.toLowerCase(), before: signed.slice(0, -'{body}'.length) };
}

function ms(micros: Micros): number {
  return Math.ceil(micros / MILLISECOND);
}
