import type { AdmissionLimits } from '../../src/admission/deps.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { RelayBounds } from '../../src/relay/relay.ts';

/* Bounds as a server has them where its file sets none. */

const loaded = loadConfig({ text: 'allowEmpty: true', name: 'sluice.yaml', env: {}, flags: [] });
if (loaded.kind !== 'config') throw new Error('the empty file does not load', { cause: loaded });
const { undecided, requestIds, sessions, settled } = loaded.config.bounds;

/** How much admission keeps by default. */
export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = { before: undecided, requests: requestIds, sessions, settled };

/** How much the relay keeps by default. */
export const DEFAULT_RELAY_BOUNDS: RelayBounds = { held: undecided, waiting: undecided, peerRequests: requestIds };
