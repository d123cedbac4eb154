import fc from 'fast-check';

/*
 * Every run of the suite tries the same plans, so that a red run means a change and not a dice roll. `FC_SEED=random npm
 * test` looks for new ones; what it finds is kept as a test of its own.
 */
const SEED = 20_261_122;

const { FC_SEED } = process.env;
if (FC_SEED !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: FC_SEED === undefined ? SEED : Number(FC_SEED) });
