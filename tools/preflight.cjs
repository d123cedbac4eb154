/*
 * Runs before start, test and check, on whatever Node there is: hence no syntax younger than Node 0.12, and no imports
 * beside built-in ones. Refuses what cannot work and says what to do, instead of a stack trace.
 */
'use strict';
var fs = require('node:fs');
var path = require('node:path');

var found = process.versions.node.split('.').map(Number);
var runsSource = found[0] > 23 || (found[0] === 23 && found[1] >= 6) || (found[0] === 22 && found[1] >= 19);

function refuse(lines) {
  process.stderr.write(lines.join('\n') + '\n');
  process.exit(1);
}

if (!fs.existsSync(path.join(__dirname, '..', 'node_modules'))) {
  refuse(['Sluice: the packages are not installed yet. Run `npm ci` first; it brings Node 24 along.']);
}

if (!runsSource) {
  refuse([
    'Sluice needs Node 22.19 or later; this is Node ' + process.versions.node + ' (' + process.execPath + ').',
    'Run it by an npm script after `npm ci` (npm start, npm test, npm run check): on Linux and on Apple silicon that brings',
    'Node 24 along. If you did, this platform has no such package, or optional packages were left out: install Node 24 from nodejs.org.',
  ]);
}
