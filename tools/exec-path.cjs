'use strict';
/* Loaded first by the script that tools/uws.ts writes; see capableNode there. */
if (process.env.SLUICE_NODE) process.execPath = process.env.SLUICE_NODE;
// Children get it from the script again; `sluice serve` refuses SLUICE_ variables that are no options.
delete process.env.SLUICE_NODE;
