/** Preloaded into servers whose memory is measured: SIGUSR2 collects garbage, so that what is left is what is held. */
process.on('SIGUSR2', () => {
  globalThis.gc?.();
  setTimeout(() => globalThis.gc?.(), 100);
});
